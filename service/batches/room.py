"""Whether a batch line may start now: live requests come first.

A line takes a seat in the engine only while the busiest engine has a quarter of its seats free.
Lines take at most half of the seats, so that a live request always finds one. If live traffic
leaves no room for long, one line at a time is queued nevertheless: behind all that wait, until
ageing of priorities lets it through.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from service.engine.base import EngineStats
from service.lifecycle import Lifecycle, Phase

_PATIENCE_S = 10.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.25, 30.0


class Room:
    """The room that the engines have for batch lines."""

    def __init__(
        self,
        stats: Sequence[Callable[[], EngineStats]],
        lifecycle: Lifecycle,
        max_in_flight: int | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Args:
            stats: of each engine.
            lifecycle: whether anything may start, and how many seats the engines have.
            max_in_flight: lines at once; None is half of the seats.
            clock: seconds.
        """
        self._stats, self._lifecycle, self._clock = stats, lifecycle, clock
        self._max_in_flight = max_in_flight
        self._started_at = clock()
        self._pause_s, self._resumes_at = 0.0, 0.0

    def may_start(self, in_flight: int) -> bool:
        """Whether one more line may start beside those in flight."""
        if self._lifecycle.phase is not Phase.READY or self._clock() < self._resumes_at:
            return False
        stats = [read() for read in self._stats]
        seats = min((info.max_num_seqs for info in self._lifecycle.engine_infos), default=1)
        limit = self._max_in_flight or max(1, seats // 2)
        if in_flight >= limit or not all(one.alive for one in stats):
            return False
        busy = max((one.running + one.waiting for one in stats), default=0)
        if busy < max(1, seats * 3 // 4):
            return True
        return in_flight == 0 and self._clock() - self._started_at >= _PATIENCE_S

    def watch(self) -> Callable[[], bool]:
        """To be called before a line is run.

        The returned function tells afterwards whether the line was admitted while the service ran
        nothing else.
        """
        before = self._lifecycle.admitted
        idle = self._lifecycle.in_flight == 0
        idle = idle and not any(
            one.running + one.waiting for one in (read() for read in self._stats)
        )

        def nothing_else() -> bool:
            only = self._lifecycle.admitted == before + 1 and self._lifecycle.in_flight == 0
            return idle and only

        return nothing_else

    @property
    def stopping(self) -> bool:
        """Whether work that ends now ends because the service stops."""
        return self._lifecycle.phase is not Phase.READY

    def started(self) -> None:
        """A line was started."""
        self._started_at = self._clock()

    def refused(self) -> None:
        """The service had no room for a line: none starts for a while, each time longer."""
        if self._clock() >= self._resumes_at:
            self._pause_s = min(_LONGEST_PAUSE_S, 2 * self._pause_s or _FIRST_PAUSE_S)
            self._resumes_at = self._clock() + self._pause_s

    def answered(self) -> None:
        """A line was answered, so there is room again."""
        self._pause_s = 0.0
