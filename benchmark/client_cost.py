"""The cost of a request to the client: CPU time, measured against a trivial server.

    python -m benchmark.client_cost --requests 2000 --concurrency 64

The workers of a quality run ask about distinct pictures, from reading the file to saving the
answer. The server runs in another process, so its CPU time is not counted. Limit: 64 requests in
flight at 100 requests/s take less than a tenth of a core, which is 1 ms per request.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import random
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from io import BytesIO
from multiprocessing.connection import Connection
from pathlib import Path

from PIL import Image
from pydantic import Field, PositiveInt
from rich.console import Console

from benchmark.answers import AnswerStore
from benchmark.commands.arguments import parse
from benchmark.commands.options import Options
from benchmark.content import MediaCache
from benchmark.http.client import Backend, ChatClient
from benchmark.http.connection import open_http
from benchmark.quality.asker import Asker, Finder
from benchmark.quality.controls import Control, questions_of
from benchmark.quality.identity import Mode, identify
from benchmark.quality.targets import Target
from benchmark.suite import Suite
from benchmark.suite_reader import load_suite

# Time that the server takes per request: long enough that all workers are in flight at once.
SERVER_SECONDS = 0.05
_REPLY = json.dumps(
    {
        "model": "trivial",
        "system_fingerprint": "trivial",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "This is a coat."},
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 300, "completion_tokens": 6},
    }
).encode()


class CostOptions(Options):
    """Options of the command."""

    requests: PositiveInt = Field(default=2000, description="number of requests")
    concurrency: PositiveInt = Field(default=64, description="requests in flight")
    side: PositiveInt = Field(default=96, description="width and height of a picture in pixels")


@dataclass(frozen=True, slots=True)
class Cost:
    """`cpu_seconds` of this process for `requests` requests in `wall_seconds`."""

    requests: int
    cpu_seconds: float
    wall_seconds: float

    @property
    def cpu_ms_per_request(self) -> float:
        """CPU milliseconds per request; times ten: percentage of a core at 100 requests/s."""
        return 1000 * self.cpu_seconds / self.requests


def main(argv: list[str] | None = None) -> int:
    """Measures and prints; returns 0 always, since a busy machine makes the figure meaningless."""
    options = parse(CostOptions, argv, "python -m benchmark.client_cost", __doc__)
    with tempfile.TemporaryDirectory(prefix="lamm-") as directory:
        cost = measure(Path(directory), options.requests, options.concurrency, options.side)
    Console().print(
        f"{cost.requests} requests, {options.concurrency} in flight: "
        f"{cost.cpu_ms_per_request:.2f} ms of CPU per request, "
        f"{10 * cost.cpu_ms_per_request:.1f} % of a core at 100 requests/s "
        f"({cost.requests / cost.wall_seconds:.0f} requests/s here)",
        highlight=False,
        soft_wrap=True,
    )
    return 0


def measure(directory: Path, requests: int, concurrency: int, side: int) -> Cost:
    """Sends `requests` questions about pictures of `side` x `side` pixels, kept in `directory`."""
    suite = _write_suite(directory, requests, side)
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    server = context.Process(target=_serve, args=(theirs,), daemon=True)
    server.start()
    try:
        return asyncio.run(_ask(suite, f"http://127.0.0.1:{ours.recv()}", directory, concurrency))
    finally:
        server.terminate()
        server.join()


async def _ask(suite: Suite, url: str, out: Path, workers: int) -> Cost:
    media = MediaCache()
    async with open_http(url, timeout=60.0) as http:
        client = ChatClient(http, workers)
        identity = await identify(client, url, "trivial", Backend.LAMM, Mode.TEXT)
        with ExitStack() as stack:
            store = stack.enter_context(AnswerStore(out / "answers.jsonl"))
            books: dict[Control | None, AnswerStore] = {None: store}
            target = Target(client, identity, media)
            asker = Asker(target, Finder(identity, media, books), books, lambda _item: None)
            cpu, wall = time.process_time(), time.perf_counter()
            await asker.ask_all(tuple(questions_of(row, ()) for row in suite.rows), workers)
            cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return Cost(asker.asked, cpu, wall)


def _write_suite(directory: Path, count: int, side: int) -> Suite:
    rng = random.Random(0)
    lines = []
    for index in range(count):
        name = f"{index}.png"
        stream = BytesIO()
        Image.frombytes("RGB", (side, side), rng.randbytes(3 * side * side)).save(stream, "PNG")
        (directory / name).write_bytes(stream.getvalue())
        sample = {
            "id": str(index), "task": "classification", "question": "What is this?",
            "image": name, "target": "coat", "labels": ["coat", "bag"],
        }  # fmt: skip
        lines.append(json.dumps(sample))
    (directory / "row.jsonl").write_text("\n".join(lines))
    rows = [{"name": "row", "task": "classification", "file": "row.jsonl"}]
    (directory / "suite.json").write_text(json.dumps({"name": "cost", "rows": rows}))
    return load_suite(directory)


def _serve(port: Connection) -> None:
    """Gives every request the same answer, `SERVER_SECONDS` after its last byte."""
    asyncio.run(_serve_forever(port))


async def _serve_forever(port: Connection) -> None:
    server = await asyncio.start_server(_converse, "127.0.0.1", 0)
    port.send(server.sockets[0].getsockname()[1])
    await server.serve_forever()


async def _converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(
        _REPLY
    )
    try:
        while True:
            request = (await reader.readuntil(b"\r\n\r\n")).lower()
            _, _, length = request.partition(b"content-length:")
            await reader.readexactly(int(length.split(b"\r\n", 1)[0] or 0))
            await asyncio.sleep(SERVER_SECONDS)
            writer.write(head + _REPLY)
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


if __name__ == "__main__":
    sys.exit(main())
