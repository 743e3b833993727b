"""Pure ASGI middleware: request id and access log, API keys, body limits. Installed by `app`.

None of it buffers: streams pass through as they are.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import re
import time
import uuid
from collections.abc import Callable, Iterable

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import translate
from service.exceptions import (
    AuthenticationError,
    BodyTimeoutError,
    BodyTooLargeError,
    OverloadedError,
)
from service.request_body import on_release

logger = logging.getLogger(__name__)
access_logger = logging.getLogger("service.access")

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_SIZE = re.compile(r"[0-9]{1,15}")


class RequestContextMiddleware:
    """Gives each request an id, logs it without its content, and answers what nobody caught."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        started, status = time.perf_counter(), 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-Id"] = request_id
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except Exception as error:
            logger.exception("request %s failed", request_id)
            if status:
                raise  # too late for an answer; the server closes the connection
            await translate(error).response()(scope, receive, send_with_id)
        finally:
            access_logger.info(
                "%s %r %d %.1f ms id=%s", scope["method"], scope["path"], status,
                1000 * (time.perf_counter() - started), request_id,
            )  # fmt: skip


class ApiKeyMiddleware:
    """Lets through whoever has a key; every path asks for one unless it is named open."""

    def __init__(self, app: ASGIApp, keys: Iterable[str], open_paths: frozenset[str]) -> None:
        self._app, self._open_paths = app, open_paths
        # Digests of equal length: the comparison's time tells nothing of a key.
        self._digests = tuple(hashlib.sha256(key.encode()).digest() for key in keys)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http" or not self._digests or scope["path"] in self._open_paths:
            await self._app(scope, receive, send)
            return
        scheme, _, key = Headers(scope=scope).get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not key:
            refusal = AuthenticationError("an API key is needed: Authorization: Bearer KEY")
        elif not self._is_known(key.strip()):
            refusal = AuthenticationError("the API key is not known here")
        else:
            await self._app(scope, receive, send)
            return
        await translate(refusal).response()(scope, receive, send)

    def _is_known(self, key: str) -> bool:
        digest = hashlib.sha256(key.encode()).digest()
        found = False
        for known in self._digests:
            found |= hmac.compare_digest(digest, known)
        return found


class BodyLimitMiddleware:
    """Bounds what request bodies take: bytes of one, bytes of all together, silence within one.

    A body is refused by its announced length, or as soon as more has come in than is allowed.
    """

    def __init__(
        self,
        app: ASGIApp,
        max_bytes: int,
        max_total_bytes: int,
        silence_s: float,
        refused: Callable[[str], None],
    ) -> None:
        """Args:
        max_bytes: of one body.
        max_total_bytes: of all bodies that are held at once, though one body always has room;
            what comes beyond it is refused with 503.
        silence_s: seconds within which the next part of a body must come.
        refused: told the reason of each refusal for lack of room.
        """
        self._app, self._max_bytes = app, max_bytes
        self._max_total = max(max_bytes, max_total_bytes)
        self._silence_s, self._refused = silence_s, refused
        self._held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        announced = Headers(scope=scope).get("content-length", "0")
        if not _SIZE.fullmatch(announced) or int(announced) > self._max_bytes:
            refusal = translate(BodyTooLargeError(self._max_bytes)).response()
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
                if received > self._max_bytes:
                    # An HTTPException passes through the framework's own body reading unchanged.
                    raise HTTPException(413) from BodyTooLargeError(self._max_bytes)
                self._hold(size)
                held += size
                complete = not message.get("more_body", False)
            return message

        def release() -> None:
            nonlocal held
            self._held -= held
            held = 0

        on_release(scope, release)
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
