"""A pool of decoding processes with a wall-clock and a memory limit, and a cache of their results.

Called by `input_processor`. A process that dies, hangs or answers nonsense costs its own request a
422 and is replaced, but for one that was killed from outside: its medium is tried once more. The
event loop never waits for a decoder. A client that leaves costs no
process: what it had waiting is dropped, and what already runs comes to its end.
Media wait in the order of `media_pool_queue`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import tempfile
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from lamm_model.formats.errors import MediaDecodeError
from lamm_model.media import PreparedMedia
from service.exceptions import NotReadyError, OverloadedError
from service.media.cache import MediaCache
from service.media.pool_config import LIVE, MediaPoolConfig, Precedence
from service.media.pool_held import HeldMedia
from service.media.pool_queue import Place, ProcessQueue
from service.media.process import MediaJob, MediaProcess

__all__ = ["MediaPool", "MediaPoolConfig"]

logger = logging.getLogger(__name__)

T = TypeVar("T")

_HASHED_AT_ONCE = 1 << 18


class MediaPool:
    """Prepares media in `config.workers` processes."""

    def __init__(self, config: MediaPoolConfig) -> None:
        self._config = config
        self._queue = ProcessQueue[MediaProcess](config)
        self._workers: set[MediaProcess] = set()
        self._jobs: set[asyncio.Task[PreparedMedia]] = set()
        self._flights: dict[str, _Flight] = {}
        self._drawings: set[asyncio.Task[bytes]] = set()
        self._replacements: set[asyncio.Task[None]] = set()
        self._cache = MediaCache(config.cache_bytes)
        self._held = HeldMedia(config.cache_bytes + config.max_held_bytes)
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        self._requests = self._patient = 0
        self._stopped = False

    @property
    def workers(self) -> int:
        """How many media are decoded at once."""
        return self._config.workers

    async def start(self) -> None:
        """Starts all processes; returns once each has answered.

        Raises:
            ExceptionGroup: a process did not start (RuntimeError).
        """
        self._scratch = tempfile.TemporaryDirectory(
            prefix="lamm-media-", ignore_cleanup_errors=True
        )
        async with asyncio.TaskGroup() as group:
            for _ in range(self._config.workers):
                group.create_task(self._add_worker(Path(self._scratch.name)))

    async def stop(self) -> None:
        """Kills all processes and removes their temporary files; idempotent."""
        self._stopped = True
        for task in self._replacements:
            task.cancel()
        await asyncio.gather(*self._replacements, return_exceptions=True)
        for flight in self._flights.values():
            if not flight.has_worker:
                flight.task.cancel()
        workers, self._workers = self._workers, set()
        await asyncio.gather(*(worker.kill() for worker in workers))
        await asyncio.gather(*self._jobs, *self._drawings, return_exceptions=True)
        if self._scratch is not None:
            await asyncio.to_thread(self._scratch.cleanup)

    @contextlib.contextmanager
    def admit(self, precedence: Precedence = LIVE) -> Iterator[None]:
        """Counts a request for as long as its media are prepared.

        Raises:
            OverloadedError: as many requests as may be are in the pool, or half as many patient
                ones, or requests that wait and run hold as much as they may.
        """
        self._held.check()
        limit = self._config.max_requests
        _check_places("requests", self._requests, limit)
        if precedence.patient:
            _check_places("lines of batches", self._patient, max(1, limit // 2))
        self._requests += 1
        self._patient += precedence.patient
        try:
            yield
        finally:
            self._requests -= 1
            self._patient -= precedence.patient

    async def prepare(self, job: MediaJob, precedence: Precedence = LIVE) -> PreparedMedia:
        """The prepared medium, from the cache or from a process.

        Cancelled while it waits for a process, the job is dropped, unless others ask for the same;
        cancelled later, the job ends by itself and its result is cached.

        Raises:
            MediaError: refused by the decoder, too slow, or the decoder died of it.
            OverloadedError: no process became free in time.
            NotReadyError: the pool was stopped.
        """
        if self._stopped:
            raise NotReadyError("stopped")
        # Copying and hashing a large body takes milliseconds; hashlib lets other threads run.
        large = len(job.content) > _HASHED_AT_ONCE
        key, body = await asyncio.to_thread(job.keyed) if large else job.keyed()
        cached = self._cache.get(key)
        if cached is not None:
            return cached
        # The same medium in several requests at once is decoded for the first of them.
        if key in self._flights:
            self._queue.hasten(self._flights[key].place, precedence)
        else:
            place = self._queue.place(precedence)
            self._flights[key] = _Flight(_kept(self._fly(job, body, key), self._jobs), place)
        return await self._join(self._flights[key], key)

    async def draw(
        self, job: MediaJob, marks: Sequence[Mapping[str, Any]], precedence: Precedence = LIVE
    ) -> bytes:
        """The job's medium with marks drawn on it: a PNG or a PLY file; nothing of it is kept.

        Raises as `prepare` does, and is cancelled as `prepare` is.
        """
        body = await asyncio.to_thread(job.body)
        worker = await self._take_worker(self._queue.place(precedence))
        drawing = self._guard(worker, worker.draw(job, marks, body))
        return await asyncio.shield(_kept(drawing, self._drawings))

    async def _take_worker(self, place: Place) -> MediaProcess:
        while not (worker := await self._queue.take(place)).alive:
            self._replace_soon(worker)
        return worker

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
            self._cache.put(key, media)
            return media
        except asyncio.CancelledError:
            if self._stopped:
                raise NotReadyError("stopped") from None
            raise
        finally:
            flight = self._flights.get(key)
            if flight is not None and flight.task is asyncio.current_task():
                del self._flights[key]

    async def _run(self, job: MediaJob, body: bytes, flight: _Flight) -> PreparedMedia:
        for last_try in (False, True):
            worker = await self._take_worker(flight.place)
            flight.has_worker = True
            try:
                return await self._guard(worker, worker.run(job, body))
            except _DecoderKilledError:
                # Whoever killed it, an operator or the system that was short of memory, need not
                # have meant this medium. Twice is no accident.
                if last_try:
                    raise
        raise AssertionError("the last try returns or raises")

    async def _guard(self, worker: MediaProcess, work: Coroutine[Any, Any, T]) -> T:
        """What a process answers, under the time limit; the process goes back, or is replaced."""
        try:
            async with asyncio.timeout(self._config.timeout_s):
                return await work
        except TimeoutError:
            raise MediaDecodeError(
                f"decoding took longer than the limit of {self._config.timeout_s:g} s"
            ) from None
        except (EOFError, OSError, ValueError) as error:
            if not worker.busy:
                raise  # the decoder's own refusal
            kind = _DecoderKilledError if await worker.was_killed() else MediaDecodeError
            if self._stopped:
                raise NotReadyError("stopped") from error
            raise kind(
                "the decoder died of this medium; it is malformed or needs more memory than "
                f"{self._config.memory_bytes} bytes"
            ) from error
        finally:
            self._give_back(worker)

    def _give_back(self, worker: MediaProcess) -> None:
        """An idle process returns; one left in the middle of a job is killed and replaced."""
        if worker.busy:
            self._replace_soon(worker)
        else:
            self._queue.put(worker)

    def _replace_soon(self, worker: MediaProcess) -> None:
        if self._stopped or self._scratch is None:
            return  # `stop` kills it
        self._workers.discard(worker)
        _kept(self._replace(worker, Path(self._scratch.name)), self._replacements)

    async def _replace(self, worker: MediaProcess, scratch: Path) -> None:
        state = "in the middle of a job" if worker.busy else "while it was idle"
        logger.warning("a media worker was lost %s; starting another", state)
        await worker.kill()
        while True:
            try:
                await self._add_worker(scratch)
                return
            except (RuntimeError, OSError):
                logger.exception("a media worker did not start; trying again in a second")
                await asyncio.sleep(1.0)

    async def _add_worker(self, scratch: Path) -> None:
        worker = await MediaProcess.start(self._config.head(), scratch)
        self._workers.add(worker)
        self._queue.put(worker)


class _DecoderKilledError(MediaDecodeError):
    """The process was ended from outside in the middle of a job."""


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


def _kept(work: Coroutine[Any, Any, T], tasks: set[asyncio.Task[T]]) -> asyncio.Task[T]:
    """A task that stays among `tasks` until it ends: the event loop itself holds none."""
    task = asyncio.create_task(work)
    tasks.add(task)
    task.add_done_callback(tasks.discard)
    return task
