"""Watches a vLLM server: notices that it died, waits until it is back, restarts our own.

Torch-free; used from the event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping

from service.engine.base import EngineError, EngineStoppedError
from service.engine.config import EngineConfigError
from service.engine.vllm.checks import ServerChecker, ServerFacts
from service.engine.vllm.client import VllmClient, VllmRefusal
from service.engine.vllm.process import VllmProcess

_log = logging.getLogger(__name__)

_INTERVAL_S = 1.0
# A server under load may miss a probe. One that also broke a request off, or whose process has
# ended, is given up at once.
_MISSED_PROBES = 3
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 60.0
# A server that ran this long before it died is restarted without the pauses of earlier deaths.
_STEADY_S = 600.0
_REPORT_S = 10.0


class Supervisor:
    """One server, ours (`process`) or another's."""

    def __init__(
        self,
        client: VllmClient,
        checker: ServerChecker,
        process: VllmProcess | None,
        *,
        start_timeout_s: float,
        wait_s: float,
        on_death: Callable[[], None],
    ) -> None:
        """`on_death` is called whenever the server dies; its requests will not be answered.

        Our server has `start_timeout_s` seconds to load, another's is waited for `wait_s` seconds.
        """
        self._client, self._checker, self._process = client, checker, process
        self._start_timeout_s, self._wait_s, self._on_death = start_timeout_s, wait_s, on_death
        self._suspected = asyncio.Event()
        self._watching: asyncio.Task[None] | None = None
        self._alive = False
        self._facts: ServerFacts | None = None
        self.metrics: Mapping[str, float] = {}
        self.restarts_total = 0

    @property
    def alive(self) -> bool:
        """Whether requests can be sent."""
        return self._alive

    async def start(self) -> ServerFacts:
        """Starts our server, or reaches the other one, and checks it.

        Raises:
            EngineConfigError: it does not answer in time, or cannot serve the models; the message
                says what to change.
            EngineStoppedError: it cannot be reached any more, or ended while it loaded.
        """
        if self._process is None:
            await self._wait_reachable()
        facts = await self._bring_up()
        self._watching = asyncio.create_task(self._watch())
        return facts

    def suspect(self) -> None:
        """Checks the server at once: a request found it unreachable."""
        self._suspected.set()

    async def stop(self) -> None:
        """Ends watching, and our own server; idempotent."""
        self._alive = False
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        if self._process is not None:
            await self._process.stop()

    async def _bring_up(self) -> ServerFacts:
        if self._process is not None:
            await self._process.start()
            await self._wait_loaded(self._process)
        facts = await self._checker.check()
        if self._facts is not None and facts.models != self._facts.models:
            raise EngineConfigError(
                f"the vLLM server at {self._client.url} serves another model than before"
            )
        self._facts, self._alive = facts, True
        return facts

    async def _wait_reachable(self) -> None:
        """Waits for another's server, which answers only once its model is loaded."""
        clock, url = asyncio.get_running_loop().time, f"{self._client.url}/health"
        started, reported = clock(), -_REPORT_S
        while (why := await self._probe(url)) is not None:
            waited = clock() - started
            if waited >= self._wait_s:
                raise EngineConfigError(
                    f"no vLLM server answers at {url} after {self._wait_s:g} s: {why}; start it, "
                    "check --vllm-url, or raise --vllm-wait"
                )
            if waited - reported >= _REPORT_S:
                reported = waited
                _log.info(
                    "waiting for vLLM at %s: %s (%.0f of at most %g s)",
                    url, why, waited, self._wait_s,
                )  # fmt: skip
            await asyncio.sleep(min(_INTERVAL_S, self._wait_s - waited))

    async def _probe(self, url: str) -> str | None:
        try:
            return await self._client.unreadiness()
        except VllmRefusal as refusal:
            raise EngineConfigError(
                f"{url} answers with status {refusal.status}; is it vLLM? Check --vllm-url"
            ) from None

    async def _wait_loaded(self, process: VllmProcess) -> None:
        try:
            async with asyncio.timeout(self._start_timeout_s):
                while not await self._client.is_healthy():
                    if process.returncode is not None:
                        raise EngineStoppedError(
                            f"vLLM ended with status {process.returncode} while it loaded; its "
                            f"last lines:\n{process.tail}"
                        )
                    await asyncio.sleep(_INTERVAL_S / 2)
        except TimeoutError:
            await process.stop()
            raise EngineStoppedError(
                f"vLLM was not ready after {self._start_timeout_s:g} s; its last lines:\n"
                f"{process.tail}"
            ) from None

    async def _watch(self) -> None:
        pause, loop = _FIRST_PAUSE_S, asyncio.get_running_loop()
        while True:
            up_since = loop.time()
            await self._until_death()
            self._alive = False
            _log.critical("the vLLM server died or cannot be reached; its requests are ended")
            self._on_death()
            if loop.time() - up_since > _STEADY_S:
                pause = _FIRST_PAUSE_S
            while not self._alive:
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE_S)
                await self._try_again()

    async def _try_again(self) -> None:
        if self._process is not None:
            await self._process.stop()
        elif not await self._client.is_healthy():
            return
        try:
            await self._bring_up()
        except (EngineError, EngineConfigError, OSError) as error:
            _log.error("vLLM cannot be used yet: %s", error)
        else:
            self.restarts_total += 1
            _log.warning("the vLLM server is back")

    async def _until_death(self) -> None:
        missed = 0
        while missed < _MISSED_PROBES:
            if self._process is not None and self._process.returncode is not None:
                _log.error("vLLM's last lines:\n%s", self._process.tail)
                return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_INTERVAL_S):
                    await self._suspected.wait()
            suspected = self._suspected.is_set()
            self._suspected.clear()
            if await self._client.is_healthy():
                missed = 0
            else:
                missed += _MISSED_PROBES if suspected else 1
            if missed == 0:
                with contextlib.suppress(EngineError):
                    self.metrics = await self._client.metrics()
