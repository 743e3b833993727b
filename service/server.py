"""uvicorn with a graceful shutdown: SIGTERM drains, and the process exits with status 0.

SIGHUP reloads the API keys.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from types import FrameType

import uvicorn
from fastapi import FastAPI

from service.http.write_timeout import protocol_with_write_timeout
from service.lifecycle import Lifecycle

logger = logging.getLogger(__name__)


_PATIENT_SIGNALS = 2
_ABORT_TIMEOUT_S = 2.0
# asyncio's own pool has a few threads per core. Uploads that wait for a slow disk could occupy all
# of them, and every prompt is tokenized in one.
_THREADS = 16


class DrainingServer(uvicorn.Server):
    """On the first signal /readyz turns false and new requests are refused; running ones go on.

    The server closes once no request runs. After `drain_timeout_s`, or on a second signal, `abort`
    ends the remaining requests; a third signal exits at once. A client that reads nothing of its
    answer for `write_timeout_s` is disconnected, and a connection without requests is closed after
    `timeout_keep_alive_s`. uvicorn's own handling would close the listening socket first (probes
    would fail before the last answer) and end with the signal's exit status.
    """

    def __init__(
        self,
        app: FastAPI,
        host: str,
        port: int,
        lifecycle: Lifecycle,
        drain_timeout_s: float,
        abort: Callable[[], Awaitable[None]],
        write_timeout_s: float = 60.0,
        timeout_keep_alive_s: int = 75,
        on_hangup: Callable[[], object] | None = None,
    ) -> None:
        config = uvicorn.Config(
            app,
            host=host,
            port=port,
            http=protocol_with_write_timeout(write_timeout_s),
            ws="none",  # no route is one: who asks for an upgrade gets a plain answer
            timeout_keep_alive=timeout_keep_alive_s,
            log_config=None,
            access_log=False,
            server_header=False,
            lifespan="on",
            # After the drain only idle connections and aborted requests are left.
            timeout_graceful_shutdown=1,
        )
        super().__init__(config)
        self._lifecycle, self._drain_timeout_s, self._abort = lifecycle, drain_timeout_s, abort
        self._on_hangup = on_hangup
        self._loop: asyncio.AbstractEventLoop | None = None
        self._drain: asyncio.Task[None] | None = None
        self._last_answers: asyncio.Task[bool] | None = None
        self._reloading: asyncio.Future[object] | None = None
        self._signals = 0

    async def serve(self, sockets: list[object] | None = None) -> None:  # type: ignore[override]
        """Runs until closed."""
        self._loop = asyncio.get_running_loop()
        self._loop.set_default_executor(ThreadPoolExecutor(_THREADS, "service"))
        if self._on_hangup is not None:
            self._loop.add_signal_handler(signal.SIGHUP, self._reload, self._on_hangup)
        await super().serve(sockets)  # type: ignore[arg-type]

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - an override
        """Handler of SIGTERM and SIGINT."""
        self._signals += 1
        if self._signals > _PATIENT_SIGNALS or self._loop is None:
            self.should_exit = self.force_exit = True
            return
        self._loop.call_soon_threadsafe(self._start_drain)

    async def wait_url(self) -> str:
        """The server's address, once it listens."""
        while not self.started:  # noqa: ASYNC110 - uvicorn offers a flag, not an event
            await asyncio.sleep(0.02)
        port = self.config.port
        for server in self.servers:
            for socket in server.sockets:
                port = socket.getsockname()[1]
        # Compared, not bound.
        loopback = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104 # nosec B104
        shown = loopback.get(self.config.host, self.config.host)
        return f"http://{shown}:{port}"

    def _reload(self, on_hangup: Callable[[], object]) -> None:
        # Off the event loop: the file may be on a network file system.
        self._reloading = asyncio.ensure_future(asyncio.to_thread(on_hangup))

    def _start_drain(self) -> None:
        if self._last_answers is not None:
            self._last_answers.cancel()
            return
        wait = self._lifecycle.wait_empty(self._drain_timeout_s)
        self._last_answers = asyncio.ensure_future(wait)
        self._drain = asyncio.ensure_future(self._drain_then_exit(self._last_answers))

    async def _drain_then_exit(self, last_answers: asyncio.Task[bool]) -> None:
        self._lifecycle.drain()
        logger.info("draining: %d requests are running", self._lifecycle.in_flight)
        await asyncio.wait({last_answers})
        if last_answers.cancelled() or not last_answers.result():
            logger.warning("aborting %d requests", self._lifecycle.in_flight)
            await self._abort()
            await self._lifecycle.wait_empty(_ABORT_TIMEOUT_S)
        self.should_exit = True
