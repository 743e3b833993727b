"""Pure ASGI middleware: request id and access log, body limits and body logs.

None of it buffers: streams pass through unchanged.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
import uuid
from collections.abc import Callable, Mapping

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import translate
from service.exceptions import BodyTimeoutError, BodyTooLargeError, OverloadedError
from service.http.request_body import on_release, parse_in_turn
from service.keys.auth import CALLER, REQUEST_ID, Caller
from service.logging_setup import request_logged_as

logger = logging.getLogger(__name__)
access_logger = logging.getLogger("service.access")
body_logger = logging.getLogger("service.bodies")

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_SIZE = re.compile(r"[0-9]{1,15}")


class RequestContextMiddleware:
    """Gives each request an id, logs it without its content, and turns uncaught exceptions into
    500.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        scope[REQUEST_ID] = request_id
        started, status = time.perf_counter(), 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-Id"] = request_id
            await send(message)

        with request_logged_as(request_id):
            try:
                await self._app(scope, receive, send_with_id)
            except Exception as error:
                logger.exception("the request failed")
                if status:
                    raise  # too late for an error body; the server closes the connection
                await translate(error).response()(scope, receive, send_with_id)
            finally:
                _log_access(scope, status, 1000 * (time.perf_counter() - started))


def _log_access(scope: Scope, status: int, duration_ms: float) -> None:
    caller: Caller | None = scope.get(CALLER)
    key = None if caller is None else caller.name
    access_logger.info(
        "%s %r %d %.1f ms%s",
        scope["method"], scope["path"], status, duration_ms, f" key={key}" if key else "",
        extra={
            "method": scope["method"],
            "path": scope["path"],
            "status": status,
            "duration_ms": round(duration_ms, 1),
            "key": key,
        },
    )  # fmt: skip


class BodyLogMiddleware:
    """Logs the beginning of bodies; installed only if the operator asks for it."""

    def __init__(self, app: ASGIApp, max_chars: int) -> None:
        """The first `max_chars` characters of each body are logged."""
        self._app, self._max_chars = app, max_chars

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        asked, answered = _Excerpt(self._max_chars), _Excerpt(self._max_chars)

        async def note_request() -> Message:
            message = await receive()
            if message["type"] == "http.request":
                asked.add(message.get("body", b""))
            return message

        async def note_response(message: Message) -> None:
            if message["type"] == "http.response.body":
                answered.add(message.get("body", b""))
            await send(message)

        try:
            await self._app(scope, note_request, note_response)
        finally:
            body_logger.info("request body %s; response body %s", asked, answered)


class _Excerpt:
    """The first characters of a body, and its whole length."""

    def __init__(self, max_chars: int) -> None:
        self._max_chars, self._start, self._size = max_chars, b"", 0

    def add(self, part: bytes) -> None:
        """Adds the next part."""
        self._size += len(part)
        if len(self._start) < self._max_chars:
            self._start += part[: self._max_chars - len(self._start)]

    def __str__(self) -> str:
        text = repr(self._start.decode("utf8", "replace"))
        return f"({self._size} bytes) {text}{'...' if self._size > len(self._start) else ''}"


class BodyLimitMiddleware:
    """Limits request bodies: bytes per body, bytes of all bodies, and time between two parts.

    A body is refused by its Content-Length, or once more bytes have arrived than allowed.
    """

    def __init__(
        self,
        app: ASGIApp,
        max_bytes: int,
        max_total_bytes: int,
        silence_s: float,
        refused: Callable[[str], None],
        max_bytes_of: Mapping[str, int] | None = None,
    ) -> None:
        """
        Args:
            max_bytes: limit per body.
            max_total_bytes: limit of all bodies held at once; more are refused with 503. One body
                is always accepted.
            silence_s: maximum seconds between two parts of a body.
            refused: called with the reason when a body is refused for lack of memory.
            max_bytes_of: limits of paths whose bodies are not held, in place of `max_bytes`.
        """
        self._max_bytes_of = max_bytes_of or {}
        self._app, self._max_bytes = app, max_bytes
        self._max_total = max(max_bytes, max_total_bytes)
        self._silence_s, self._refused = silence_s, refused
        self._held, self._parse_turn = 0, asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = self._max_bytes_of.get(scope["path"], self._max_bytes)
        announced = Headers(scope=scope).get("content-length", "0")
        if not _SIZE.fullmatch(announced) or int(announced) > limit:
            refusal = translate(BodyTooLargeError(limit)).response()
            await refusal(scope, receive, send)
            return
        received, held, complete = 0, 0, False

        async def count() -> Message:
            nonlocal received, held, complete
            if complete:
                return await receive()  # waits for a disconnect, however long that takes
            message = await self._next(receive)
            if message["type"] == "http.request":
                size = len(message.get("body", b""))
                received += size
                if received > limit:
                    # An HTTPException passes through the framework's own body reading unchanged.
                    raise HTTPException(413) from BodyTooLargeError(limit)
                self._hold(size)
                held += size
                complete = not message.get("more_body", False)
            return message

        def release() -> None:
            nonlocal held
            self._held -= held
            held = 0

        on_release(scope, release)
        parse_in_turn(scope, self._parse_turn)
        try:
            await self._app(scope, count, send)
        finally:
            release()

    async def _next(self, receive: Receive) -> Message:
        try:
            async with asyncio.timeout(self._silence_s):
                return await receive()
        except TimeoutError:
            raise HTTPException(408) from BodyTimeoutError(self._silence_s)

    def _hold(self, size: int) -> None:
        if self._held + size > self._max_total:
            self._refused("bodies_full")
            raise HTTPException(503) from OverloadedError(
                f"the bodies of other requests take {self._held} bytes; "
                f"the limit of all together is {self._max_total}",
                reason="bodies_full",
            )
        self._held += size
