"""The torch engine: one thread that runs steps, and its only crossing to asyncio.

`generate` runs on the event loop and sends commands to the thread through an inbox; the thread
replies once per step. A step itself is in `engine_core`.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from collections.abc import Sequence as Seq
from typing import Any

from service.engine.base import (
    Engine,
    EngineInfo,
    EngineStats,
    EngineStoppedError,
    GenerationChunk,
    GenerationRequest,
)
from service.engine.config import EngineConfig, MemoryShare
from service.engine.engine_core import Delivery, EngineCore
from service.engine.grammar.compiler import GrammarCompiler
from service.engine.intake import RequestIntake
from service.engine.loading.model_source import ModelSource
from service.engine.snapshot import describe_thread
from service.engine.stream import ChunkStream

_log = logging.getLogger(__name__)

# Consecutive failed steps before the engine gives up: a broken device context fails every step, one
# faulty batch fails once.
_MAX_FAILED_STEPS = 3

# Time that `stop` waits for the running step, which may hang.
_STOP_TIMEOUT_S = 10.0

_Command = Callable[[EngineCore], None]


class TorchEngine(Engine):
    """Continuous batching on one device, over models that share a language model."""

    def __init__(
        self,
        models: Seq[ModelSource],
        config: EngineConfig,
        memory: MemoryShare | None = None,
        grammars: Mapping[str, GrammarCompiler] | None = None,
    ) -> None:
        """Stores its arguments; `start` loads the weights.

        `memory` describes how the device is shared; None: with no other engine. `grammars` has a
        compiler per model, to share with callers in the same process.
        """
        self._models, self._config = tuple(models), config
        self._memory = memory or MemoryShare()
        self._intake = RequestIntake(models, config, grammars or {})
        self._wake = threading.Condition()
        self._inbox: deque[_Command] = deque()
        # Streams of all readers, owned by the event loop: it ends them even if the thread hangs.
        self._streams: set[ChunkStream] = set()
        self._core: EngineCore | None = None
        self._accepting = False
        self._thread: threading.Thread | None = None
        self._stats = EngineStats(alive=False)
        self._stepped_at = time.monotonic()

    async def start(self) -> EngineInfo:
        """Loads the checkpoint on the engine's thread; returns once requests are accepted.

        Raises:
            CheckpointError: weights are missing, unexpected or have wrong shapes; the message lists
                them.
            EngineConfigError: the device is missing, or the memory budget is too small.
            EngineStoppedError: it was started before.
        """
        if self._thread is not None:
            raise EngineStoppedError("an engine can be started only once")
        self._loop = asyncio.get_running_loop()
        ready: asyncio.Future[EngineInfo] = self._loop.create_future()
        self._accepting = True
        self._thread = threading.Thread(
            target=self._main, args=(ready,), name="engine", daemon=True
        )
        self._thread.start()
        return await ready

    async def stop(self) -> None:
        """Ends the thread after its step; readers get EngineStoppedError.

        A step that does not end in time is abandoned together with its thread.
        """
        with self._wake:
            self._accepting = False
            self._wake.notify()
        if self._thread is None:
            return
        await asyncio.to_thread(self._thread.join, _STOP_TIMEOUT_S)
        if self._thread.is_alive():
            _log.error("the engine's step does not end; abandoning its thread")
        self._end_streams()

    async def generate(self, request: GenerationRequest) -> AsyncIterator[GenerationChunk]:
        """See `Engine.generate`; also RequestFailedError at once for a malformed request."""
        sequence = await self._intake.sequence(request)
        stream = ChunkStream()
        self._streams.add(stream)
        finished = False
        try:
            if not self._submit(lambda core: core.add(sequence, stream)):
                raise EngineStoppedError("the engine is not running")
            while not finished:
                chunk = await stream.next()
                finished = chunk.finish_reason is not None
                yield chunk
        finally:
            self._streams.discard(stream)
            if not finished:
                self._submit(lambda core: core.abort(sequence))

    def stats(self) -> EngineStats:
        """See `Engine.stats`; `last_step_age` is 0 while the engine is idle."""
        stats = self._stats
        busy = stats.alive and (stats.running or stats.waiting)
        age = time.monotonic() - self._stepped_at if busy else 0.0
        return dataclasses.replace(stats, last_step_age=age)

    def state(self) -> dict[str, Any]:
        """See `Engine.state`; also the stack of the engine's thread."""
        core = self._core
        state = {} if core is None else core.state()
        return {"inbox": len(self._inbox), **describe_thread(self._thread), **state}

    def _submit(self, command: _Command) -> bool:
        """Sends a command to the engine's thread; False if the engine has stopped."""
        with self._wake:
            if self._accepting:
                self._inbox.append(command)
                self._wake.notify()
            return self._accepting

    def _main(self, ready: asyncio.Future[EngineInfo]) -> None:
        """The engine's thread. However it ends, no reader is left waiting."""
        try:
            self._run(ready)
        except BaseException:
            _log.critical("the engine's thread died", exc_info=True)
        finally:
            with self._wake:
                self._accepting = False
                self._inbox.clear()
            self._core = None
            self._stats = dataclasses.replace(self._stats, running=0, waiting=0, alive=False)
            self._call(self._end_streams)
            # For a `start` that has not returned yet.
            self._call(_settle, ready, EngineStoppedError("the engine's thread died"))

    def _run(self, ready: asyncio.Future[EngineInfo]) -> None:
        """Loads the engine and runs steps until it stops."""
        try:
            core = self._core = self._load()
        except Exception as error:
            self._call(_settle, ready, error)
            return
        self._publish(core)
        self._call(_settle, ready, core.info)
        failed_steps = 0
        while failed_steps < _MAX_FAILED_STEPS and self._take_inbox(core):
            if not core.has_work:
                # Only an abort or a refusal arrived; an empty step would fail.
                continue
            try:
                core.step()
                failed_steps = 0
            except Exception:
                _log.exception("a step failed; its requests are aborted")
                failed_steps += 1
                core.give_up_step()
            self._publish(core)
        if failed_steps == _MAX_FAILED_STEPS:
            _log.critical("%d consecutive steps failed; the engine is dead", failed_steps)
        core.close()
        self._publish(core)

    def _load(self) -> EngineCore:
        return EngineCore(self._models, self._config, self._memory)

    def _take_inbox(self, core: EngineCore) -> bool:
        """Waits for work and executes commands; False when the engine should stop."""
        with self._wake:
            while self._accepting and not self._inbox and not core.has_work:
                self._wake.wait()
            commands = list(self._inbox)
            self._inbox.clear()
            accepting = self._accepting
        was_idle = not core.has_work
        for command in commands:
            command(core)
        if accepting and commands:
            # Published before the step, so that a hanging one is seen to have pending work.
            if was_idle:
                self._stepped_at = time.monotonic()
            self._stats = core.stats(alive=True)
            # Refused requests need not wait for the step.
            self._send(core)
        return accepting

    def _publish(self, core: EngineCore) -> None:
        """Publishes the step's statistics, then its chunks, to the event loop."""
        self._stepped_at = time.monotonic()
        self._stats = core.stats(alive=True)
        self._send(core)

    def _send(self, core: EngineCore) -> None:
        outbox = core.take_outbox()
        if outbox:
            self._call(_deliver, outbox)

    def _end_streams(self) -> None:
        for stream in self._streams:
            stream.put(EngineStoppedError("the engine stopped"))

    def _call(self, function: Callable[..., None], *args: object) -> None:
        try:
            self._loop.call_soon_threadsafe(function, *args)
        except RuntimeError:
            # The event loop is closed, so no reader is left.
            _log.warning("the event loop is closed; the engine stops")
            self._accepting = False


def _deliver(items: list[Delivery]) -> None:
    for stream, item in items:
        stream.put(item)


def _settle(ready: asyncio.Future[EngineInfo], outcome: EngineInfo | Exception) -> None:
    if ready.done():
        return
    if isinstance(outcome, Exception):
        ready.set_exception(outcome)
    else:
        ready.set_result(outcome)
