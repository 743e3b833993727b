"""A scripted OpenAI-compatible server on the loopback, and a small suite on disk."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from tests.benchmark.threaded_server import ThreadedServer


@dataclass
class FakeServer(ThreadedServer):
    """Answers from `answers` (question -> text); `refusals` are given first, one a request.

    Requests with fewer `max_tokens` than `needed` get the first half of a text.
    """

    answers: dict[str, str] = field(default_factory=dict)
    refusals: list[Response] = field(default_factory=list)
    fingerprint: str | None = "weights-1"
    delay: float = 0.0
    token_delay: float = 0.0
    die_after: int | None = None
    stream_error: bool = False
    with_usage: bool = True
    needed: int = 0
    asked: list[str] = field(default_factory=list)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    in_flight: int = 0
    peak: int = 0

    def client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=self.url, timeout=10, trust_env=False)

    def app(self) -> Starlette:
        chat = Route("/v1/chat/completions", self._chat, methods=["POST"])
        return Starlette(routes=[Route("/v1/models", self._models), chat])

    async def _models(self, _request: Request) -> Response:
        return JSONResponse({"object": "list", "data": [{"id": "fake-lamm"}]})

    async def _chat(self, request: Request) -> Response:
        body = await request.json()
        self.in_flight += 1
        self.peak = max(self.peak, self.in_flight)
        try:
            await asyncio.sleep(self.delay)
            if self.refusals:
                return self.refusals.pop(0)
            content = body["messages"][-1]["content"]
            question = content if isinstance(content, str) else content[-1]["text"]
            self.bodies.append(body)
            if body["max_tokens"] > 1:
                self.asked.append(question)
            if self.die_after is not None and len(self.asked) > self.die_after:
                self.asked.pop()
                self._die()
                return Response(status_code=500)
            if body.get("stream"):
                return StreamingResponse(self._stream(body), media_type="text/event-stream")
            text = self.answers.get(question, "I do not know.")
            if body["max_tokens"] < self.needed:
                return JSONResponse(self._whole(text[: len(text) // 2], "length"))
            return JSONResponse(self._whole(text))
        finally:
            self.in_flight -= 1

    def _die(self) -> None:
        # As a killed process: no listener, every connection reset. Left to its own
        # shutdown, uvicorn goes on answering for up to a tenth of a second.
        self._server.should_exit = self._server.force_exit = True
        for listener in self._server.servers:
            listener.close()
        for connection in list(self._server.server_state.connections):
            connection.transport.abort()

    def _whole(self, text: str, finish_reason: str = "stop") -> dict[str, Any]:
        message = {"role": "assistant", "content": text}
        return {
            "model": "fake-lamm",
            "system_fingerprint": self.fingerprint,
            "choices": [{"index": 0, "message": message, "finish_reason": finish_reason}],
            "usage": {"prompt_tokens": 7, "completion_tokens": 3},
        }

    async def _stream(self, body: dict[str, Any]) -> AsyncIterator[bytes]:
        def event(value: dict[str, Any]) -> bytes:
            return b"data: " + json.dumps(value).encode() + b"\r\n\r\n"

        yield b": keep-alive\n\n"
        yield event({"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]})
        count = body["max_tokens"]
        for index in range(count):
            await asyncio.sleep(self.token_delay)
            chunk = event({"choices": [{"index": 0, "delta": {"content": f"t{index} "}}]})
            yield chunk[:9]
            yield chunk[9:]
            if self.stream_error and index == 1:
                yield event({"error": {"message": "the engine stopped"}})
                yield b"data: [DONE]\n\n"
                return
        yield event({"choices": [{"index": 0, "delta": {}, "finish_reason": "length"}]})
        if self.with_usage:
            details = {"cached_tokens": 2}
            usage = {"prompt_tokens": 10, "completion_tokens": count}
            yield event({"choices": [], "usage": {**usage, "prompt_tokens_details": details}})
        yield b"data: [DONE]\n\n"


@pytest.fixture
def server() -> Iterator[FakeServer]:
    """A running fake server."""
    fake = FakeServer()
    fake.start()
    yield fake
    fake.stop()


@dataclass
class SuiteFiles:
    """A suite on disk: ten pictures to classify, six to count, four clouds to ask about."""

    directory: Path
    right_answers: dict[str, str] = field(default_factory=dict)

    def write(self) -> None:
        labels = ["coat", "bag"]
        records: dict[str, list[dict[str, Any]]] = {"classify": [], "count": [], "clouds": []}
        for i in range(10):
            picture = f"images/{i}.png"
            self._save(picture, png(i))
            question = f"What is item {i}?"
            target = labels[i % 2]
            self.right_answers[question] = f"This is a {target}."
            records["classify"].append({
                "id": f"c{i}", "task": "classification", "question": question, "image": picture,
                "target": target, "labels": labels,
            })  # fmt: skip
        for i in range(6):
            question = f"How many items, try {i}?"
            self.right_answers[question] = f"There are {i} items."
            records["count"].append({
                "id": f"n{i}", "task": "counting", "question": question, "target": i,
                "image": f"images/{i}.png",
            })  # fmt: skip
        for i in range(4):
            self._save(f"clouds/{i}.npy", b"not read by the client")
            question = f"Which furniture, try {i}?"
            self.right_answers[question] = "The answer is (B)."
            choice = {"choice": 1, "choices": ["chair", "table"]}
            records["clouds"].append({
                "id": f"p{i}", "task": "vqa_choice_3d", "question": question, "target": choice,
                "pcl": f"clouds/{i}.npy", "chance": 0.5,
            })  # fmt: skip
        for name, rows in records.items():
            self.write_rows(f"{name}.jsonl", [json.dumps(row) for row in rows])
        tasks = {"classify": "classification", "count": "counting", "clouds": "vqa_choice_3d"}
        rows_json: list[dict[str, Any]] = [
            {"name": n, "task": t, "file": f"{n}.jsonl"} for n, t in tasks.items()
        ]
        rows_json[0] |= {"chance": 0.5, "target": 0.85, "metric": "accuracy"}
        suite = {"name": "mini", "rows": rows_json, "provenance": {"seed": 1}}
        self._save("suite.json", json.dumps(suite).encode())

    def write_rows(self, name: str, lines: list[str]) -> None:
        self._save(name, ("\n".join(lines) + "\n").encode())

    def rows(self, name: str) -> list[str]:
        return (self.directory / name).read_text().splitlines()

    def _save(self, name: str, content: bytes) -> None:
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def png(seed: int) -> bytes:
    """A small picture of one colour."""
    stream = BytesIO()
    Image.new("RGB", (4, 4), (seed * 9, 40, 90)).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture
def suite_files(tmp_path: Path) -> SuiteFiles:
    """A sound suite of 20 records in three rows."""
    files = SuiteFiles(tmp_path / "suite")
    files.write()
    return files
