"""The engine that serves: one thread that steps, and its one crossing to asyncio.

`generate` runs on the event loop and talks to the thread through an inbox; the thread answers once
a step with all that the step brought. What a step is stands in `engine_core`.
"""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import logging
import secrets
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from collections.abc import Sequence as Seq

from service.engine.base import (
    Engine,
    EngineInfo,
    EngineStats,
    EngineStoppedError,
    GenerationChunk,
    GenerationRequest,
    RequestFailedError,
)
from service.engine.config import EngineConfig, MemoryShare
from service.engine.engine_core import Delivery, EngineCore
from service.engine.model_source import ModelSource
from service.engine.sequence import Sequence, check_request
from service.engine.stream import ChunkStream

_log = logging.getLogger(__name__)

# Steps that may fail one after another before the engine gives itself up: a broken device context
# fails every step, one poisonous batch fails once.
_MAX_FAILED_STEPS = 3

_Command = Callable[[EngineCore], None]


class TorchEngine(Engine):
    """Continuous batching on one device, over models that share a language model."""

    def __init__(
        self,
        models: Seq[ModelSource],
        config: EngineConfig,
        memory: MemoryShare | None = None,
    ) -> None:
        """Takes note of the models; `start` loads their weights.

        `memory` says with whom the device is shared; None: with no other engine.
        """
        self._models, self._config = tuple(models), config
        self._memory = memory or MemoryShare()
        # Ids are checked before a request reaches the thread; the vocabulary is the shared one's.
        self._vocab_size = self._models[0].spec.vocab_size
        self._names = {None, *(model.name for model in self._models)}
        self._wake = threading.Condition()
        self._inbox: deque[_Command] = deque()
        self._accepting = False
        self._thread: threading.Thread | None = None
        self._stats = EngineStats(alive=False)
        self._stepped_at = time.monotonic()
        self._arrivals = itertools.count()

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
        """Ends the thread after its step; whoever still reads gets EngineStoppedError."""
        with self._wake:
            self._accepting = False
            self._wake.notify()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join)

    async def generate(self, request: GenerationRequest) -> AsyncIterator[GenerationChunk]:
        """See `Engine.generate`; also RequestFailedError at once for a malformed request."""
        if request.model not in self._names:
            names = ", ".join(model.name for model in self._models)
            raise RequestFailedError(f"model {request.model!r} is not here; there are {names}")
        check_request(request, self._vocab_size)
        seed = request.sampling_params.seed
        sequence = Sequence(
            request,
            arrival=next(self._arrivals),
            seed=secrets.randbits(63) if seed is None else seed,
            arrived_at=time.monotonic(),
        )
        stream = ChunkStream()
        if not self._submit(lambda core: core.add(sequence, stream)):
            raise EngineStoppedError("the engine is not running")
        finished = False
        try:
            while not finished:
                chunk = await stream.next()
                finished = chunk.finish_reason is not None
                yield chunk
        finally:
            if not finished:
                self._submit(lambda core: core.abort(sequence))

    def stats(self) -> EngineStats:
        """See `Engine.stats`; `last_step_age` is 0 while there is nothing to do."""
        stats = self._stats
        busy = stats.alive and (stats.running or stats.waiting)
        age = time.monotonic() - self._stepped_at if busy else 0.0
        return dataclasses.replace(stats, last_step_age=age)

    def _submit(self, command: _Command) -> bool:
        """Hands a command to the engine's thread; False when there is none to take it."""
        with self._wake:
            if self._accepting:
                self._inbox.append(command)
                self._wake.notify()
            return self._accepting

    def _main(self, ready: asyncio.Future[EngineInfo]) -> None:
        """The engine's thread, from loading to its end."""
        try:
            core = EngineCore(self._models, self._config, self._memory)
        except Exception as error:
            self._accepting = False
            self._call(_settle, ready, error)
            return
        self._publish(core, alive=True)
        self._call(_settle, ready, core.info)
        failed_steps = 0
        while failed_steps < _MAX_FAILED_STEPS and self._take_inbox(core):
            try:
                core.step()
                failed_steps = 0
            except Exception:
                _log.exception("a step failed; its requests are given up")
                failed_steps += 1
                core.give_up_step()
            self._publish(core, alive=True)
        with self._wake:
            self._accepting = False
        # Those handed in meanwhile must be told as well.
        self._take_inbox(core)
        core.close()
        self._publish(core, alive=False)

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
        return accepting

    def _publish(self, core: EngineCore, alive: bool) -> None:
        """Shows the step's numbers and chunks to the event loop, in this order."""
        self._stepped_at = time.monotonic()
        self._stats = core.stats(alive)
        outbox = core.take_outbox()
        if outbox:
            self._call(_deliver, outbox)

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
