"""Compressed request bodies: read within the limits of plain ones, or refused by name."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
from starlette.types import Message, Receive, Scope, Send

from service.http.content_encoding import ContentEncodingMiddleware
from tests.service.chat_requests import chat_body, image, png

CHAT = "/v1/chat/completions"
BODY = json.dumps(chat_body(image())).encode()
ENCODERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress, "X-GZIP": gzip.compress, "deflate": zlib.compress,
}  # fmt: skip
pytestmark = pytest.mark.asyncio(loop_scope="module")


def headers(encoding: str) -> dict[str, str]:
    return {"Content-Type": "application/json", "Content-Encoding": encoding}


async def pieces(content: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(content), size):
        yield content[start : start + size]


@pytest.mark.parametrize("encoding", ENCODERS)
async def test_a_compressed_body_is_read(client: httpx.AsyncClient, encoding: str) -> None:
    content = ENCODERS[encoding](BODY)
    plain = (await client.post(CHAT, json=chat_body(image()))).json()
    for sent in (content, pieces(content, 7)):
        response = await client.post(CHAT, content=sent, headers=headers(encoding))
        assert response.status_code == 200, response.text
        assert response.json()["choices"] == plain["choices"]


async def test_a_large_body_is_read_in_pieces(client: httpx.AsyncClient) -> None:
    body = json.dumps(chat_body(user=" " * (6 << 20))).encode()
    response = await client.post(CHAT, content=gzip.compress(body), headers=headers("gzip"))
    assert response.status_code == 200, response.text


async def test_forms_and_files_may_be_compressed(client: httpx.AsyncClient) -> None:
    plain = client.build_request(
        "POST", "/v1/files", data={"purpose": "vision"}, files={"file": ("a.png", png())}
    )
    kind = plain.headers["content-type"]
    response = await client.post(
        "/v1/files", content=gzip.compress(await plain.aread()),
        headers={"Content-Type": kind, "Content-Encoding": "gzip"},
    )  # fmt: skip
    assert response.status_code == 200, response.text
    assert response.json()["bytes"] == len(png())


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip", "x" * 999])
async def test_other_encodings_are_named(client: httpx.AsyncClient, encoding: str) -> None:
    response = await client.post(CHAT, content=BODY, headers=headers(encoding))
    assert response.status_code == 415
    assert response.headers["accept-encoding"] == "gzip, deflate"
    message = response.json()["error"]["message"]
    assert message == (
        f"the request's Content-Encoding is {encoding[:64]!r}; expected gzip, deflate or none"
    )


@pytest.mark.parametrize(
    ("content", "encoding", "fault"),
    [
        (BODY, "gzip", "is corrupt, or not compressed"),
        (zlib.compress(BODY)[2:-4], "deflate", "is corrupt, or not compressed"),
        (gzip.compress(BODY)[:-1], "gzip", "ends too early"),
        (gzip.compress(BODY) + b"{}", "gzip", "has bytes after its end"),
        (gzip.compress(BODY) + gzip.compress(BODY), "gzip", "has bytes after its end"),
    ],
    ids=["plain", "no header", "cut", "followed", "two members"],
)
async def test_faulty_bodies_are_refused(
    client: httpx.AsyncClient, content: bytes, encoding: str, fault: str
) -> None:
    response = await client.post(CHAT, content=content, headers=headers(encoding))
    assert response.status_code == 400
    error = response.json()["error"]
    assert error["code"] == "invalid_content_encoding"
    assert error["message"] == f"the request body {fault}; its Content-Encoding is {encoding!r}"


async def test_a_bomb_is_refused_at_the_limit(client: httpx.AsyncClient) -> None:
    bomb = gzip.compress(bytes(256 << 20), 1)
    response = await client.post(CHAT, content=bomb, headers=headers("gzip"))
    assert response.status_code == 413
    assert "8388608 bytes" in response.json()["error"]["message"]
    assert (await client.post(CHAT, json=chat_body())).status_code == 200


async def through(messages: list[Message], max_bytes: int) -> list[Message]:
    """What the app receives until the body is complete."""
    found: list[Message] = []

    async def app(_: Scope, receive: Receive, __: Send) -> None:
        while not found or found[-1]["more_body"]:
            found.append(await receive())

    async def receive() -> Message:
        return messages.pop(0)

    async def send(_: Message) -> None:
        raise AssertionError("nothing is sent")

    scope: dict[str, Any] = {"type": "http", "headers": [(b"content-encoding", b"gzip")]}
    await ContentEncodingMiddleware(app, max_bytes)(scope, receive, send)
    return found


async def test_no_piece_is_larger_than_its_bound() -> None:
    content = gzip.compress(bytes(8 << 20))
    found = await through([{"type": "http.request", "body": content}], 1 << 20)
    sizes = [len(message["body"]) for message in found]
    assert sum(sizes) == 8 << 20
    assert max(sizes) == 1 << 18


async def test_compressed_bytes_are_limited_too() -> None:
    """Empty blocks decompress to nothing, however many they are."""
    packer = zlib.compressobj(wbits=31)
    empty = packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.flush(zlib.Z_FULL_FLUSH) or b"\x00\x00\x00\xff\xff"
    messages: list[Message] = [{"type": "http.request", "body": empty, "more_body": True}]
    messages += [{"type": "http.request", "body": block * 100, "more_body": True}] * 50
    with pytest.raises(Exception, match="413"):
        await through(messages, 5000)
    assert messages
