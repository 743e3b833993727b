"""What a busy neighbour costs a server: `python -m benchmark.baselines.neighbour`.

Starts one server per way to run its threads, and asks them in turns: first on the quiet machine,
then beside processes that each keep one core busy. Prints medians over all rounds.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx

# Variables that the operator's shell may have set; each way sets its own.
_INHERITED = ("OMP_WAIT_POLICY", "OMP_NUM_THREADS", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
WAYS: dict[str, tuple[str, ...]] = {
    "default": (),
    "active": ("--thread-wait", "active", "--num-threads", str(len(os.sched_getaffinity(0)))),
    "passive": ("--thread-wait", "passive", "--num-threads", str(len(os.sched_getaffinity(0)))),
    "one": ("--num-threads", "1"),
}
_BUSY = "while True: pass"
_LOOKED_AGAIN_S = 0.1


@dataclass(slots=True)
class Server:
    """A running server of one way, and what was measured: (seconds, tokens per second) each."""

    url: str
    process: subprocess.Popen[bytes]
    quiet: list[tuple[float, float]] = field(default_factory=list)
    beside: list[tuple[float, float]] = field(default_factory=list)


def main(argv: Sequence[str] | None = None) -> int:
    """Prints a table; returns 0.

    Raises:
        SystemExit: 1, a server does not start; 2, an invalid option.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path, default=Path("checkpoints/lamm-mini"))
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS), metavar="WAY",
                        help=f"any of {', '.join(WAYS)} (default: all)")  # fmt: skip
    parser.add_argument("--clients", type=int, default=1, help="concurrent clients (default: 1)")
    parser.add_argument("--tokens", type=int, default=32, help="tokens per answer (default: 32)")
    parser.add_argument("--words", type=int, default=20, help="words per question (default: 20)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of all ways (default: 5)")
    parser.add_argument("--neighbours", type=int, default=1, help="busy processes (default: 1)")
    options = parser.parse_args(argv)
    for name in ("clients", "tokens", "words", "rounds", "neighbours"):
        if getattr(options, name) < 1:
            parser.error(f"--{name} {getattr(options, name)} must be at least 1")
    with contextlib.ExitStack() as stack:
        servers = {
            way: stack.enter_context(_serving(options.checkpoint, WAYS[way]))
            for way in options.ways
        }
        for server in servers.values():
            _wait(server)
            asyncio.run(_measure(server.url, options))
        for number in range(options.rounds):
            sys.stderr.write(f"round {number + 1} of {options.rounds}\n")
            for server in servers.values():
                server.quiet.append(asyncio.run(_measure(server.url, options)))
            with _neighbours(options.neighbours):
                for server in servers.values():
                    server.beside.append(asyncio.run(_measure(server.url, options)))
    sys.stdout.write(table(servers, options.neighbours))
    return 0


def table(servers: dict[str, Server], neighbours: int) -> str:
    """Markdown: median latency and tokens/s of each way, quiet and beside neighbours."""
    lines = [
        f"| threads | quiet: ms, tokens/s | beside {neighbours} busy: ms, tokens/s | slower by |",
        "| --- | --- | --- | --- |",
    ]
    for way, server in servers.items():
        quiet, beside = _medians(server.quiet), _medians(server.beside)
        lines.append(
            f"| {way} | {quiet[0] * 1e3:.0f}, {quiet[1]:.0f} "
            f"| {beside[0] * 1e3:.0f}, {beside[1]:.0f} | {beside[0] / quiet[0]:.2f} x |"
        )
    return "\n".join(lines) + "\n"


def _medians(measured: Sequence[tuple[float, float]]) -> tuple[float, float]:
    seconds, rates = zip(*measured, strict=True)
    return statistics.median(seconds), statistics.median(rates)


async def _measure(url: str, options: argparse.Namespace) -> tuple[float, float]:
    """Median seconds of an answer, and tokens per second of all clients."""
    async with httpx.AsyncClient(base_url=url, timeout=120, trust_env=False) as http:
        model = (await http.get("/v1/models")).raise_for_status().json()["data"][0]["id"]

        async def client(number: int) -> list[float]:
            seconds = []
            for turn in range(2):
                question = f"{number} {turn} " + "word " * options.words
                body = {
                    "model": model, "max_tokens": options.tokens, "ignore_eos": True,
                    "messages": [{"role": "user", "content": question}],
                }  # fmt: skip
                began = time.perf_counter()
                (await http.post("/v1/chat/completions", json=body)).raise_for_status()
                seconds.append(time.perf_counter() - began)
            return seconds

        started = time.perf_counter()
        answers = await asyncio.gather(*(client(number) for number in range(options.clients)))
        taken = time.perf_counter() - started
    each = [seconds for answered in answers for seconds in answered]
    return statistics.median(each), options.tokens * len(each) / taken


@contextlib.contextmanager
def _serving(checkpoint: Path, flags: Sequence[str]) -> Iterator[Server]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    command = [sys.executable, "-m", "service.cli", "--checkpoint", str(checkpoint),
               "--port", str(port), *flags]  # fmt: skip
    kept = {name: value for name, value in os.environ.items() if name not in _INHERITED}
    process = subprocess.Popen(  # noqa: S603 - our own server
        command, env=kept, stdout=subprocess.DEVNULL
    )
    try:
        yield Server(f"http://127.0.0.1:{port}", process)
    finally:
        process.kill()
        process.wait()


def _wait(server: Server) -> None:
    """Waits until the server is ready.

    Raises:
        SystemExit: it ended; its reason is on stderr.
    """
    while server.process.poll() is None:
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"{server.url}/readyz", trust_env=False).is_success:
                return
        time.sleep(_LOOKED_AGAIN_S)
    raise SystemExit(1)


@contextlib.contextmanager
def _neighbours(count: int) -> Iterator[None]:
    command = [sys.executable, "-c", _BUSY]
    busy = [subprocess.Popen(command) for _ in range(count)]  # noqa: S603 - a fixed command
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


if __name__ == "__main__":
    sys.exit(main())
