"""Clients that ask and never read: their requests end, and what they held is free again."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.server import ServerState

from service.engine.base import GenerationChunk, GenerationRequest
from service.engine.echo_engine import EchoEngine
from service.http.write_timeout import protocol_with_write_timeout
from tests.service.chat_requests import chat_body
from tests.service.listening import listening_here

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module")
async def port(app: FastAPI) -> AsyncIterator[int]:
    """The app behind a real socket, with a short patience."""
    async with listening_here(app, protocol_with_write_timeout(0.5)) as port:
        yield port


async def test_a_client_that_never_reads_is_cut_off(
    app: FastAPI, engine: EchoEngine, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    aborted = asyncio.Event()

    async def generate(_: GenerationRequest) -> AsyncIterator[GenerationChunk]:
        try:
            for count in range(1, 10_000):
                yield GenerationChunk("x" * 100_000, (5,), completion_tokens=count)
                await asyncio.sleep(0.005)
        finally:
            aborted.set()

    monkeypatch.setattr(engine, "generate", generate)
    body = json.dumps(chat_body(stream=True)).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
    )
    with socket.socket() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(deaf, ("127.0.0.1", port))
        request = f"{head}Content-Type: application/json\r\n\r\n".encode() + body
        await loop.sock_sendall(deaf, request)
        await asyncio.wait_for(aborted.wait(), 60)
        lifecycle = app.state.services.lifecycle
        assert await lifecycle.wait_empty(20)


async def test_a_slow_reader_is_served(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    body = json.dumps(chat_body(stream=True)).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
    )
    writer.write(f"{head}Content-Type: application/json\r\n\r\n".encode() + body)
    await asyncio.sleep(1.0)
    text = await reader.readuntil(b"[DONE]")
    assert b"chair" in text
    writer.close()
    await writer.wait_closed()


class _Transport:
    """Tells a scripted number of unsent bytes."""

    def __init__(self, *unsent: int) -> None:
        self.unsent, self.aborted = list(unsent), asyncio.Event()

    def get_write_buffer_size(self) -> int:
        return self.unsent.pop(0)

    def abort(self) -> None:
        self.aborted.set()


async def test_who_reads_slowly_is_cut_off_only_once_it_stops(app: FastAPI) -> None:
    config = uvicorn.Config(app, lifespan="off", log_config=None)
    made: Any = protocol_with_write_timeout(0.05)
    protocol = made(config=config, server_state=ServerState(), app_state={})
    protocol.transport = _Transport(900, 500, 100, 100)
    protocol.flow = FlowControl(protocol.transport)
    protocol.pause_writing()
    await asyncio.wait_for(protocol.transport.aborted.wait(), 10)
    assert protocol.transport.unsent == [], "it was asked again as long as bytes were taken"
