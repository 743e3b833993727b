"""Answers to HTTP/1.0 clients: no chunked framing, which such clients cannot read.

Proxies may be such clients: nginx speaks HTTP/1.0 to the servers behind it unless configured
otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

_VERSIONS = frozenset({"0.9", "1.0"})


class UnchunkedProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol, which ends bodies of unknown length with the connection for HTTP/1.0
    clients (RFC 9112, 6.3).

    uvicorn closes the connection after every answer to such a client, and says so, even if it asks
    for `Connection: keep-alive`. It would also send it an interim answer, which only HTTP/1.1 knows
    (RFC 9110, 10.1.1).
    """

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        if self.scope["http_version"] in _VERSIONS:
            self.cycle.waiting_for_100_continue = False
            # The task that runs the cycle has been made, but has not begun.
            self.cycle.send = _Unchunked(self.cycle).send  # type: ignore[method-assign]


class _Unchunked:
    """The sending half of one request's ASGI channel."""

    def __init__(self, cycle: RequestResponseCycle) -> None:
        self._cycle, self._send = cycle, cycle.send
        self._until_close = False

    async def send(self, message: Any) -> None:
        """ASGI."""
        if message["type"] == "http.response.start":
            self._until_close = not _has_length(message)
            if self._until_close:
                self._cycle.chunked_encoding = False
        elif self._until_close:
            # uvicorn checks each part against the length that the headers announced.
            self._cycle.expected_content_length += len(message.get("body", b""))
        await self._send(message)


def _has_length(message: Mapping[str, Any]) -> bool:
    return any(name.lower() == b"content-length" for name, _ in message.get("headers", ()))
