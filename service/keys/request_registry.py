"""Running requests by their `X-Request-Id`, for `DELETE /v1/requests/{id}`.

Cancelling looks like a client's disconnect to the handler, so it ends a request wherever it is: in
the queue, in media or in a stream. The client is still connected and gets an error.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import translate
from service.exceptions import RequestCancelledError
from service.schemas.events import DONE, event

_EVENT_STREAM = b"text/event-stream"


class RunningRequests:
    """All running requests; used on the event loop only."""

    def __init__(self) -> None:
        self._running: dict[str, list[_Running]] = {}

    @property
    def request_ids(self) -> tuple[str, ...]:
        """The ids of all running requests."""
        return tuple(self._running)

    def cancel(self, request_id: str, owner: bytes | None, any_owner: bool = False) -> int:
        """Cancels the owner's requests with that id, or everyone's; returns their number."""
        found = [
            one for one in self._running.get(request_id, ()) if any_owner or one.owner == owner
        ]
        for one in found:
            one.cancelled.set()
        return len(found)

    async def run(
        self,
        app: ASGIApp,
        scope: Scope,
        receive: Receive,
        send: Send,
        *,
        request_id: str,
        owner: bytes | None,
    ) -> None:
        """Runs `app` for one request, which can be cancelled meanwhile."""
        running = _Running(owner, receive, send)
        with self._listed(request_id, running):
            await app(scope, running.receive, running.send)
            if running.cancelled.is_set():
                await running.finish(scope)

    @contextlib.contextmanager
    def _listed(self, request_id: str, running: _Running) -> Iterator[None]:
        self._running.setdefault(request_id, []).append(running)
        try:
            yield
        finally:
            left = self._running[request_id]
            left.remove(running)
            if not left:
                del self._running[request_id]


class _Running:
    """The ASGI channels of one request; `receive` disconnects when it is cancelled."""

    def __init__(self, owner: bytes | None, receive: Receive, send: Send) -> None:
        self.owner, self._receive, self._send = owner, receive, send
        self.cancelled = asyncio.Event()
        self._body_read = self._started = self._ended = self._streams = False

    async def receive(self) -> Message:
        """ASGI; a disconnect once the request is cancelled."""
        if self.cancelled.is_set():
            return {"type": "http.disconnect"}
        if not self._body_read:
            message = await self._receive()
            self._body_read = not message.get("more_body", False)
            return message
        incoming = asyncio.ensure_future(self._receive())
        cancelled = asyncio.ensure_future(self.cancelled.wait())
        try:
            await asyncio.wait({incoming, cancelled}, return_when=asyncio.FIRST_COMPLETED)
            return incoming.result() if incoming.done() else {"type": "http.disconnect"}
        finally:
            for pending in (incoming, cancelled):
                pending.cancel()

    async def send(self, message: Message) -> None:
        """ASGI; tracks the progress of the answer."""
        if message["type"] == "http.response.start":
            self._started = True
            headers = dict(message.get("headers", ()))
            self._streams = headers.get(b"content-type", b"").startswith(_EVENT_STREAM)
        elif message["type"] == "http.response.body":
            self._ended = not message.get("more_body", False)
        await self._send(message)

    async def finish(self, scope: Scope) -> None:
        """Completes an answer that its handler left unfinished."""
        if self._ended:
            return
        reply = translate(RequestCancelledError())
        if not self._started:
            await reply.response()(scope, self._receive, self._send)
        else:
            body = event(reply.body()) + DONE if self._streams else b""
            await self._send({"type": "http.response.body", "body": body, "more_body": False})
