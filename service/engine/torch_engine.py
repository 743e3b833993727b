"""The engine that serves: one thread that steps, and its one crossing to asyncio.

`generate` runs on the event loop and talks to the thread through an inbox; the thread answers once
a step with all that the step brought. What a step is stands in `engine_core`.
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
from service.engine.grammar import GrammarCompiler
from service.engine.intake import RequestIntake
from service.engine.model_source import ModelSource
from service.engine.snapshot import describe_thread
from service.engine.stream import ChunkStream

_log = logging.getLogger(__name__)

# Steps that may fail one after another before the engine gives itself up: a broken device context
# fails every step, one poisonous batch fails once.
_MAX_FAILED_STEPS = 3

# What `stop` waits for the step that runs. One that hangs never ends, and the process must.
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
        """Takes note of the models; `start` loads their weights.

        `memory` says with whom the device is shared; None: with no other engine. `grammars` has a
        compiler per model, where callers of the same process compile grammars too.
        """
        self._models, self._config = tuple(models), config
        self._memory = memory or MemoryShare()
        self._intake = RequestIntake(models, config, grammars or {})
        self._wake = threading.Condition()
        self._inbox: deque[_Command] = deque()
        # Everyone who reads; the event loop's own, so that they are told even if the thread is not
        # able to.
        self._streams: set[ChunkStream] = set()
        self._core: EngineCore | None = None
        self._accepting = False
        self._thread: threading.Thread | None = None
        self._stats = EngineStats(alive=False)
        self._stepped_at = time.monotonic()

    async def start(self) -> EngineInfo:
        """Loads the checkpoint on the engine's thread; returns once requests can be served.

        Raises:
            CheckpointError: weights are missing, unexpected or mis-shaped; the message lists them.
            EngineConfigError: the device is missing, or the memory budget holds nothing.
            EngineStoppedError: it was started before.
        """
        if self._thread is not None:
            raise EngineStoppedError("an engine starts once; make a new one")
        self._loop = asyncio.get_running_loop()
        ready: asyncio.Future[EngineInfo] = self._loop.create_future()
        self._accepting = True
        self._thread = threading.Thread(
            target=self._main, args=(ready,), name="engine", daemon=True
        )
        self._thread.start()
        return await ready

    async def stop(self) -> None:
        """Ends the thread after its step; whoever still reads gets EngineStoppedError.

        A step that does not end within seconds is left behind, with its thread.
        """
        with self._wake:
            self._accepting = False
            self._wake.notify()
        if self._thread is None:
            return
        await asyncio.to_thread(self._thread.join, _STOP_TIMEOUT_S)
        if self._thread.is_alive():
            _log.error("the engine's step does not end; its thread is left behind")
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
        """See `Engine.stats`; `last_step_age` is 0 while there is nothing to do."""
        stats = self._stats
        busy = stats.alive and (stats.running or stats.waiting)
        age = time.monotonic() - self._stepped_at if busy else 0.0
        return dataclasses.replace(stats, last_step_age=age)

    def state(self) -> dict[str, Any]:
        """See `Engine.state`; also where in the code the engine's thread is."""
        core = self._core
        state = {} if core is None else core.state()
        return {"inbox": len(self._inbox), **describe_thread(self._thread), **state}

    def _submit(self, command: _Command) -> bool:
        """Hands a command to the engine's thread; False when there is none to take it."""
        with self._wake:
            if self._accepting:
                self._inbox.append(command)
                self._wake.notify()
            return self._accepting

    def _main(self, ready: asyncio.Future[EngineInfo]) -> None:
        """The engine's thread. However it ends, nobody is left waiting for it."""
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
            # For a start that has not returned yet.
            self._call(_settle, ready, EngineStoppedError("the engine's thread died"))

    def _run(self, ready: asyncio.Future[EngineInfo]) -> None:
        """From loading to the end."""
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
                # An abort or a refusal was all; a step of nothing could only fail.
                continue
            try:
                core.step()
                failed_steps = 0
            except Exception:
                _log.exception("a step failed; its requests are given up")
                failed_steps += 1
                core.give_up_step()
            self._publish(core)
        if failed_steps == _MAX_FAILED_STEPS:
            _log.critical("%d steps failed one after another; the engine is dead", failed_steps)
        core.close()
        self._publish(core)

    def _load(self) -> EngineCore:
        return EngineCore(self._models, self._config, self._memory)

    def _take_inbox(self, core: EngineCore) -> bool:
        """Waits for work and carries out what was handed in; False when it is time to end."""
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
            # Shown before the step, so that one that never ends is seen to have work pending.
            if was_idle:
                self._stepped_at = time.monotonic()
            self._stats = core.stats(alive=True)
            # Refusals: whoever is not in the step need not wait for it.
            self._send(core)
        return accepting

    def _publish(self, core: EngineCore) -> None:
        """Shows the step's numbers and chunks to the event loop, in this order."""
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
            # The event loop is closed: nobody is left to read, so nothing needs to run.
            _log.warning("the event loop is gone; the engine stops")
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
