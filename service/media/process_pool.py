"""Decoding processes with a time and a memory limit, and the queue for the next free one.

A process that dies, hangs or sends an invalid answer is replaced. Media wait in the same order as
requests in the engine: by time of arrival, delayed by priority. Live requests go before batches,
and ageing lets batches through in the end.
"""

from __future__ import annotations

import asyncio
import logging
import tempfile
from collections import deque
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from lamm_model.formats.errors import MediaDecodeError
from service.exceptions import NotReadyError, OverloadedError
from service.media.pool_config import MediaPoolConfig, Precedence
from service.media.process import MediaProcess

logger = logging.getLogger(__name__)

P = TypeVar("P")
T = TypeVar("T")


class DecoderKilledError(MediaDecodeError):
    """The process was ended from outside in the middle of a job."""


class ProcessPool:
    """`config.workers` decoding processes."""

    def __init__(self, config: MediaPoolConfig) -> None:
        self._config = config
        self.queue = ProcessQueue[MediaProcess](config)
        self._processes: set[MediaProcess] = set()
        self._replacements: set[asyncio.Task[None]] = set()
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        self.stopped = False

    @property
    def processes(self) -> tuple[MediaProcess, ...]:
        """Started processes that have not been given up."""
        return tuple(self._processes)

    @property
    def replacing(self) -> int:
        """Number of processes that are being replaced."""
        return len(self._replacements)

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
                group.create_task(self._add(Path(self._scratch.name)))

    async def stop(self) -> None:
        """Kills all processes and removes their temporary files; idempotent."""
        self.stopped = True
        for task in self._replacements:
            task.cancel()
        await asyncio.gather(*self._replacements, return_exceptions=True)
        processes, self._processes = self._processes, set()
        await asyncio.gather(*(process.kill() for process in processes))
        if self._scratch is not None:
            await asyncio.to_thread(self._scratch.cleanup)

    async def take(self, place: Place) -> MediaProcess:
        """The next free process for this place; `ask` returns it to the queue.

        Raises:
            OverloadedError: as `ProcessQueue.take`.
        """
        while not (process := await self.queue.take(place)).alive:
            self._replace_soon(process)
        return process

    async def ask(self, process: MediaProcess, work: Coroutine[Any, Any, T]) -> T:
        """A process's answer within the time limit; the process is then reused, or replaced.

        Raises:
            MediaError: the process refused the medium, was too slow or died of it.
            DecoderKilledError: the process was killed from outside.
            NotReadyError: the pool was stopped.
        """
        try:
            async with asyncio.timeout(self._config.timeout_s):
                return await work
        except TimeoutError:
            raise MediaDecodeError(
                f"decoding took longer than the limit of {self._config.timeout_s:g} s"
            ) from None
        except (EOFError, OSError, ValueError) as error:
            if not process.busy:
                raise  # the decoder's own refusal
            kind = DecoderKilledError if await process.was_killed() else MediaDecodeError
            if self.stopped:
                raise NotReadyError("stopped") from error
            raise kind(
                "the decoder died of this medium; it is malformed or needs more memory than "
                f"{self._config.memory_bytes} bytes"
            ) from error
        finally:
            if process.busy:
                # It was interrupted in the middle of a job.
                self._replace_soon(process)
            else:
                self.queue.put(process)

    def _replace_soon(self, process: MediaProcess) -> None:
        if self.stopped or self._scratch is None:
            return  # `stop` kills it
        self._processes.discard(process)
        kept_task(self._replace(process, Path(self._scratch.name)), self._replacements)

    async def _replace(self, process: MediaProcess, scratch: Path) -> None:
        state = "in the middle of a job" if process.busy else "while it was idle"
        logger.warning("a media worker was lost %s; starting another", state)
        await process.kill()
        while True:
            try:
                await self._add(scratch)
                return
            except (RuntimeError, OSError):
                logger.exception("a media worker did not start; trying again in a second")
                await asyncio.sleep(1.0)

    async def _add(self, scratch: Path) -> None:
        process = await MediaProcess.start(self._config.head(), scratch)
        self._processes.add(process)
        self.queue.put(process)


@dataclass(eq=False, slots=True)
class Place:
    """A medium's place in the queue: the lowest `order` is next. `patience_s` None is without
    limit.
    """

    order: float
    patience_s: float | None
    limit: asyncio.Timeout | None = None


class ProcessQueue(Generic[P]):
    """Free processes, and the places that wait for one."""

    def __init__(self, config: MediaPoolConfig) -> None:
        self._config = config
        self._free: deque[P] = deque()
        self._waiting: dict[Place, asyncio.Future[P]] = {}

    @property
    def free(self) -> int:
        """Number of free processes."""
        return len(self._free)

    def place(self, precedence: Precedence) -> Place:
        """A new place in the queue, for one medium."""
        config = self._config
        priority = min(max(precedence.priority, config.min_priority), config.max_priority)
        return Place(
            asyncio.get_running_loop().time() + priority * config.priority_ageing_s,
            None if precedence.patient else config.queue_timeout_s,
        )

    def hasten(self, place: Place, precedence: Precedence) -> None:
        """Another request waits for the same medium: the more urgent of both counts."""
        other = self.place(precedence)
        place.order = min(place.order, other.order)
        if place.patience_s is None and other.patience_s is not None:
            place.patience_s = other.patience_s
            if place.limit is not None and place in self._waiting:
                place.limit.reschedule(asyncio.get_running_loop().time() + other.patience_s)

    async def take(self, place: Place) -> P:
        """The next process for this place.

        Raises:
            OverloadedError: none became free within the place's patience.
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
        """Adds a free process."""
        while self._waiting:
            first = min(self._waiting, key=lambda place: place.order)
            turn = self._waiting.pop(first)
            # A place that was just cancelled stays here until the event loop runs its task.
            if not turn.done():
                turn.set_result(process)
                return
        self._free.append(process)


def kept_task(work: Coroutine[Any, Any, T], tasks: set[asyncio.Task[T]]) -> asyncio.Task[T]:
    """A task that stays among `tasks` until it ends; the event loop keeps only weak references."""
    task = asyncio.create_task(work)
    tasks.add(task)
    task.add_done_callback(tasks.discard)
    return task
