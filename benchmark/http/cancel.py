"""Requests that break off: their clients disconnect at a random moment of the request's life.

Called by `load_sender` and `soak_clients`.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from collections import deque

from benchmark.errors import BenchmarkError
from benchmark.http.chat_answers import StreamRecord
from benchmark.http.client import ChatClient

DISCONNECTED = "disconnected on purpose"
_REMEMBERED = 64


def draw_moments(count: int, rate: float, rng: random.Random) -> list[float | None]:
    """For each of `count` requests None, or the share of a usual latency after which it ends.

    Exactly `round(rate * count)` requests get a moment, uniform within 0 and 1.

    Raises:
        BenchmarkError: the rate is not within 0 and 1.
    """
    if not 0 <= rate <= 1:
        raise BenchmarkError(f"a cancel rate of {rate} is not within 0 and 1")
    chosen = set(rng.sample(range(count), round(rate * count)))
    return [rng.random() if index in chosen else None for index in range(count)]


class Disconnector:
    """Streams requests and cuts some of them; learns a usual latency from those that finish."""

    def __init__(self, usual_seconds: float = 1.0) -> None:
        """`usual_seconds` serves until the first request has finished."""
        self._usual = usual_seconds
        self._latencies: deque[float] = deque(maxlen=_REMEMBERED)

    @property
    def usual_seconds(self) -> float:
        """The median latency of the last requests that finished."""
        return statistics.median(self._latencies) if self._latencies else self._usual

    async def stream(
        self, client: ChatClient, content: bytes, moment: float | None
    ) -> StreamRecord:
        """One request; cut at `moment` of the usual latency unless it ends sooner.

        A cut one has the error `DISCONNECTED`, and its text is not known.
        """
        started = time.perf_counter()
        try:
            limit = None if moment is None else moment * self.usual_seconds
            async with asyncio.timeout(limit):
                record = await client.stream(content)
        except TimeoutError:
            # Leaving `stream` closed the connection, which is how a server learns of it.
            return StreamRecord(start=started, end=time.perf_counter(), error=DISCONNECTED)
        if record.error is None and moment is None:
            self._latencies.append(record.latency)
        return record
