"""Bodies of many megabytes: parsed beside the event loop, bounded together, given up in time."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from service.app import create_app
from service.config.settings import Settings
from service.engine.echo_engine import EchoEngine
from service.errors import translate
from service.http.middleware import BodyLimitMiddleware
from service.http.request_body import MAX_VALUES
from service.plan import prompt, turns
from service.schemas.openai import ChatCompletionRequest
from service.server import DrainingServer
from service.startup.configs import engine_config
from tests.service.chat_requests import REPLY, chat_body, image, png
from tests.service.local import BASE_URL

URL = "/v1/chat/completions"
JSON = {"Content-Type": "application/json"}
pytestmark = pytest.mark.asyncio(loop_scope="module")


def padded_picture(size: int) -> dict[str, Any]:
    """A picture with so many bytes after its end: decoders stop before them."""
    return image(png() + bytes(size))


@pytest.fixture
def parsed_in(monkeypatch: pytest.MonkeyPatch) -> list[threading.Thread]:
    """The threads in which bodies were parsed."""
    threads: list[threading.Thread] = []
    parse = ChatCompletionRequest.model_validate_json

    def recorded(body: bytes) -> ChatCompletionRequest:
        threads.append(threading.current_thread())
        return parse(body)

    monkeypatch.setattr(ChatCompletionRequest, "model_validate_json", recorded)
    return threads


async def test_large_bodies_are_parsed_in_a_thread_and_small_ones_are_not(
    client: httpx.AsyncClient, parsed_in: list[threading.Thread]
) -> None:
    for part in (padded_picture(2 << 20), image()):
        answer = await client.post(URL, json=chat_body(part))
        assert answer.json()["choices"][0]["message"]["content"] == REPLY
    large, small = parsed_in
    assert large is not threading.current_thread()
    assert small is threading.current_thread()


async def test_what_was_planned_is_held_no_longer(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed: list[ChatCompletionRequest] = []
    parse = ChatCompletionRequest.model_validate_json

    def recorded(body: bytes) -> ChatCompletionRequest:
        parsed.append(parse(body))
        return parsed[-1]

    monkeypatch.setattr(ChatCompletionRequest, "model_validate_json", recorded)
    answer = await client.post(URL, json=chat_body(image(), unheard_of="x" * 100_000))
    assert answer.status_code == 200
    [body] = parsed
    assert body.messages == []
    assert body.model_extra == {}


async def test_probes_answer_while_a_body_is_parsed(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsing, may_go_on = threading.Event(), threading.Event()
    parse = ChatCompletionRequest.model_validate_json

    def held(body: bytes) -> ChatCompletionRequest:
        parsing.set()
        assert may_go_on.wait(20)
        return parse(body)

    monkeypatch.setattr(ChatCompletionRequest, "model_validate_json", held)
    answer = asyncio.create_task(client.post(URL, json=chat_body(padded_picture(2 << 20))))
    assert await asyncio.to_thread(parsing.wait, 20)
    for path in ("/livez", "/readyz", "/health", "/metrics"):
        assert (await client.get(path)).status_code == 200
    assert not answer.done()
    may_go_on.set()
    assert (await answer).status_code == 200


async def test_probes_answer_while_the_engine_is_busy_and_30_mb_come_in(
    settings: Settings,
) -> None:
    ours = settings.model_copy(
        update={
            "max_body_bytes": 48 << 20,
            "max_media_bytes": 32 << 20,
            "media_timeout_s": 100.0,
        }
    )
    engine = EchoEngine(engine_config(ours), REPLY, delay=0.02)
    app = create_app(ours, engine)
    lifecycle = app.state.services.lifecycle
    server = DrainingServer(app, "127.0.0.1", 0, lifecycle, 20, engine.stop)
    serving = asyncio.create_task(server.serve())
    content = await asyncio.to_thread(
        lambda: json.dumps(chat_body(padded_picture(22_500_000))).encode()
    )
    assert len(content) > 30_000_000
    async with httpx.AsyncClient(base_url=await server.wait_url(), timeout=100) as client:
        await lifecycle.wait_loaded()
        busy = chat_body(ignore_eos=True, max_tokens=200, n=4)
        others = [asyncio.create_task(client.post(URL, json=busy)) for _ in range(2)]
        large = asyncio.create_task(client.post(URL, content=content, headers=JSON))
        answers = 0
        while not large.done():
            async with asyncio.timeout(10):
                assert (await client.get("/livez")).status_code == 200
            answers += 1
            await asyncio.sleep(0.02)
        assert answers > 1
        assert (await large).json()["choices"][0]["message"]["content"] == REPLY, large.result()
        assert {(await other).status_code for other in others} == {200}
    server.should_exit = True
    await asyncio.wait_for(serving, 20)


@pytest.mark.parametrize("filler", ["[],", "{},", "0,"])
async def test_a_body_of_brackets_is_refused_unparsed(
    client: httpx.AsyncClient, parsed_in: list[threading.Thread], filler: str
) -> None:
    content = '{"model": "tiny-lamm", "messages": [' + filler * (MAX_VALUES + 1) + "0]}"
    refused = await client.post(URL, content=content, headers=JSON)
    assert refused.status_code == 400
    assert refused.json()["error"]["code"] == "too_many_values"
    assert f"the limit is {MAX_VALUES}" in refused.json()["error"]["message"]
    assert parsed_in == []


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
async def test_only_json_is_read(client: httpx.AsyncClient, kind: str) -> None:
    """A page of another origin may send the other kinds without asking."""
    content = json.dumps(chat_body())
    refused = await client.post(URL, content=content, headers={"Content-Type": kind})
    assert refused.status_code == 400
    assert repr(kind) in refused.json()["error"]["message"]
    for good in ("application/json; charset=utf-8", "application/vnd.lamm+json"):
        answer = await client.post(URL, content=content, headers={"Content-Type": good})
        assert answer.status_code == 200


@pytest.mark.parametrize("length", ["9" * 5000, "\u00b2", "-1", "1e3"])
async def test_an_odd_content_length_is_refused(client: httpx.AsyncClient, length: str) -> None:
    headers = [(b"Content-Type", b"application/json"), (b"Content-Length", length.encode("latin1"))]
    assert (await client.post(URL, content=b"{}", headers=headers)).status_code == 413


async def test_huge_texts_are_refused_before_anything_reads_them(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(text: str) -> str:
        raise AssertionError(f"{len(text)} characters were read")

    monkeypatch.setattr(turns, "neutralise", read)
    monkeypatch.setattr(prompt, "neutralise", read)
    parts = [{"type": "text", "text": "###" * 200_000}] * 2
    asked = [{"role": "system", "content": "###" * 200_000}, {"role": "user", "content": parts}]
    refused = await client.post(URL, json={"model": "tiny-lamm", "messages": asked})
    assert refused.status_code == 400
    assert refused.json()["error"]["code"] == "context_length_exceeded"
    assert "1800000 characters" in refused.json()["error"]["message"]


async def test_a_running_answer_holds_no_body(settings: Settings) -> None:
    """Two bodies of 5 MB have no room at once; the first is let go before its answer ends."""
    ours = settings.model_copy(update={"max_buffered_bytes": 8 << 20})
    engine = EchoEngine(engine_config(ours), REPLY, delay=0.5)
    app = create_app(ours, engine)
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url=BASE_URL) as client,
    ):
        await app.state.services.lifecycle.wait_loaded()
        body = chat_body(padded_picture(4_000_000))
        first = asyncio.create_task(client.post(URL, json=body))
        while not engine.stats().running:  # noqa: ASYNC110 - waits for another task's request
            await asyncio.sleep(0.02)
        assert (await client.post(URL, json=body)).status_code == 200
        assert (await first).status_code == 200


def limited(app: ASGIApp, **more: Any) -> tuple[httpx.AsyncClient, list[str]]:
    """A client of `app` behind the middleware, and the refusals that it reported."""
    reasons: list[str] = []
    values = {"max_bytes": 100, "max_total_bytes": 150, "silence_s": 5.0, **more}
    middleware = BodyLimitMiddleware(app, refused=reasons.append, **values)
    transport = httpx.ASGITransport(middleware)
    return httpx.AsyncClient(transport=transport, base_url=BASE_URL), reasons


async def counting(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with the size of the body."""
    try:
        response: Any = PlainTextResponse(str(len(await Request(scope, receive).body())))
    except Exception as error:
        response = translate(error).response()
    assert isinstance(response, PlainTextResponse | JSONResponse)
    await response(scope, receive, send)


