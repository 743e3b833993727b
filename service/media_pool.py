"""A pool of decoding processes with a wall-clock and a memory limit, and a cache of their results.

Called by `input_processor`. A process that dies, hangs or answers nonsense costs its own request a
422 and is replaced; the event loop never waits for a decoder. A client that leaves costs no
process: what it had waiting is dropped, and what already runs comes to its end.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import logging
import tempfile
from collections import OrderedDict
from collections.abc import Coroutine, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from lamm_model.media import MediaLimits, PreparedMedia
from lamm_model.media_errors import MediaDecodeError
from lamm_model.spec import ImageSpec, PointSpec
from service.exceptions import NotReadyError, OverloadedError
from service.media_process import MediaJob, MediaProcess

logger = logging.getLogger(__name__)

T = TypeVar("T")

_HASHED_AT_ONCE = 1 << 18


@dataclass(frozen=True, slots=True)
class MediaPoolConfig:
    """Sizes and limits of the pool; bytes and seconds.

    At most `max_requests` requests may have media in the pool, and a medium waits at most
    `queue_timeout_s` for a process.
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

    def head(self) -> dict[str, Any]:
        """What a process is told before its first job."""
        return {
            "image": None if self.image is None else asdict(self.image),
            "points": None if self.points is None else asdict(self.points),
            "limits": asdict(self.limits),
            "memory_bytes": self.memory_bytes,
        }


class MediaPool:
    """Prepares media in `config.workers` processes."""

    def __init__(self, config: MediaPoolConfig) -> None:
        self._config = config
        self._idle: asyncio.Queue[MediaProcess] = asyncio.Queue()
        self._workers: set[MediaProcess] = set()
        self._jobs: set[asyncio.Task[PreparedMedia]] = set()
        self._replacements: set[asyncio.Task[None]] = set()
        self._cache = _Cache(config.cache_bytes)
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        self._requests, self._stopped = 0, False

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
        workers, self._workers = self._workers, set()
        await asyncio.gather(*(worker.kill() for worker in workers))
        await asyncio.gather(*self._jobs, return_exceptions=True)
        if self._scratch is not None:
            await asyncio.to_thread(self._scratch.cleanup)

    @contextlib.contextmanager
    def admit(self) -> Iterator[None]:
        """Counts a request for as long as its media are prepared.

        Raises:
            OverloadedError: as many requests as may be are in the pool.
        """
        limit = self._config.max_requests
        if self._requests >= limit:
            raise OverloadedError(
                f"{self._requests} requests have pictures or clouds to decode; "
                f"the limit is {limit}",
                reason="decoder_queue_full",
            )
        self._requests += 1
        try:
            yield
        finally:
            self._requests -= 1

    async def prepare(self, job: MediaJob) -> PreparedMedia:
        """The prepared medium, from the cache or from a process.

        Cancelled while it waits for a process, the job is dropped; cancelled later, the job ends
        by itself and its result is cached.

        Raises:
            MediaError: refused by the decoder, too slow, or the decoder died of it.
            OverloadedError: no process became free in time.
            NotReadyError: the pool was stopped.
        """
        # Copying and hashing a large body takes milliseconds; hashlib lets other threads run.
        large = len(job.base64) > _HASHED_AT_ONCE
        key, body = await asyncio.to_thread(_key, job) if large else _key(job)
        cached = self._cache.get(key)
        if cached is not None:
            return cached
        worker = await self._take_worker()
        # Shielded: a process interrupted in the middle of a job is out of step and must die, and
        # clients that come and go would keep all of them starting.
        running = _kept(self._run(worker, job, body, key), self._jobs)
        return await asyncio.shield(running)

    async def _take_worker(self) -> MediaProcess:
        limit = self._config.queue_timeout_s
        try:
            async with asyncio.timeout(limit):
                while not (worker := await self._idle.get()).alive:
                    self._replace_soon(worker)
        except TimeoutError:
            raise OverloadedError(
                f"no decoder was free for a picture or cloud within {limit:g} s",
                reason="decoder_queue_timeout", code="queue_timeout",
            ) from None  # fmt: skip
        return worker

    async def _run(
        self, worker: MediaProcess, job: MediaJob, body: bytes, key: str
    ) -> PreparedMedia:
        try:
            async with asyncio.timeout(self._config.timeout_s):
                media = await worker.run(job, body)
        except TimeoutError:
            raise MediaDecodeError(
                f"decoding took longer than the limit of {self._config.timeout_s:g} s"
            ) from None
        except (EOFError, OSError, ValueError) as error:
            if not worker.busy:
                raise  # the decoder's own refusal
            if self._stopped:
                raise NotReadyError("stopped") from error
            raise MediaDecodeError(
                "the decoder died of this medium; it is malformed or needs more memory than "
                f"{self._config.memory_bytes} bytes"
            ) from error
        finally:
            self._give_back(worker)
        self._cache.put(key, media)
        return media

    def _give_back(self, worker: MediaProcess) -> None:
        """An idle process returns; one left in the middle of a job is killed and replaced."""
        if worker.busy:
            self._replace_soon(worker)
        else:
            self._idle.put_nowait(worker)

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
        self._idle.put_nowait(worker)


class _Cache:
    """Least recently used results within a budget of bytes."""

    def __init__(self, budget: int) -> None:
        self._budget, self._size = budget, 0
        self._entries: OrderedDict[str, PreparedMedia] = OrderedDict()

    def get(self, key: str) -> PreparedMedia | None:
        media = self._entries.get(key)
        if media is not None:
            self._entries.move_to_end(key)
        return media

    def put(self, key: str, media: PreparedMedia) -> None:
        if media.array.nbytes > self._budget or key in self._entries:
            return
        self._entries[key] = media
        self._size += media.array.nbytes
        while self._size > self._budget:
            _, oldest = self._entries.popitem(last=False)
            self._size -= oldest.array.nbytes


def _key(job: MediaJob) -> tuple[str, bytes]:
    """Name of the job's result in the cache, and the job's text as bytes."""
    body = job.base64.encode("utf8")
    digest = hashlib.sha256(json.dumps(job.head()).encode())
    digest.update(body)
    return digest.hexdigest(), body


def _kept(work: Coroutine[Any, Any, T], tasks: set[asyncio.Task[T]]) -> asyncio.Task[T]:
    """A task that stays among `tasks` until it ends: the event loop itself holds none."""
    task = asyncio.create_task(work)
    tasks.add(task)
    task.add_done_callback(tasks.discard)
    return task
