"""Sizes and limits of the decoding pool, and whose media go first in it.

Made by `assembly` and `input_processor`, read by `media_pool`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from lamm_model.media import MediaLimits
from lamm_model.spec import ImageSpec, PointSpec


@dataclass(frozen=True, slots=True)
class Precedence:
    """Media of requests with lower `priority` go first, as in the engine.

    A patient request, a batch's line, waits as long as it takes, and leaves live ones half of what
    there is.
    """

    priority: int = 0
    patient: bool = False


LIVE = Precedence()


@dataclass(frozen=True, slots=True)
class MediaPoolConfig:
    """Sizes and limits of the pool; bytes and seconds.

    At most `max_requests` requests may have media in the pool, and a medium waits at most
    `queue_timeout_s` for a process. Nobody is let in while requests hold more than `max_held_bytes`
    of prepared media beyond what the cache may keep. A level of priority, from `min_priority` to
    `max_priority`, puts a medium behind those that come up to `priority_ageing_s` seconds later.
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
        """What a process is told before its first job."""
        return {
            "image": None if self.image is None else asdict(self.image),
            "points": None if self.points is None else asdict(self.points),
            "limits": asdict(self.limits),
            "memory_bytes": self.memory_bytes,
        }
