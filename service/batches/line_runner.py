"""Runs one line of a batch through the app's own routes, without a socket.

The request is an ordinary ASGI call for the key that created the batch: the same parsing, checks,
limits, logs and errors. Cancelling it aborts its work.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic_core import from_json
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.keys.api_keys import Role
from service.keys.auth import CALLER, Caller

_BUSY = (429, 503)


@dataclass(frozen=True, slots=True)
class LineAnswer:
    """A route's answer."""

    status: int
    body: bytes

    @property
    def retriable(self) -> bool:
        """Whether the service failed or refused for now, and the line itself is not at fault."""
        return self.status in _BUSY

    @property
    def engine_died(self) -> bool:
        """Whether the engine died, possibly because of this line."""
        return self.status == 503 and self._error.get("code") == "engine_stopped"

    @property
    def no_room(self) -> bool:
        """Whether the service was overloaded, possibly because of this line."""
        return self.status == 503 and self._error.get("code") == "queue_full"

    @property
    def error_message(self) -> str:
        """The route's error message; "" for an answer."""
        return str(self._error.get("message", ""))

    @property
    def _error(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = from_json(self.body).get("error") or {}
        return found


class LineRunner:
    """Sends requests to one app."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def run(self, path: str, body: str, owner: str, request_id: str) -> LineAnswer:
        """The answer to `body`, posted to `path` as the owner's request."""
        caller = Caller("batch", Role.USER, bytes.fromhex(owner) or None, None, patient=True)
        exchange = _Exchange(body.encode())
        await self._app(_scope(path, exchange.size, caller, request_id), *exchange.channels())
        return exchange.answer()


class _Exchange:
    """The ASGI channels of one request, whose client never disconnects."""

    def __init__(self, body: bytes) -> None:
        self.size = len(body)
        self._body: bytes | None = body
        self._status, self._answer = 0, bytearray()

    def channels(self) -> tuple[Receive, Send]:
        return self._receive, self._send

    def answer(self) -> LineAnswer:
        return LineAnswer(self._status, bytes(self._answer))

    async def _receive(self) -> Message:
        if self._body is None:
            await asyncio.Event().wait()  # never gone: it ends by being cancelled
        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": False}

    async def _send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
        else:
            self._answer += message.get("body", b"")


def _scope(path: str, size: int, caller: Caller, request_id: str) -> Scope:
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [
            (b"host", b"batch"),
            (b"content-type", b"application/json"),
            (b"content-length", str(size).encode()),
            (b"x-request-id", request_id.encode()),
        ],
        "client": None,
        "server": None,
        CALLER: caller,
    }
