"""Requests whose clients disconnect at a random moment."""

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
    """For each of `count` requests: None, or the fraction of a usual latency after which it ends.

    Exactly `round(rate * count)` requests get a fraction, uniform between 0 and 1.

    Raises:
        BenchmarkError: the rate is not between 0 and 1.
    """
    if not 0 <= rate <= 1:
        raise BenchmarkError(f"cancel rate is {rate}; expected 0 to 1")
    chosen = set(rng.sample(range(count), round(rate * count)))
    return [rng.random() if index in chosen else None for index in range(count)]


class Disconnector:
    """Streams requests and disconnects some of them, at a fraction of the usual latency."""

    def __init__(self, usual_seconds: float = 1.0) -> None:
        """`usual_seconds` is used until the first request has finished."""
        self._usual = usual_seconds
        self._latencies: deque[float] = deque(maxlen=_REMEMBERED)

    @property
    def usual_seconds(self) -> float:
        """The median latency of recently finished requests."""
        return statistics.median(self._latencies) if self._latencies else self._usual

    async def stream(
        self, client: ChatClient, content: bytes, moment: float | None
    ) -> StreamRecord:
        """Sends one request; disconnects at `moment` times the usual latency unless it ends sooner.

        The record of a disconnected request has the error `DISCONNECTED` and no text.
        """
        started = time.perf_counter()
        try:
            limit = None if moment is None else moment * self.usual_seconds
            async with asyncio.timeout(limit):
                record = await client.stream(content)
        except TimeoutError:
            # Leaving `stream` closed the connection, which the server notices.
            return StreamRecord(start=started, end=time.perf_counter(), error=DISCONNECTED)
        if record.error is None and moment is None:
            self._latencies.append(record.latency)
        return record
