"""Limits a request's head: its bytes, and the seconds until it is complete.

uvicorn has no such limits, and keys are checked only once the head is complete. Without limits,
anyone who can reach the port could fill the memory with an endless header or occupy all connections
by sending nothing. Offers to upgrade to HTTP/2 are ignored as well.
"""

from __future__ import annotations

import asyncio
import re

import httptools

from service.http.http_1_0 import UnchunkedProtocol

MAX_HEAD_BYTES = 1 << 16
HEAD_TIMEOUT_S = 30.0
# Pipelined requests; each needs far more memory than its bytes.
MAX_PIPELINED = 64
# Java's client offers HTTP/2 with its first request. The offer may be ignored (RFC 9110, 7.8); the
# parser would take what follows the head for another protocol and lose the body.
_OFFER = re.compile(rb"(?<=\r\n)upgrade(?=:[ \t]*h2c[ \t]*\r\n)", re.IGNORECASE)
_PASSED_OVER = b"x-offer"  # as long, so that nothing else changes


class BoundedHeadProtocol(UnchunkedProtocol):
    """uvicorn's HTTP protocol with limits for the head of each request.

    The time runs from the start of the connection, later from the first byte after an answer, until
    the head is complete. Trailers count like a head. The rest of a refused request's body may
    arrive at up to `MAX_HEAD_BYTES` per time limit.
    """

    head_timeout_s = HEAD_TIMEOUT_S
    _head_bytes = _left_over = 0
    _head_timer: asyncio.TimerHandle | None = None
    _moved = _in_body = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._cancel_head_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._moved = False
        if not self._in_body:
            head, end, rest = data.partition(b"\r\n\r\n")
            data = _OFFER.sub(_PASSED_OVER, head + end) + rest
        super().data_received(data)
        # The parser does not expose its buffer, so incoming bytes are counted here.
        self._head_bytes = 0 if self._moved else self._head_bytes + len(data)
        if self._head_bytes > MAX_HEAD_BYTES:
            self._refuse_head()
        elif self._answering():
            self._cancel_head_timer()
        elif self._head_timer is None:
            self._wait_for_head()

    def on_headers_complete(self) -> None:
        self._moved = self._in_body = True
        self._cancel_head_timer()
        super().on_headers_complete()
        if len(self.pipeline) > MAX_PIPELINED:
            self.transport.abort()
            raise httptools.HttpParserError("too many pipelined requests")  # to stop the parser

    def on_body(self, body: bytes) -> None:
        self._moved = True
        self._left_over += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._moved, self._in_body = True, False
        super().on_message_complete()

    def _answering(self) -> bool:
        # None before the first request, despite its type.
        return self.cycle is not None and not self.cycle.response_complete  # type: ignore[redundant-expr]

    def _wait_for_head(self) -> None:
        self._left_over = 0
        self._head_timer = self.loop.call_later(self.head_timeout_s, self._give_up_head)

    def _give_up_head(self) -> None:
        self._head_timer = None
        if self._left_over >= MAX_HEAD_BYTES:
            self._wait_for_head()
        elif not self._answering():
            self.transport.close()

    def _cancel_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _refuse_head(self) -> None:
        if self.transport.is_closing():
            return
        if self._answering():
            self.transport.abort()  # a second answer in the middle of the first would be read as it
        else:
            self.send_400_response(f"The request's head is larger than {MAX_HEAD_BYTES} bytes.")
