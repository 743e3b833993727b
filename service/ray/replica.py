"""A replica: the whole app of `service.app` in a Ray actor.

A request arrives as an ASGI scope and a body, and its answer returns as the app's own ASGI
messages, so neither is changed on the way.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI
from ray import serve
from starlette.types import Message

from service.app import create_app
from service.config.settings import Settings
from service.dependencies import Services
from service.lifecycle import Phase
from service.logging_setup import configure_logging

logger = logging.getLogger(__name__)

ACCEPTED: Message = {"type": "lamm.accepted"}
REPLICA_HEADER = b"x-lamm-replica"

_ABORT_TIMEOUT_S = 2.0


@dataclass(frozen=True, slots=True)
class WholeAnswer:
    """A short answer as one object."""

    replica: str
    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


class Replica:
    """Ray calls the constructor, `check_health` periodically, and `__del__` at the end."""

    async def __init__(self, settings: Settings) -> None:  # type: ignore[misc] # Ray awaits it
        """Returns once the engines are ready; Ray sends no request before.

        Args:
            settings: all but the address, which is Ray's.

        Raises:
            RuntimeError: the models cannot be loaded; Ray tries again.
            CheckpointError, EngineConfigError, ValueError, OSError: as `create_app`.
        """
        configure_logging(settings.log_level, settings.log_format)
        self._settings = settings
        self._name = str(serve.get_replica_context().replica_id.unique_id)
        self.app = self.create_app(settings)
        self.services: Services = self.app.state.services
        self._lifespan = contextlib.AsyncExitStack()
        await self._lifespan.enter_async_context(self.app.router.lifespan_context(self.app))
        lifecycle = self.services.lifecycle
        if await lifecycle.wait_loaded() is Phase.FAILED:
            await self._lifespan.aclose()
            raise RuntimeError(f"cannot load {', '.join(settings.checkpoint)}: {lifecycle.failure}")
        self._stopped = False

    def create_app(self, settings: Settings) -> FastAPI:
        """The app that answers; raises as `service.app.create_app`."""
        return create_app(settings)

    async def answer(self, scope: dict[str, Any], body: bytes) -> AsyncIterator[Message]:
        """`ACCEPTED`, then the app's messages; closing the iterator disconnects the client.

        Args:
            scope: ASGI scope of an HTTP request.
            body: the whole body.
        """
        yield ACCEPTED
        client = _Client(body)
        running = asyncio.create_task(client.run(self.app, scope))
        try:
            while (message := await client.sent()) is not None:
                if message["type"] == "http.response.start":
                    headers = [*message.get("headers", ()), (REPLICA_HEADER, self._name.encode())]
                    message = {**message, "headers": headers}
                yield message
            await running
        finally:
            client.leave()
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    async def whole(self, scope: dict[str, Any], body: bytes) -> WholeAnswer:
        """The same as one object, for requests to all replicas."""
        status, headers, content = 500, [], b""
        async for message in self.answer(scope, body):
            if message["type"] == "http.response.start":
                status, headers = message["status"], list(message["headers"])
            elif message["type"] == "http.response.body":
                content += message.get("body", b"")
        return WholeAnswer(self._name, status, headers, content)

    async def check_health(self) -> None:
        """Raises RuntimeError if an engine is dead or stalled: Ray then replaces the replica."""
        for served in self.services.engines:
            stats = served.engine.stats()
            if not stats.alive:
                raise RuntimeError(f"the engine of {served.label} is dead")
            if stats.stalled(self._settings.stall_timeout_s):
                raise RuntimeError(
                    f"the engine of {served.label} completed no step for "
                    f"{stats.last_step_age:.1f} s; the limit is {self._settings.stall_timeout_s:g} "
                    "s"
                )

    async def stop(self) -> None:
        """Drains as `lamm serve` does: refuses new requests, waits for running ones, then aborts
        them.
        """
        self._stopped = True
        lifecycle = self.services.lifecycle
        lifecycle.drain()
        if not await lifecycle.wait_empty(self._settings.shutdown_timeout_s):
            logger.warning("aborting %d requests", lifecycle.in_flight)
            await self.services.stop_engines()
            await lifecycle.wait_empty(_ABORT_TIMEOUT_S)
        await self._lifespan.aclose()

    def __del__(self) -> Coroutine[Any, Any, None] | None:
        """Ray awaits the result once the replica has answered its last request."""
        return None if getattr(self, "_stopped", True) else self.stop()


class _Client:
    """The app's view of a client: its body, its disconnect, and the answer's messages."""

    def __init__(self, body: bytes) -> None:
        self._body: bytes | None = body
        self._left = asyncio.Event()
        # Unbounded: Ray takes messages as they arrive, and an answer's length is limited.
        self._messages: asyncio.Queue[Message | None] = asyncio.Queue()

    async def run(self, app: Any, scope: dict[str, Any]) -> None:
        """Runs the app; `sent` ends when it has answered or failed."""
        try:
            await app({**scope, "headers": list(scope["headers"])}, self._receive, self._send)
        finally:
            self._messages.put_nowait(None)

    async def sent(self) -> Message | None:
        """The next message of the answer; None after the last."""
        return await self._messages.get()

    def leave(self) -> None:
        """Disconnects the client."""
        self._left.set()

    async def _receive(self) -> Message:
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        self._messages.put_nowait(message)
