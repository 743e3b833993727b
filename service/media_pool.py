"""A pool of decoding processes with a wall-clock and a memory limit, and a cache of their results.

Called by `input_processor`. A process that dies, hangs or answers nonsense costs its own request a
422 and is replaced; the event loop never waits for a decoder.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import os
import sys
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from lamm_model.conversation import Modality
from lamm_model.media import MediaLimits, PreparedMedia
from lamm_model.media_errors import MediaDecodeError
from lamm_model.spec import ImageSpec, PointSpec
from service.media_worker import ERROR_KINDS, FRAME, encode_head

logger = logging.getLogger(__name__)

_START_TIMEOUT_S = 60.0
_HASHED_AT_ONCE = 1 << 18
_SLICE = 1 << 18
# What a decoder may see of the environment: enough to run, no key of the operator's.
_PASSED_ON = ("PATH", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "VIRTUAL_ENV", "HOME")


@dataclass(frozen=True, slots=True)
class MediaPoolConfig:
    """Sizes and limits of the pool; bytes and seconds."""

    workers: int
    timeout_s: float
    memory_bytes: int
    cache_bytes: int
    limits: MediaLimits
    image: ImageSpec | None
    points: PointSpec | None


@dataclass(frozen=True, slots=True)
class MediaJob:
    """One medium to prepare: base64 text, and how a cloud is to be read."""

    modality: Modality
    base64: str
    format: str = ""
    units: str = "m"
    up_axis: str = "z"
    columns: int | None = None

    def head(self) -> dict[str, Any]:
        """The job without its bytes."""
        return {
            "modality": self.modality, "format": self.format, "units": self.units,
            "up_axis": self.up_axis, "columns": self.columns,
        }  # fmt: skip


class MediaPool:
    """Prepares media in `config.workers` processes."""

    def __init__(self, config: MediaPoolConfig) -> None:
        self._config = config
        self._idle: asyncio.Queue[_Worker] = asyncio.Queue()
        self._workers: set[_Worker] = set()
        self._replacements: set[asyncio.Task[None]] = set()
        self._cache = _Cache(config.cache_bytes)

    async def start(self) -> None:
        """Starts all processes; returns once each has answered.

        Raises:
            ExceptionGroup: a process did not start (RuntimeError).
        """
        async with asyncio.TaskGroup() as group:
            for _ in range(self._config.workers):
                group.create_task(self._add_worker())

    async def stop(self) -> None:
        """Kills all processes; idempotent."""
        for task in self._replacements:
            task.cancel()
        await asyncio.gather(*self._replacements, return_exceptions=True)
        workers, self._workers = self._workers, set()
        await asyncio.gather(*(worker.kill() for worker in workers))

    async def prepare(self, job: MediaJob) -> PreparedMedia:
        """The prepared medium, from the cache or from a process.

        Raises:
            MediaError: refused by the decoder, too slow, or the decoder died of it.
        """
        body = job.base64.encode("utf8")
        # Hashing a large body takes milliseconds; hashlib lets other threads run meanwhile.
        large = len(body) > _HASHED_AT_ONCE
        key = await asyncio.to_thread(_key, job, body) if large else _key(job, body)
        cached = self._cache.get(key)
        if cached is not None:
            return cached
        worker = await self._idle.get()
        try:
            async with asyncio.timeout(self._config.timeout_s):
                media = await worker.run(job, body)
        except TimeoutError:
            raise MediaDecodeError(
                f"decoding took longer than the limit of {self._config.timeout_s:g} s"
            ) from None
        except (EOFError, OSError, ValueError) as error:
            if worker.busy:
                raise MediaDecodeError(
                    "the decoder died of this medium; it is malformed or needs more memory than "
                    f"{self._config.memory_bytes} bytes"
                ) from error
            raise
        finally:
            self._give_back(worker)
        self._cache.put(key, media)
        return media

    def _give_back(self, worker: _Worker) -> None:
        """An idle worker returns; one left in the middle of a job is killed and replaced."""
        if not worker.busy:
            self._idle.put_nowait(worker)
            return
        self._workers.discard(worker)
        task = asyncio.create_task(self._replace(worker))
        self._replacements.add(task)
        task.add_done_callback(self._replacements.discard)

    async def _replace(self, worker: _Worker) -> None:
        logger.warning("a media worker was killed in the middle of a job; starting another")
        await worker.kill()
        while True:
            try:
                await self._add_worker()
                return
            except (RuntimeError, OSError):
                logger.exception("a media worker did not start; trying again in a second")
                await asyncio.sleep(1.0)

    async def _add_worker(self) -> None:
        worker = await _Worker.start(self._config)
        self._workers.add(worker)
        self._idle.put_nowait(worker)


class _Worker:
    """One process; `busy` stays true when a job did not come to its end."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.busy = False

    @classmethod
    async def start(cls, config: MediaPoolConfig) -> _Worker:
        environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        environment |= {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "service.media_worker",
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            env=environment, start_new_session=True,
        )  # fmt: skip
        worker = cls(process)
        head = {
            "image": None if config.image is None else asdict(config.image),
            "points": None if config.points is None else asdict(config.points),
            "limits": asdict(config.limits),
            "memory_bytes": config.memory_bytes,
        }
        try:
            async with asyncio.timeout(_START_TIMEOUT_S):
                await worker._exchange(head, b"")
        except (TimeoutError, EOFError, OSError) as error:
            await worker.kill()
            raise RuntimeError("a media worker process did not start") from error
        except asyncio.CancelledError:
            await worker.kill()
            raise
        return worker

    async def run(self, job: MediaJob, body: bytes) -> PreparedMedia:
        """Sends one job and reads its answer.

        Raises:
            MediaError: the worker refused it.
            EOFError, OSError, ValueError: the worker died or answered nonsense (`busy` is true).
        """
        self.busy = True
        head, array = await self._exchange(job.head(), body)
        if "error" in head:
            self.busy = False
            raise ERROR_KINDS[head["error"]](head["message"])
        values = np.frombuffer(array, dtype=np.float32).reshape(head["shape"])
        self.busy = False
        return PreparedMedia(job.modality, head["digest"], values, head["info"])

    async def kill(self) -> None:
        """Ends the process at once and collects it."""
        if self._process.returncode is None:
            try:
                self._process.kill()
            except ProcessLookupError:
                logger.debug("a media worker was gone before it was killed")
        if self._process.stdin is not None:
            self._process.stdin.close()
        await self._process.wait()

    async def _exchange(self, head: Mapping[str, Any], body: bytes) -> tuple[dict[str, Any], bytes]:
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            raise EOFError("the worker has no pipes")
        stdin.write(encode_head(head, len(body)))
        # In slices: the transport moves all that it holds each time the pipe takes a little.
        view = memoryview(body)
        for start in range(0, len(view), _SLICE):
            stdin.write(view[start : start + _SLICE])
            await stdin.drain()
        head_size, body_size = FRAME.unpack(await stdout.readexactly(FRAME.size))
        reply = json.loads(await stdout.readexactly(head_size))
        return reply, await stdout.readexactly(body_size)


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


def _key(job: MediaJob, body: bytes) -> str:
    digest = hashlib.sha256(json.dumps(job.head()).encode())
    digest.update(body)
    return digest.hexdigest()
