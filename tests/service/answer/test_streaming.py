"""Streams that are slow, fail, or lose their client; and clients that leave before any answer."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from service.engine.base import (
    FinishReason,
    GenerationChunk,
    GenerationRequest,
    QueueFullError,
    RequestFailedError,
    TokenLogprob,
)
from service.engine.echo_engine import EchoEngine
from service.exceptions import ClientDisconnectedError
from service.http.disconnect import until_disconnect
from tests.service.chat_requests import REPLY, chat_body

URL = "/v1/chat/completions"
pytestmark = pytest.mark.asyncio(loop_scope="module")

Chunks = list[GenerationChunk | Exception | float]


@pytest.fixture
def script(engine: EchoEngine, monkeypatch: pytest.MonkeyPatch) -> Chunks:
    """What the engine does instead: chunks, errors, and pauses in seconds."""
    steps: Chunks = []

    async def generate(_: GenerationRequest) -> AsyncIterator[GenerationChunk]:
        for step in steps:
            if isinstance(step, float):
                await asyncio.sleep(step)
            elif isinstance(step, Exception):
                raise step
            else:
                yield step

    monkeypatch.setattr(engine, "generate", generate)
    return steps


def piece(text: str, count: int, end: FinishReason | None = None) -> GenerationChunk:
    return GenerationChunk(text, (5,), completion_tokens=count, finish_reason=end)


def deltas(text: str) -> list[Any]:
    blocks = text.strip().split("\n\n")
    assert blocks[-1] == "data: [DONE]"
    return [json.loads(b.removeprefix("data: ")) for b in blocks[:-1] if b.startswith("data: ")]


async def test_silence_is_filled_with_comments(client: httpx.AsyncClient, script: Chunks) -> None:
    script += [0.5, piece("A", 1), 0.5, piece(" chair", 2, FinishReason.STOP)]
    response = await client.post(URL, json=chat_body(stream=True))
    assert response.text.count(": keep-alive\n\n") >= 2
    texts = [d["choices"][0]["delta"].get("content") for d in deltas(response.text)]
    assert texts == ["", "A", " chair", None]


async def test_white_space_around_an_answer_never_comes(
    client: httpx.AsyncClient, script: Chunks
) -> None:
    script += [piece(" ", 1), piece(" A", 2), piece(" \n", 3), piece("b\n", 4, FinishReason.STOP)]
    response = await client.post(URL, json=chat_body(stream=True))
    texts = [d["choices"][0]["delta"].get("content") for d in deltas(response.text)]
    assert texts == ["", "A", " \nb", None]
    body = (await client.post(URL, json=chat_body())).json()
    assert body["choices"][0]["message"]["content"] == "A \nb"


async def test_an_error_after_the_headers_is_an_event(
    client: httpx.AsyncClient, script: Chunks
) -> None:
    script += [piece("A", 1), RequestFailedError("a tensor is broken")]
    response = await client.post(URL, json=chat_body(stream=True))
    assert response.status_code == 200
    *_, error = deltas(response.text)
    assert error["error"]["code"] == "request_failed"
    assert "tensor" not in response.text
    assert '"finish_reason":"' not in response.text


async def test_an_error_before_the_headers_is_a_status(
    client: httpx.AsyncClient, script: Chunks, app: FastAPI
) -> None:
    script.append(QueueFullError(256, 256, "requests"))
    for stream in (False, True):
        response = await client.post(URL, json=chat_body(stream=stream))
        assert response.status_code == 503
        assert response.headers["retry-after"] == "1"
        assert response.json()["error"]["code"] == "queue_full"
    metrics = (await client.get("/metrics")).text
    assert 'lamm:admission_rejections_total{model_name="tiny-lamm",reason="queue_full"}' in metrics
    assert app.state.services.lifecycle.in_flight == 0


async def test_a_failure_of_one_choice_fails_the_request(
    client: httpx.AsyncClient, script: Chunks
) -> None:
    script += [piece("A", 1), RequestFailedError("no")]
    response = await client.post(URL, json=chat_body(n=2))
    assert response.status_code == 500
    assert response.headers["x-should-retry"] == "false"


async def test_log_probabilities_that_json_cannot_spell(
    client: httpx.AsyncClient, script: Chunks
) -> None:
    token = TokenLogprob(5, "\ufffd", float("-inf"), ((6, "b", -0.5),))
    script.append(GenerationChunk("é", (5,), (token,), FinishReason.LENGTH, completion_tokens=1))
    body = (await client.post(URL, json=chat_body(logprobs=True, top_logprobs=1))).json()
    [entry] = body["choices"][0]["logprobs"]["content"]
    assert (entry["logprob"], entry["bytes"]) == (-9999.0, None)
    assert entry["top_logprobs"] == [{"token": "b", "logprob": -0.5, "bytes": [98]}]


class Caller:
    """One ASGI call by hand: a client that can vanish."""

    def __init__(self, app: FastAPI, body: dict[str, Any]) -> None:
        self.sent: list[dict[str, Any]] = []
        self.gone = asyncio.Event()
        self._body = [json.dumps(body).encode()]
        headers = [(b"content-type", b"application/json")]
        scope = {
            "type": "http", "method": "POST", "path": URL, "raw_path": URL.encode(),
            "query_string": b"", "headers": headers, "http_version": "1.1", "scheme": "http",
            "server": ("lamm", 80), "client": ("me", 1), "root_path": "",
            "asgi": {"version": "3.0"},
        }  # fmt: skip
        self.task = asyncio.ensure_future(app(scope, self._receive, self._send))

    async def _receive(self) -> dict[str, Any]:
        if self._body:
            return {"type": "http.request", "body": self._body.pop(), "more_body": False}
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        self.sent.append(message)


@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_vanishes_aborts(
    app: FastAPI,
    client: httpx.AsyncClient,
    engine: EchoEngine,
    monkeypatch: pytest.MonkeyPatch,
    stream: bool,
) -> None:
    monkeypatch.setattr(engine, "delay", 0.05)
    body = chat_body(stream=stream, ignore_eos=True, min_tokens=100, max_tokens=100)
    caller = Caller(app, body)
    while not engine.stats().running:  # noqa: ASYNC110 - the engine tells of nothing
        await asyncio.sleep(0.01)
    caller.gone.set()
    await asyncio.wait_for(caller.task, 2)
    assert engine.stats().running == engine.stats().waiting == 0
    assert app.state.services.lifecycle.in_flight == 0
    monkeypatch.undo()
    served = await client.post(URL, json=chat_body())
    assert served.json()["choices"][0]["message"]["content"] == REPLY
    assert 'finished_reason="abort"' in (await client.get("/metrics")).text


async def test_a_client_that_vanishes_while_its_request_waits(
    app: FastAPI, engine: EchoEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "_seats", asyncio.Semaphore(0))
    caller = Caller(app, chat_body(stream=True))
    while not engine.stats().waiting:  # noqa: ASYNC110 - the engine tells of nothing
        await asyncio.sleep(0.01)
    caller.gone.set()
    await asyncio.wait_for(caller.task, 2)
    assert engine.stats().waiting == 0


async def test_a_stream_to_a_broken_pipe_ends(
    app: FastAPI, engine: EchoEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(_: Caller, message: Any) -> None:
        if message["type"] == "http.response.body":
            raise OSError("broken pipe")

    monkeypatch.setattr(Caller, "_send", broken)
    monkeypatch.setattr(engine, "delay", 0.05)
    caller = Caller(app, chat_body(stream=True))
    await asyncio.wait_for(caller.task, 2)
    assert engine.stats().running == 0


async def test_work_that_ends_first_is_returned() -> None:
    async def never() -> Any:
        await asyncio.Event().wait()

    async def work() -> int:
        return 7

    assert await until_disconnect(never, work()) == 7


async def test_work_is_cancelled_when_the_client_goes() -> None:
    ended = asyncio.Event()

    async def gone() -> Any:
        return {"type": "http.disconnect"}

    async def work() -> None:
        with contextlib.ExitStack() as stack:
            stack.callback(ended.set)
            await asyncio.Event().wait()

    with pytest.raises(ClientDisconnectedError):
        await until_disconnect(gone, work())
    assert ended.is_set()
