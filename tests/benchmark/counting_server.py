"""A chat server in a process of its own, to be killed: logs every question before it answers.

    python counting_server.py PORT ANSWERS.json LOG SECONDS

Standard library alone, so that it is up at once. The log has one line a question asked.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


async def main(port: int, answers: dict[str, str], log: Path, seconds: float) -> None:
    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                length = int(head.partition("content-length:")[2].split("\r\n")[0] or 0)
                body = await reader.readexactly(length)
                models = {"data": [{"id": "fake-lamm"}]}
                reply = json.dumps(await answer(json.loads(body)) if body else models).encode()
                writer.write(
                    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
                    b"content-length: %d\r\n\r\n" % len(reply) + reply
                )
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def answer(body: dict[str, Any]) -> dict[str, Any]:
        content = body["messages"][0]["content"]
        question = content if isinstance(content, str) else content[-1]["text"]
        if body["max_tokens"] != 1:
            with log.open("a") as stream:
                stream.write(json.dumps(question) + "\n")
            await asyncio.sleep(seconds)
        message = {"role": "assistant", "content": answers.get(question, "Hello.")}
        return {
            "model": "fake-lamm",
            "system_fingerprint": "weights-1",
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        }

    server = await asyncio.start_server(converse, "127.0.0.1", port)
    await server.serve_forever()


def asked(log: Path) -> list[str]:
    """The questions that were asked, in order."""
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


def wait_until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    """Waits for a function to be true."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("the condition did not come true")
        time.sleep(0.01)


if __name__ == "__main__":
    asyncio.run(
        main(
            int(sys.argv[1]),
            json.loads(Path(sys.argv[2]).read_text()),
            Path(sys.argv[3]),
            float(sys.argv[4]),
        )
    )
