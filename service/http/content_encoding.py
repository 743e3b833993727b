"""Decompresses request bodies (RFC 9110, 8.4) as they arrive, within the limits of plain ones."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Mapping

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import translate
from service.exceptions import BodyTooLargeError, ContentEncodingError, RequestError

# By zlib's window bits: the largest window, with a gzip or a zlib header.
_WINDOWS: Mapping[str, int] = {"gzip": 31, "x-gzip": 31, "deflate": 15}
_PIECE = 1 << 18


class ContentEncodingMiddleware:
    """Hands on plain bodies in pieces of bounded size, so that `BodyLimitMiddleware` counts them.

    A small body may decompress to a thousand times its size: nothing is decompressed before the
    piece before it has been accepted.
    """

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        """`max_bytes` limits the compressed bytes, which may decompress to nothing."""
        self._app, self._max_bytes = app, max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        encoding = Headers(scope=scope).get("content-encoding", "") if "headers" in scope else ""
        encoding = encoding.strip().lower()
        if encoding in ("", "identity"):
            await self._app(scope, receive, send)
            return
        if encoding not in _WINDOWS:
            refusal = translate(ContentEncodingError(encoding)).response()
            await refusal(scope, receive, send)
            return
        # Content-Length remains: a body that is too large when compressed is refused by it.
        scope["headers"] = [one for one in scope["headers"] if one[0] != b"content-encoding"]
        await self._app(scope, _Decoded(receive, encoding, self._max_bytes).receive, send)


class _Decoded:
    """The ASGI channel of one request, with its body decompressed."""

    def __init__(self, receive: Receive, encoding: str, max_bytes: int) -> None:
        self._receive, self._encoding, self._max_bytes = receive, encoding, max_bytes
        self._decoder = zlib.decompressobj(_WINDOWS[encoding])
        self._received, self._rest = 0, b""
        self._more_output = self._last = self._complete = False

    async def receive(self) -> Message:
        """The next piece, or another message as it is."""
        if self._complete:
            return await self._receive()  # waits for a disconnect
        if self._rest or self._more_output:
            await asyncio.sleep(0)  # others run between the pieces of a large body
        else:
            message = await self._receive()
            if message["type"] != "http.request":
                return message
            self._rest, self._last = message.get("body", b""), not message.get("more_body", False)
            self._received += len(self._rest)
            if self._received > self._max_bytes:
                raise HTTPException(413) from BodyTooLargeError(self._max_bytes)
        piece = self._decompress()
        self._complete = self._last and not self._rest and not self._more_output
        if self._complete and self._received and not self._decoder.eof:
            raise HTTPException(400) from self._invalid("ends too early")
        return {"type": "http.request", "body": piece, "more_body": not self._complete}

    def _decompress(self) -> bytes:
        try:
            piece = self._decoder.decompress(self._rest, _PIECE)
        except zlib.error:
            fault = self._invalid("is corrupt, or not compressed")
            raise HTTPException(400) from fault
        if self._decoder.unused_data or (self._decoder.eof and self._decoder.unconsumed_tail):
            raise HTTPException(400) from self._invalid("has bytes after its end")
        # A full piece may have more output behind it, even if all input is consumed.
        self._rest, self._more_output = self._decoder.unconsumed_tail, len(piece) == _PIECE
        return piece

    def _invalid(self, fault: str) -> RequestError:
        return RequestError(
            f"the request body {fault}; its Content-Encoding is {self._encoding!r}",
            code="invalid_content_encoding",
        )
