"""Whose medium gets the next free process. Used by `media_pool`.

Media wait in the order that requests have in the engine: by the time they came, put off by
priority. Those of live requests go before those of batches, and waiting makes up for it in the end.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import Generic, TypeVar

from service.exceptions import OverloadedError
from service.media.pool_config import MediaPoolConfig, Precedence

P = TypeVar("P")


@dataclass(eq=False, slots=True)
class Place:
    """Where one medium stands: the least `order` is next. `patience_s` None is without limit."""

    order: float
    patience_s: float | None
    limit: asyncio.Timeout | None = None


class ProcessQueue(Generic[P]):
    """Processes that are free, and the places of those that wait for one."""

    def __init__(self, config: MediaPoolConfig) -> None:
        self._config = config
        self._free: deque[P] = deque()
        self._waiting: dict[Place, asyncio.Future[P]] = {}

    @property
    def free(self) -> int:
        """How many processes have nothing to do."""
        return len(self._free)

    def place(self, precedence: Precedence) -> Place:
        """A new place in the queue; it is the medium's from now on."""
        config = self._config
        priority = min(max(precedence.priority, config.min_priority), config.max_priority)
        return Place(
            asyncio.get_running_loop().time() + priority * config.priority_ageing_s,
            None if precedence.patient else config.queue_timeout_s,
        )

    def hasten(self, place: Place, precedence: Precedence) -> None:
        """Another request waits for the same medium: the more urgent of the two counts."""
        other = self.place(precedence)
        place.order = min(place.order, other.order)
        if place.patience_s is None and other.patience_s is not None:
            place.patience_s = other.patience_s
            if place.limit is not None and place in self._waiting:
                place.limit.reschedule(asyncio.get_running_loop().time() + other.patience_s)

    async def take(self, place: Place) -> P:
        """The next process that this place gets.

        Raises:
            OverloadedError: there was none within the place's patience.
        """
        if self._free:
            return self._free.popleft()
        turn: asyncio.Future[P] = asyncio.get_running_loop().create_future()
        self._waiting[place] = turn
        try:
            async with asyncio.timeout(place.patience_s) as place.limit:
                return await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():
                self.put(turn.result())  # it came in the moment of leaving
            if not isinstance(error, TimeoutError):
                raise
            raise OverloadedError(
                "no decoder was free for a picture or cloud within "
                f"{place.patience_s or 0:g} s",
                reason="decoder_queue_timeout", code="queue_timeout",
            ) from None  # fmt: skip
        finally:
            self._waiting.pop(place, None)

    def put(self, process: P) -> None:
        """A process that is free from now on."""
        while self._waiting:
            first = min(self._waiting, key=lambda place: place.order)
            turn = self._waiting.pop(first)
            # Who was cancelled a moment ago stands here still, until the event loop runs it.
            if not turn.done():
                turn.set_result(process)
                return
        self._free.append(process)
