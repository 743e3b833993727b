"""The service's phase and the number of requests in flight: for `/readyz`, and for draining."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from enum import StrEnum

from service.engine.base import EngineInfo
from service.exceptions import NotReadyError


class Phase(StrEnum):
    """Phases of one process."""

    LOADING = "loading"
    READY = "ready"
    DRAINING = "draining"
    FAILED = "failed"
    STOPPED = "stopped"


class Lifecycle:
    """One process's phase; used from the event loop alone."""

    def __init__(self) -> None:
        self._phase = Phase.LOADING
        self._in_flight = self._admitted = 0
        self._loaded = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()
        self._engine_died = asyncio.Event()
        self.engine_infos: tuple[EngineInfo, ...] = ()
        self.failure: Exception | None = None

    @property
    def phase(self) -> Phase:
        """The current phase."""
        return self._phase

    @property
    def in_flight(self) -> int:
        """Admitted requests that have not been answered in full."""
        return self._in_flight

    @property
    def admitted(self) -> int:
        """Requests that were admitted since the start."""
        return self._admitted

    @contextlib.contextmanager
    def admit(self) -> Iterator[None]:
        """Counts a request for as long as it runs.

        Raises:
            NotReadyError: the phase is not ready.
        """
        if self._phase is not Phase.READY:
            raise NotReadyError(self._phase)
        self._in_flight += 1
        self._admitted += 1
        self._empty.clear()
        try:
            yield
        finally:
            self._in_flight -= 1
            if self._in_flight == 0:
                self._empty.set()

    def loaded(self, *infos: EngineInfo) -> None:
        """Every engine is ready; a drain that began meanwhile continues."""
        self.engine_infos = infos
        if self._phase is Phase.LOADING:
            self._phase = Phase.READY
        self._loaded.set()

    def failed(self, error: Exception) -> None:
        """The engine cannot be loaded."""
        self.failure, self._phase = error, Phase.FAILED
        self._loaded.set()

    async def wait_loaded(self) -> Phase:
        """The phase once loading has ended."""
        await self._loaded.wait()
        return self._phase

    def engine_died(self, error: Exception) -> None:
        """An engine died. The phase stays: engines of other models may still serve."""
        self.failure = error
        self._engine_died.set()

    def engines_back(self) -> None:
        """Every engine that had died serves again."""
        self.failure = None
        self._engine_died.clear()

    async def wait_engine_death(self) -> None:
        """Returns once an engine has died."""
        await self._engine_died.wait()

    def drain(self) -> None:
        """Admits no request from now on; running ones continue."""
        if self._phase in (Phase.LOADING, Phase.READY):
            self._phase = Phase.DRAINING

    async def wait_empty(self, timeout_s: float) -> bool:
        """True once nothing is in flight, False if that takes longer than `timeout_s`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._empty.wait()
        return self._in_flight == 0

    def stop(self) -> None:
        """Ends the last phase."""
        self._phase = Phase.STOPPED
