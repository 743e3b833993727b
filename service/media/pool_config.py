"""Sizes and limits of the media pool, and the precedence of media in it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from lamm_model.media import MediaLimits
from lamm_model.spec import ImageSpec, PointSpec


@dataclass(frozen=True, slots=True)
class Precedence:
    """Media of requests with lower `priority` go first, as in the engine.

    A patient request (a batch line) waits without a limit and leaves half of the capacity to live
    ones.
    """

    priority: int = 0
    patient: bool = False


LIVE = Precedence()


@dataclass(frozen=True, slots=True)
class MediaPoolConfig:
    """Sizes and limits of the pool, in bytes and seconds.

    At most `max_requests` requests may have media in the pool, and a medium waits at most
    `queue_timeout_s` for a process. No request is admitted while prepared media hold more than
    `max_held_bytes` beyond the cache. A level of priority, from `min_priority` to `max_priority`,
    puts a medium behind those that arrive up to `priority_ageing_s` seconds later.
    """

    workers: int
    timeout_s: float
    memory_bytes: int
    cache_bytes: int
    limits: MediaLimits
    image: ImageSpec | None
    points: PointSpec | None
    max_requests: int = 64
    queue_timeout_s: float = 15.0
    max_held_bytes: int = 1 << 30
    priority_ageing_s: float = 3.0
    min_priority: int = 0
    max_priority: int = 100

    def head(self) -> dict[str, Any]:
        """The first frame that a process receives."""
        return {
            "image": None if self.image is None else asdict(self.image),
            "points": None if self.points is None else asdict(self.points),
            "limits": asdict(self.limits),
            "memory_bytes": self.memory_bytes,
        }