def slowly(size: int, go_on: asyncio.Event) -> Callable[[], AsyncIterator[bytes]]:
    async def body() -> AsyncIterator[bytes]:
        yield bytes(size)
        await go_on.wait()

    return body


async def test_bodies_are_bounded_together() -> None:
    client, reasons = limited(counting)
    go_on = asyncio.Event()
    first = asyncio.create_task(client.post("/", content=slowly(90, go_on)()))
    await asyncio.sleep(0.02)
    refused = await client.post("/", content=bytes(61))
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    assert refused.json()["error"]["code"] == "queue_full"
    assert refused.json()["error"]["type"] == "overloaded_error"
    assert "take 90 bytes; the limit of all together is 150" in refused.json()["error"]["message"]
    assert reasons == ["bodies_full"]
    assert (await client.post("/", content=bytes(60))).text == "60"
    go_on.set()
    assert (await first).text == "90"
    assert (await client.post("/", content=bytes(100))).text == "100"


async def test_one_body_always_has_room() -> None:
    client, _ = limited(counting, max_total_bytes=1)
    assert (await client.post("/", content=bytes(100))).text == "100"


async def test_a_body_that_stops_coming_is_given_up() -> None:
    client, _ = limited(counting, silence_s=0.1)
    refused = await client.post("/", content=slowly(10, asyncio.Event())())
    assert (refused.status_code, refused.headers["connection"]) == (408, "close")
    assert refused.json()["error"]["code"] == "body_timeout"
    assert "for 0.1 s" in refused.json()["error"]["message"]


async def test_an_answer_may_take_longer_than_a_bodys_silence() -> None:
    async def patient(scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        await request.body()
        waiting = asyncio.ensure_future(receive())
        await asyncio.sleep(0.2)
        done = waiting.done()
        waiting.cancel()
        await PlainTextResponse(str(done))(scope, receive, send)

    client, _ = limited(patient, silence_s=0.05)
    assert (await client.post("/", content=b"x")).text == "False"


async def test_the_document_still_shows_the_request(app: FastAPI) -> None:
    post = app.openapi()["paths"][URL]["post"]
    schema = post["requestBody"]["content"]["application/json"]["schema"]
    assert schema["$ref"].endswith("/ChatCompletionRequest")
    assert post["requestBody"]["required"] is True
