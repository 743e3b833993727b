"""Watches the engines: logs when one stalls, and reports one that died or came back.

Runs on the event loop in the app's lifespan, where no step can block it.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping

from service.engine.base import Engine, EngineStats, EngineStoppedError
from service.lifecycle import Lifecycle, Phase

logger = logging.getLogger(__name__)

_LONGEST_INTERVAL_S = 1.0


class Watchdog:
    """Watches the engines of one app, by the names of the models that each holds."""

    def __init__(self, engines: Mapping[str, Engine], lifecycle: Lifecycle, stall_s: float) -> None:
        """`stall_s` is the time without a completed step, while work is pending, that counts as a
        stall.
        """
        self._engines, self._lifecycle, self._stall_s = dict(engines), lifecycle, stall_s
        self._interval_s = min(_LONGEST_INTERVAL_S, stall_s / 4)
        self._stalled: set[str] = set()
        self._dead: set[str] = set()

    async def run(self) -> None:
        """Checks periodically until it is cancelled."""
        while True:
            await asyncio.sleep(self._interval_s)
            self.check()

    def check(self) -> None:
        """Checks once. Each stall, each death and each return is reported once."""
        for label, engine in self._engines.items():
            stats = engine.stats()
            self._check_progress(label, engine, stats)
            self._check_life(label, stats)

    def _check_progress(self, label: str, engine: Engine, stats: EngineStats) -> None:
        if not stats.stalled(self._stall_s):
            if stats.alive and label in self._stalled:
                self._stalled.remove(label)
                logger.warning("the engine of %s makes progress again", label)
            return
        if label not in self._stalled:
            self._stalled.add(label)
            logger.error(
                "the engine of %s has pending work but ended no step for %.1f s; its state: %s",
                label,
                stats.last_step_age,
                json.dumps(engine.state()),
            )

    def _check_life(self, label: str, stats: EngineStats) -> None:
        if stats.alive and label in self._dead:
            self._dead.remove(label)
            logger.warning("the engine of %s is back", label)
            if not self._dead:
                self._lifecycle.engines_back()
        # In other phases an engine may be stopped on purpose.
        if stats.alive or label in self._dead or self._lifecycle.phase is not Phase.READY:
            return
        self._dead.add(label)
        logger.critical("the engine of %s died; its requests have been refused", label)
        self._lifecycle.engine_died(EngineStoppedError(f"the engine of {label} is dead"))
