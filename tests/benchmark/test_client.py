"""The chat client against a server that streams, refuses and dies."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.responses import JSONResponse, Response

from benchmark.errors import RequestFailedError, ServerGoneError
from benchmark.http import chat_answers as client_answers
from benchmark.http.client import ChatClient, RetryPolicy, encode_stream, retry_after, server_root
from benchmark.http.connection import LeanClient, open_http
from benchmark.http.sse import SseParser

QUICK = RetryPolicy(attempts=3, base_delay=0.01, max_delay=0.02)


def body(text: str = "Hello", max_tokens: int = 8) -> dict[str, Any]:
    message = {"role": "user", "content": text}
    return {"model": "fake-lamm", "messages": [message], "max_tokens": max_tokens}


STREAM = (
    b': hi\n\ndata: {"a": "\xc3\xa9"}\r\n\r\nevent: x\ndata: one\ndata:two\r\r'
    b"id: 3\n\ndata: [DONE]\n\n"
)


@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_sse_events_survive_any_split(cuts: list[int]) -> None:
    parser, events, last = SseParser(), [], 0
    for cut in [*sorted(cuts), len(STREAM)]:
        events += parser.feed(STREAM[last:cut])
        last = cut
    assert events == ['{"a": "\u00e9"}', "one\ntwo", "[DONE]"]


async def test_concurrency_is_bounded_and_used(server: Any) -> None:
    server.delay = 0.05
    async with server.client() as http:
        client = ChatClient(http, 3, QUICK)
        await asyncio.gather(*(client.complete(body(str(i))) for i in range(12)))
    assert server.peak == 3
    assert len(server.asked) == 12


async def test_503_waits_as_told_and_tries_again(server: Any) -> None:
    server.refusals = [Response(status_code=503, headers={"Retry-After": "1"})]
    started = time.perf_counter()
    async with server.client() as http:
        result = await ChatClient(http, 1, QUICK).complete(body())
    assert time.perf_counter() - started >= 1.0
    assert (result.text, result.fingerprint, result.usage.completion_tokens) == (
        "I do not know.", "weights-1", 3,
    )  # fmt: skip


async def test_refusals_that_no_retry_helps_come_at_once(server: Any) -> None:
    error = {"error": {"message": "max_tokens is -1; it must be within 1 and 1048576"}}
    final = Response(status_code=500, headers={"x-should-retry": "false"})
    server.refusals = [JSONResponse(error, status_code=400), final]
    async with server.client() as http:
        client = ChatClient(http, 1, QUICK)
        with pytest.raises(RequestFailedError, match="HTTP 400: max_tokens is -1") as caught:
            await client.complete(body())
        assert caught.value.status == 400
        with pytest.raises(RequestFailedError, match="HTTP 500"):
            await client.complete(body())
    assert server.asked == []


async def test_a_server_s_words_are_no_command_to_a_terminal(server: Any) -> None:
    server.refusals = [Response("no\n\x1b[2J\x07way", status_code=418)] * 2
    async with server.client() as http:
        client = ChatClient(http, 1, QUICK)
        with pytest.raises(RequestFailedError, match=r"HTTP 418: no \[2J way$"):
            await client.complete(body())
        assert (await client.stream(encode_stream(body()))).error == "HTTP 418: no [2J way"


async def test_retries_end(server: Any) -> None:
    server.refusals = [Response("busy", status_code=503) for _ in range(3)]
    async with server.client() as http:
        with pytest.raises(RequestFailedError, match="HTTP 503: busy"):
            await ChatClient(http, 1, QUICK).complete(body())


async def test_a_body_of_another_shape_is_an_error(server: Any) -> None:
    server.refusals = [JSONResponse({"choices": []}), Response("<html>", media_type="text/html")]
    async with server.client() as http:
        client = ChatClient(http, 1, QUICK)
        for _ in range(2):
            with pytest.raises(RequestFailedError, match="not a chat completion"):
                await client.complete(body())


async def test_a_dead_server_is_named(server: Any) -> None:
    server.stop()
    async with server.client() as http:
        client = ChatClient(http, 1, QUICK)
        with pytest.raises(ServerGoneError, match=f"no answer from {server.url}"):
            await client.first_model()
        assert (await client.stream(encode_stream(body()))).error == "connection lost: ConnectError"


async def test_a_stream_is_timed_and_counted(server: Any) -> None:
    server.token_delay = 0.02
    async with server.client() as http:
        record = await ChatClient(http, 1).stream(encode_stream(body(max_tokens=5)))
    assert record.error is None
    assert record.text == "t0 t1 t2 t3 t4 "
    assert record.usage is not None
    assert (record.usage.completion_tokens, record.usage.cached_tokens) == (5, 2)
    assert record.finish_reason == "length"
    assert len(record.itls) == 4
    # The empty role chunk is no first token.
    assert 0.02 <= record.ttft < record.latency
    assert sum(record.itls) >= 0.06
    assert server.bodies[0]["stream_options"] == {"include_usage": True}


async def test_streams_that_fail_say_why(server: Any) -> None:
    async with server.client() as http:
        client = ChatClient(http, 1)
        server.stream_error = True
        assert (await client.stream(encode_stream(body()))).error == "the engine stopped"
        server.stream_error, server.with_usage = False, False
        assert "no usage chunk" in str((await client.stream(encode_stream(body()))).error)
        server.refusals = [Response("full", status_code=503)]
        assert (await client.stream(encode_stream(body()))).error == "HTTP 503: full"
        server.refusals = [Response("data: {}\n\n", media_type="text/event-stream")]
        assert "before [DONE]" in str((await client.stream(encode_stream(body()))).error)
        server.refusals = [Response("data: {oops\n\ndata: [DONE]\n\n")]
        assert "not a chat completion chunk" in str(
            (await client.stream(encode_stream(body()))).error
        )


async def test_a_body_that_cannot_be_decompressed_is_that_request_s_failure(server: Any) -> None:
    def garbled(status: int = 200) -> Response:
        return Response(b"no gzip", status, headers={"Content-Encoding": "gzip"})

    for make in (server.client, lambda: open_http(server.url, 10.0)):
        server.refusals = [garbled(), garbled(), garbled(500)]
        async with make() as http:
            client = ChatClient(http, 1, QUICK)
            with pytest.raises(RequestFailedError, match="answer cannot be decompressed"):
                await client.complete(body())
            for _ in range(2):
                record = await client.stream(encode_stream(body()))
                assert record.error == "the body of the answer cannot be decompressed"
            assert (await client.complete(body())).text


def test_waits_are_bounded_and_never_shorter_than_told() -> None:
    policy = RetryPolicy(base_delay=0.5, max_delay=4.0, max_retry_after=60.0)
    for _ in range(200):
        assert 7.0 <= policy.wait(0, told=7.0) <= 8.75
        assert 60.0 <= policy.wait(0, told=86_400.0) <= 75.0
        assert 0.25 <= policy.wait(0, told=None) <= 0.5
        assert 2.0 <= policy.wait(9, told=None) <= 4.0
    # What was refused together does not come back together.
    assert len({policy.wait(0, told=1.0) for _ in range(20)}) > 10


def test_retry_after_in_both_forms() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert retry_after("7", now) == 7.0
    assert retry_after("Thu, 01 Jan 2026 00:00:30 GMT", now) == 30.0
    assert retry_after("Wed, 31 Dec 2025 00:00:00 GMT", now) == 0.0
    assert retry_after("soon", now) is None
    assert retry_after(None, now) is None


async def test_the_lean_client_behaves_as_httpx_does(server: Any) -> None:
    server.refusals = [Response(status_code=503, headers={"Retry-After": "0"})]
    async with open_http(server.url + "/v1", timeout=10.0, api_key="k") as http:
        assert isinstance(http, LeanClient)
        client = ChatClient(http, 2, QUICK)
        assert await client.first_model() == "fake-lamm"
        assert (await client.complete(body())).text == "I do not know."
        server.refusals = [Response("nothing", status_code=404)]
        with pytest.raises(RequestFailedError, match="HTTP 404: nothing"):
            await client.complete(body())
        assert (await client.stream(encode_stream(body(max_tokens=2)))).text == "t0 t1 "
        server.stop()
        with pytest.raises(ServerGoneError, match=f"no answer from {server.url}"):
            await client.complete(body())
    server.start()


async def test_the_lean_client_gives_up_a_silent_server(server: Any) -> None:
    server.delay = 5.0
    async with open_http(server.url, timeout=0.2) as http:
        with pytest.raises(ServerGoneError, match="ReadTimeout"):
            await ChatClient(http, 1, QUICK).complete(body())


async def test_without_aiohttp_httpx_does_everything(
    server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    async with open_http(server.url, timeout=10.0) as http:
        assert not isinstance(http, LeanClient)
        assert (await ChatClient(http, 1, QUICK).complete(body())).finish_reason == "stop"


def test_server_root() -> None:
    assert server_root("http://h:1/v1/") == server_root("http://h:1") == "http://h:1"


async def test_a_path_that_a_server_does_not_have_is_named(server: Any) -> None:
    async with server.client() as http:
        http.base_url = httpx.URL(f"{server.url}/wrong")
        with pytest.raises(RequestFailedError, match=f"HTTP 404.*GET {server.url}/wrong/v1/models"):
            await ChatClient(http, 1, QUICK).first_model()


async def test_streams_share_a_connection_whose_end_comes_late(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(client_answers, "_LONGEST_END_S", 20.0)
    connections, left = 0, asyncio.Event()

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = int(head.partition(b"content-length:")[2].split(b"\r\n")[0])
                await reader.readexactly(length)
                event = b'data: {"usage": {"prompt_tokens": 1}}\n\ndata: [DONE]\n\n'
                writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
                writer.write(b"%x\r\n%s\r\n" % (len(event), event))
                await writer.drain()
                # What makes a first token late is not the answer before it.
                await asyncio.sleep(0.05)
                writer.write(b"0\r\n\r\n")
        writer.close()
        await writer.wait_closed()
        left.set()

    served = await asyncio.start_server(converse, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{served.sockets[0].getsockname()[1]}"
    async with httpx.AsyncClient(base_url=url, trust_env=False) as http:
        client = ChatClient(http, 1)
        records = [await client.stream(encode_stream(body())) for _ in range(3)]
    served.close()
    await left.wait()
    assert [record.error for record in records] == [None] * 3
    assert connections == 1
