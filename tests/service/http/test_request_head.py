"""Heads of requests that never end, are too large or too many: refused, whoever sends them."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from fastapi import FastAPI

from service.http.request_head import MAX_HEAD_BYTES, MAX_PIPELINED
from service.http.write_timeout import protocol_with_write_timeout
from tests.service.chat_requests import chat_body
from tests.service.listening import listening_here

pytestmark = pytest.mark.asyncio(loop_scope="module")

SHORT_S = 0.8
LIVEZ = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n"
# More than is read at once, and what may come beyond that.
LARGE = 2 * (MAX_HEAD_BYTES + (1 << 18))


@pytest_asyncio.fixture(loop_scope="module")
async def port(app: FastAPI) -> AsyncIterator[int]:
    """The app behind a real socket, with a short patience for heads."""
    protocol = protocol_with_write_timeout(60.0)
    protocol.head_timeout_s = SHORT_S  # type: ignore[attr-defined]
    async with listening_here(app, protocol) as port:
        yield port


async def sent(port: int, *parts: bytes) -> bytes:
    """What comes back for these bytes until the server ends the connection, within 20 s."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answer = b""
    try:
        async with asyncio.timeout(20):
            for part in parts:
                writer.write(part)
                await writer.drain()
                await asyncio.sleep(0.002)
            while piece := await reader.read(1 << 16):
                answer += piece
    except ConnectionError:
        pass
    finally:
        writer.close()
    return answer


@pytest.mark.parametrize(
    "begin",
    [b"GET /", LIVEZ + b"X-Long: ", LIVEZ + b"X: y\r\n" * (LARGE // 6)],
    ids=["url", "value", "headers"],
)
async def test_a_head_that_grows_is_refused(port: int, begin: bytes) -> None:
    # A part at a time: what was sent beyond the refusal would have it lost on the way.
    text = begin + b"a" * LARGE
    parts = [text[at : at + 4096] for at in range(0, MAX_HEAD_BYTES + 4096, 4096)]
    answer = await sent(port, *parts)
    if answer:  # it is lost where a part came after the connection was closed
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert f"larger than {MAX_HEAD_BYTES} bytes".encode() in answer


async def test_trailers_that_never_end_break_the_connection_off(port: int) -> None:
    body = json.dumps(chat_body()).encode()
    head = LIVEZ.replace(b"GET /livez", b"POST /v1/chat/completions")
    head += b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunk = b"%x\r\n%s\r\n0\r\n" % (len(body), body)
    assert await sent(port, head + chunk, *[b"X: y\r\n" * 700] * (LARGE // 4200)) == b""


async def test_customary_heads_and_bodies_are_taken(port: int) -> None:
    fields = b"".join(b"X-%d: %s\r\n" % (n, b"v" * 900) for n in range(60))
    assert b'"alive"' in await sent(port, LIVEZ + fields + b"Connection: close\r\n\r\n")
    body = json.dumps(chat_body(text="x" * 2000)).encode()
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
    head += b"Content-Type: application/json\r\n"
    head += b"Connection: close\r\nContent-Length: %d\r\n\r\n" % (len(body) + LARGE)
    answer = await sent(port, head + body, b" " * LARGE)
    assert answer.startswith(b"HTTP/1.1 "), "a body may be larger than a head"
    assert b"application/json" in answer


@pytest.mark.parametrize(
    "parts",
    [
        [],
        [b"G"],
        [LIVEZ, b"X: y\r\n"],
        [LIVEZ + b"\r\n", b"\r\n"],
        [LIVEZ + b"\r\n", b"GET /li"],
    ],
    ids=["nothing", "a letter", "no end", "a line's end behind an answer", "a second one"],
)
async def test_a_head_that_does_not_come_is_not_waited_for(port: int, parts: list[bytes]) -> None:
    loop = asyncio.get_running_loop()
    started = loop.time()
    answer = await sent(port, *parts)
    assert loop.time() - started < 4.5, "sooner than uvicorn closes an idle connection"
    assert answer.count(b"HTTP/1.1 200") == sum(
        part.endswith(b"localhost\r\n\r\n") for part in parts
    )


async def test_an_answer_may_take_longer_than_a_head(port: int, app: FastAPI) -> None:
    engine = app.state.services.engines[0].engine
    engine.delay = 2 * SHORT_S
    try:
        body = json.dumps(chat_body(max_tokens=2)).encode()
        head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
        head += b"Content-Type: application/json\r\n"
        head += b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body)
        assert b"HTTP/1.1 200" in await sent(port, head, body)
    finally:
        engine.delay = 0.0


async def test_requests_behind_one_another_are_answered_and_not_endlessly_many(port: int) -> None:
    few = (LIVEZ + b"\r\n") * 20 + LIVEZ + b"Connection: close\r\n\r\n"
    assert (await sent(port, few)).count(b'"alive"') == 21
    many = (LIVEZ + b"\r\n") * (MAX_PIPELINED + 2)
    assert (await sent(port, many)).count(b'"alive"') <= 1


@pytest.mark.parametrize(("size", "ends"), [(1, True), (MAX_HEAD_BYTES, False)])
async def test_a_refused_body_may_come_to_its_end_but_not_trickle(
    port: int, size: int, ends: bool
) -> None:
    times = 12
    head = b"POST /v1/nothing HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % (
        times * size
    )
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(head)
    assert b"404" in await reader.readline()
    for _ in range(times):
        writer.write(bytes(size))
        await asyncio.sleep(SHORT_S / 5)
    writer.write(LIVEZ + b"Connection: close\r\n\r\n")
    answer = b""
    with contextlib.suppress(ConnectionError):
        answer = await asyncio.wait_for(reader.read(), 20)
    assert (b'"alive"' not in answer) is ends
    writer.close()


@pytest.mark.parametrize("at_once", [True, False])
async def test_an_offer_of_http_2_costs_no_request_its_body(port: int, at_once: bool) -> None:
    """As Java's own client makes it."""
    body = json.dumps(chat_body()).encode()
    head = b"POST /v1/chat/completions HTTP/1.1\r\nConnection: Upgrade, HTTP2-Settings\r\n"
    head += b"Host: localhost\r\n"
    head += b"HTTP2-Settings: AAEAAEAA\r\nUpgrade: h2c\r\nContent-Type: application/json\r\n"
    head += b"Content-Length: %d\r\n\r\n" % len(body)
    last = LIVEZ + b"Connection: close\r\n\r\n"
    parts = (head + body + last,) if at_once else (head, body, last)
    answer = await sent(port, *parts)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"chair" in answer
    assert b'"alive"' in answer, "the connection goes on as it was"
