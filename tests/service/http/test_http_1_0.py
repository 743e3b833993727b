"""HTTP/1.0 clients over a real socket: no answer is chunked, and each one is complete."""

from __future__ import annotations

import asyncio
import base64
import json
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio
from fastapi import FastAPI

from service.config.settings import Settings
from service.engine.base import GenerationChunk, GenerationRequest
from service.engine.echo_engine import EchoEngine
from service.http.write_timeout import protocol_with_write_timeout
from service.startup.configs import engine_config
from tests.service.chat_requests import chat_body, png
from tests.service.listening import listening_here
from tests.service.tasks.task_requests import picture

pytestmark = pytest.mark.asyncio(loop_scope="module")

CHAT, FILES = "/v1/chat/completions", "/v1/files"
REPLY = "dog [0.10, 0.20, 0.45, 0.60]"
_LAST_CHUNK = b"0\r\n\r\n"


@dataclass(frozen=True)
class Answer:
    """An answer as it came over the wire."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@pytest.fixture(scope="module")
def engine(settings: Settings) -> EchoEngine:
    """Answers with a box."""
    return EchoEngine(engine_config(settings), REPLY)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def port(app: FastAPI) -> AsyncIterator[int]:
    """The app behind a real socket."""
    async with listening_here(app, protocol_with_write_timeout(60.0)) as port:
        yield port


def request(
    path: str, body: bytes | None = None, *, version: str = "1.0", method: str = "", **headers: str
) -> bytes:
    """A request's bytes; underscores of header names are dashes."""
    method = method or ("GET" if body is None else "POST")
    fields = {
        "Host": "localhost",
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    if body is not None:
        fields = {"Content-Type": "application/json", "Content-Length": str(len(body))} | fields
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"{method} {path} HTTP/{version}\r\n{lines}\r\n".encode() + (body or b"")


async def read_all(port: int, *parts: bytes) -> bytes:
    """What comes back until the server closes the connection, within 30 s."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(30):
            writer.writelines(parts)
            return await reader.read()
    finally:
        writer.close()


async def asked(port: int, path: str, body: bytes | None = None, **how: Any) -> Answer:
    """The answer to one request."""
    head, _, content = (await read_all(port, request(path, body, **how))).partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    pairs = (line.split(": ", 1) for line in lines)
    return Answer(int(status.split()[1]), {name.lower(): value for name, value in pairs}, content)


def check_framing(answer: Answer) -> None:
    """Nothing that only HTTP/1.1 knows, and the connection ends with the answer."""
    assert "transfer-encoding" not in answer.headers
    assert answer.headers["connection"] == "close"
    assert int(answer.headers.get("content-length", len(answer.body))) == len(answer.body)


def json_bytes(body: Mapping[str, Any]) -> bytes:
    return json.dumps(body).encode()


STREAMED = json_bytes(chat_body(stream=True))


def events(body: bytes) -> list[str]:
    """The data of each event; nothing else may be in the body."""
    assert re.fullmatch(rb"(data: [^\n]+\n\n)+", body), body
    return [line.removeprefix("data: ") for line in body.decode().split("\n\n")[:-1]]


@pytest.mark.parametrize("connection", ["close", "keep-alive"])
async def test_a_stream_ends_with_the_connection(port: int, connection: str) -> None:
    answer = await asked(port, CHAT, STREAMED, Connection=connection)
    check_framing(answer)
    assert (answer.status, "content-length" in answer.headers) == (200, False)
    *chunks, done = events(answer.body)
    deltas = [json.loads(chunk)["choices"][0]["delta"] for chunk in chunks]
    assert "".join(delta.get("content", "") for delta in deltas) == REPLY
    assert done == "[DONE]"


async def test_each_part_of_a_stream_is_sent_at_once(
    port: int, engine: EchoEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = asyncio.Event()

    async def generate(_: GenerationRequest) -> AsyncIterator[GenerationChunk]:
        yield GenerationChunk("first ", (5,), completion_tokens=1)
        await go_on.wait()

    monkeypatch.setattr(engine, "generate", generate)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request(CHAT, STREAMED))
    async with asyncio.timeout(30):
        await reader.readuntil(b"first")  # although the answer is not complete
    writer.close()
    go_on.set()


async def test_http_1_1_stays_chunked(port: int) -> None:
    answer = await asked(port, CHAT, STREAMED, version="1.1", Connection="close")
    assert answer.headers["transfer-encoding"] == "chunked"
    assert answer.body.endswith(_LAST_CHUNK)
    two = await read_all(
        port, request("/livez", version="1.1"), request("/livez", version="1.1", Connection="close")
    )
    assert two.count(b'{"status":"alive"}') == 2


async def test_a_downloaded_file_has_its_length(port: int, app: FastAPI) -> None:
    content = png(300, 200)
    form = (
        b'--x\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nvision\r\n'
        b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n'
        + content + b"\r\n--x--\r\n"
    )  # fmt: skip
    kind = "multipart/form-data; boundary=x"
    stored = await asked(port, FILES, form, Content_Type=kind)
    check_framing(stored)
    answer = await asked(port, f"{FILES}/{json.loads(stored.body)['id']}/content")
    check_framing(answer)
    assert answer.headers["content-length"] == str(len(content))
    assert answer.body == content


async def test_an_overlay_is_whole(port: int) -> None:
    body = json_bytes({**picture(), "overlay": "png"})
    answer = await asked(port, "/v1/tasks/detection", body)
    check_framing(answer)
    kind, _, data = json.loads(answer.body)["overlay"].partition(",")
    assert kind == "data:image/png;base64"
    assert base64.b64decode(data).startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("path", "status"), [("/v1/nothing", 404), ("/", 200), ("/metrics", 200), ("/docs", 200)]
)
async def test_errors_and_pages_have_their_length(port: int, path: str, status: int) -> None:
    answer = await asked(port, path)
    check_framing(answer)
    assert answer.status == status
    assert int(answer.headers["content-length"]) > 0


async def test_answers_without_a_body(port: int) -> None:
    page = await asked(port, "/")
    unchanged = await asked(port, "/", If_None_Match=page.headers["etag"])
    check_framing(unchanged)
    assert (unchanged.status, unchanged.body) == (304, b"")
    head = await asked(port, "/", method="HEAD")
    assert (head.status, head.body) == (200, b"")
    assert "transfer-encoding" not in head.headers


async def test_no_interim_answer_is_sent(port: int) -> None:
    answer = await asked(port, CHAT, json_bytes(chat_body()), Expect="100-continue")
    check_framing(answer)
    assert json.loads(answer.body)["choices"][0]["message"]["content"] == REPLY
    interim = await read_all(
        port,
        request(CHAT, STREAMED, version="1.1", Expect="100-continue", Connection="close"),
    )
    assert interim.startswith(b"HTTP/1.1 100 ")
