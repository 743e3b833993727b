"""Prepares media in decoding processes, caches the results and counts their memory.

A medium that kills or hangs its process costs its own request a 422; if the process was killed from
outside, the medium is retried once. A client that disconnects costs no process: its waiting media
are dropped, and running ones finish.
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

    `requests` is the number of requests in the pool, `patient_requests` those of batches among
    them.
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
        """Number of media that wait for a process or are in one."""
        return len(self._flights)

    @property
    def cached(self) -> int:
        """Number of prepared media in the cache."""
        return len(self._cache)

    async def start(self) -> None:
        """As `ProcessPool.start`."""
        await self.decoders.start()

    async def stop(self) -> None:
        """Kills all processes and drops waiting media; idempotent."""
        for flight in self._flights.values():
            if not flight.has_worker:
                flight.task.cancel()
        await self.decoders.stop()
        await asyncio.gather(*self._jobs, *self._drawings, return_exceptions=True)

    @contextlib.contextmanager
    def admit(self, precedence: Precedence = LIVE) -> Iterator[None]:
        """Counts a request while its media are prepared.

        Raises:
            OverloadedError: the limit of requests, or half of it for patient ones, is reached, or
                waiting and running requests hold too much memory.
        """
        self._held.check()
        limit = self._config.max_requests
        _check_places("requests", self.requests, limit)
        if precedence.patient:
            _check_places("batch lines", self.patient_requests, max(1, limit // 2))
        self.requests += 1
        self.patient_requests += precedence.patient
        try:
            yield
        finally:
            self.requests -= 1
            self.patient_requests -= precedence.patient

    async def prepare(self, job: MediaJob, precedence: Precedence = LIVE) -> PreparedMedia:
        """The prepared medium, from the cache or from a process.

        If it is cancelled while waiting for a process, the job is dropped unless others wait for
        it; if later, the job finishes and its result is cached.

        Raises:
            MediaError: refused by the decoder, too slow, or the decoder died of it.
            OverloadedError: no process became free in time.
            NotReadyError: the pool was stopped.
        """
        if self.decoders.stopped:
            raise NotReadyError("stopped")
        # Copying and hashing a large body takes milliseconds; hashlib releases the GIL.
        large = len(job.content) > _HASHED_AT_ONCE
        key, body = await asyncio.to_thread(job.keyed) if large else job.keyed()
        cached = self._cache.get(key)
        if cached is not None:
            return cached
        # A medium that several requests send at once is decoded only once.
        if key in self._flights:
            self.decoders.queue.hasten(self._flights[key].place, precedence)
        else:
            place = self.decoders.queue.place(precedence)
            self._flights[key] = _Flight(kept_task(self._fly(job, body, key), self._jobs), place)
        return await self._join(self._flights[key], key)

    async def draw(
        self, job: MediaJob, marks: Sequence[Mapping[str, Any]], precedence: Precedence = LIVE
    ) -> bytes:
        """The job's medium with marks drawn on it, as a PNG or PLY file; nothing is cached.

        Raises as `prepare`, and is cancelled as `prepare`.
        """
        body = await asyncio.to_thread(job.body)
        process = await self.decoders.take(self.decoders.queue.place(precedence))
        drawing = self.decoders.ask(process, process.draw(job, marks, body))
        return await asyncio.shield(kept_task(drawing, self._drawings))

    async def _join(self, flight: _Flight, key: str) -> PreparedMedia:
        flight.waiting += 1
        try:
            # Shielded: an interrupted process is out of step and must be killed, and clients that
            # come and go would force restarts all the time.
            return await asyncio.shield(flight.task)
        finally:
            flight.waiting -= 1
            if not flight.waiting and not flight.has_worker and not flight.task.done():
                # Removed at once: later requests must not join a job that is being dropped.
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
                # An operator or the system's out-of-memory killer may have meant another process.
                # Twice is no accident.
                if last_try:
                    raise
        raise AssertionError("the last try returns or raises")


class HeldMedia:
    """Counts the bytes of prepared media for as long as anything references them."""

    def __init__(self, max_bytes: int) -> None:
        """No further request is admitted while more than `max_bytes` are held."""
        self._max_bytes, self._bytes = max_bytes, 0
        # The last reference may be dropped by the engine's thread, or by garbage collection while
        # this class counts.
        self._counting = threading.RLock()

    @property
    def nbytes(self) -> int:
        """Bytes held now."""
        return self._bytes

    def add(self, media: PreparedMedia) -> None:
        """Counts a medium until its array is freed."""
        size = media.array.nbytes
        self._count(size)
        weakref.finalize(media.array, self._count, -size).atexit = False

    def check(self) -> None:
        """Checks that one more request may be admitted.

        Raises:
            OverloadedError: too many bytes are held.
        """
        if self._bytes > self._max_bytes:
            raise OverloadedError(
                f"the pictures and clouds of other requests take {self._bytes} bytes; the "
                f"limit is {self._max_bytes}",
                reason="media_full",
            )

    def _count(self, change: int) -> None:
        with self._counting:
            self._bytes += change


@dataclass(eq=False, slots=True)
class _Flight:
    """One medium in flight, and the number of requests that wait for it."""

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
