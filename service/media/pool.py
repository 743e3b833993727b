"""Prepares media in decoding processes, and keeps and counts the results.

A medium that kills or hangs its process costs its own request a 422; if the process was killed from
outside, the medium is tried once more. A client that leaves costs no process: what it had waiting
is dropped, and what already runs comes to its end.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cachetools import LRUCache

from lamm_model.media import PreparedMedia
from service.exceptions import NotReadyError, OverloadedError
from service.media.pool_config import LIVE, MediaPoolConfig, Precedence
from service.media.process import MediaJob
from service.media.process_pool import DecoderKilledError, Place, ProcessPool, kept_task

_HASHED_AT_ONCE = 1 << 18


class MediaPool:
    """Prepares media in `config.workers` processes.

    `requests` have media in the pool now, `patient_requests` among them.
    """

    def __init__(self, config: MediaPoolConfig) -> None:
        self._config = config
        self.decoders = ProcessPool(config)
        self._held = HeldMedia(config.cache_bytes + config.max_held_bytes)
        self._jobs: set[asyncio.Task[PreparedMedia]] = set()
        self._flights: dict[str, _Flight] = {}
        self._drawings: set[asyncio.Task[bytes]] = set()
        self._cache: LRUCache[str, PreparedMedia] = LRUCache(
            config.cache_bytes, lambda media: media.array.nbytes
        )
        self.requests = self.patient_requests = 0

    @property
    def workers(self) -> int:
        """How many media are decoded at once."""
        return self._config.workers

    @property
    def in_flight(self) -> int:
        """How many media wait for a process or are in one."""
        return len(self._flights)

    @property
    def cached(self) -> int:
        """How many prepared media the cache holds."""
        return len(self._cache)

    async def start(self) -> None:
        """As `ProcessPool.start`."""
        await self.decoders.start()

    async def stop(self) -> None:
        """Kills all processes and gives up what waits for one; idempotent."""
        for flight in self._flights.values():
            if not flight.has_worker:
                flight.task.cancel()
        await self.decoders.stop()
        await asyncio.gather(*self._jobs, *self._drawings, return_exceptions=True)

    @contextlib.contextmanager
    def admit(self, precedence: Precedence = LIVE) -> Iterator[None]:
        """Counts a request for as long as its media are prepared.

        Raises:
            OverloadedError: as many requests as may be are in the pool, or half as many patient
                ones, or requests that wait and run hold as much as they may.
        """
        self._held.check()
        limit = self._config.max_requests
        _check_places("requests", self.requests, limit)
        if precedence.patient:
            _check_places("lines of batches", self.patient_requests, max(1, limit // 2))
        self.requests += 1
        self.patient_requests += precedence.patient
        try:
            yield
        finally:
            self.requests -= 1
            self.patient_requests -= precedence.patient

    async def prepare(self, job: MediaJob, precedence: Precedence = LIVE) -> PreparedMedia:
        """The prepared medium, from the cache or from a process.

        Cancelled while it waits for a process, the job is dropped, unless others ask for the same;
        cancelled later, the job ends by itself and its result is cached.

        Raises:
            MediaError: refused by the decoder, too slow, or the decoder died of it.
            OverloadedError: no process became free in time.
            NotReadyError: the pool was stopped.
        """
        if self.decoders.stopped:
            raise NotReadyError("stopped")
        # Copying and hashing a large body takes milliseconds; hashlib lets other threads run.
        large = len(job.content) > _HASHED_AT_ONCE
        key, body = await asyncio.to_thread(job.keyed) if large else job.keyed()
        cached = self._cache.get(key)
        if cached is not None:
            return cached
        # The same medium in several requests at once is decoded for the first of them.
        if key in self._flights:
            self.decoders.queue.hasten(self._flights[key].place, precedence)
        else:
            place = self.decoders.queue.place(precedence)
            self._flights[key] = _Flight(kept_task(self._fly(job, body, key), self._jobs), place)
        return await self._join(self._flights[key], key)

    async def draw(
        self, job: MediaJob, marks: Sequence[Mapping[str, Any]], precedence: Precedence = LIVE
    ) -> bytes:
        """The job's medium with marks drawn on it: a PNG or a PLY file; nothing of it is kept.

        Raises as `prepare` does, and is cancelled as `prepare` is.
        """
        body = await asyncio.to_thread(job.body)
        process = await self.decoders.take(self.decoders.queue.place(precedence))
        drawing = self.decoders.ask(process, process.draw(job, marks, body))
        return await asyncio.shield(kept_task(drawing, self._drawings))

    async def _join(self, flight: _Flight, key: str) -> PreparedMedia:
        flight.waiting += 1
        try:
            # Shielded: a process interrupted in the middle of a job is out of step and must die,
            # and clients that come and go would keep all of them starting.
            return await asyncio.shield(flight.task)
        finally:
            flight.waiting -= 1
            if not flight.waiting and not flight.has_worker and not flight.task.done():
                # Forgotten at once: who asks now must not join what is about to be dropped.
                del self._flights[key]
                flight.task.cancel()

    async def _fly(self, job: MediaJob, body: bytes, key: str) -> PreparedMedia:
        try:
            media = await self._run(job, body, self._flights[key])
            self._held.add(media)
            if media.array.nbytes <= self._cache.maxsize:
                self._cache[key] = media
            return media
        except asyncio.CancelledError:
            if self.decoders.stopped:
                raise NotReadyError("stopped") from None
            raise
        finally:
            flight = self._flights.get(key)
            if flight is not None and flight.task is asyncio.current_task():
                del self._flights[key]

    async def _run(self, job: MediaJob, body: bytes, flight: _Flight) -> PreparedMedia:
        for last_try in (False, True):
            process = await self.decoders.take(flight.place)
            flight.has_worker = True
            try:
                return await self.decoders.ask(process, process.run(job, body))
            except DecoderKilledError:
                # Whoever killed it, an operator or the system that was short of memory, need not
                # have meant this medium. Twice is no accident.
                if last_try:
                    raise
        raise AssertionError("the last try returns or raises")


class HeldMedia:
    """Counts the bytes of prepared pictures and clouds for as long as anyone holds them."""

    def __init__(self, max_bytes: int) -> None:
        """With more than `max_bytes` held no further request is let in."""
        self._max_bytes, self._bytes = max_bytes, 0
        # The last to let go of a medium may be the engine's thread, or a collection of garbage in
        # the middle of our own counting.
        self._counting = threading.RLock()

    @property
    def nbytes(self) -> int:
        """What is held now."""
        return self._bytes

    def add(self, media: PreparedMedia) -> None:
        """Counts a medium, once, until its array is gone."""
        size = media.array.nbytes
        self._count(size)
        weakref.finalize(media.array, self._count, -size).atexit = False

    def check(self) -> None:
        """Lets one more request in.

        Raises:
            OverloadedError: too much is held already.
        """
        if self._bytes > self._max_bytes:
            raise OverloadedError(
                f"the pictures and clouds of other requests take {self._bytes} bytes; "
                f"the limit is {self._max_bytes}",
                reason="media_full",
            )

    def _count(self, change: int) -> None:
        with self._counting:
            self._bytes += change


@dataclass(eq=False, slots=True)
class _Flight:
    """One medium on its way through a process, and how many requests wait for it."""

    task: asyncio.Task[PreparedMedia]
    place: Place
    waiting: int = 0
    has_worker: bool = False


def _check_places(who: str, count: int, limit: int) -> None:
    if count >= limit:
        raise OverloadedError(
            f"{count} {who} have pictures or clouds to decode; the limit is {limit}",
            reason="decoder_queue_full",
        )
