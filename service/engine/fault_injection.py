"""Injects faults, to test that the engine recovers from them.

Only active if the environment names a directory (`FAULT_DIRECTORY`), and never through a client's
request: when a file with a fault's name appears there, it is removed, and the fault happens once,
within the engine's own work.
"""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Mapping
from collections.abc import Sequence as Seq
from enum import StrEnum
from pathlib import Path
from typing import Any

from torch import Tensor

from lamm_model.media import PreparedMedia
from service.engine.config import EngineConfig, MemoryShare
from service.engine.engine_core import EngineCore
from service.engine.grammar.compiler import GrammarCompiler
from service.engine.loading.model_source import ModelSource
from service.engine.media_encoder import MediaEncoder
from service.engine.model_runner import ModelRunner, StepResult
from service.engine.scheduler_output import ScheduledChunk, SchedulerOutput
from service.engine.torch_engine import TorchEngine

_log = logging.getLogger(__name__)

_LOOKED_AGAIN_S = 0.02


class Fault(StrEnum):
    """The faults; values are file names."""

    ENCODE = "encode"  # the next medium to be encoded breaks its encoder, in every try
    PREFILL = "prefill"  # the next prompt to be computed breaks its step, in every try
    STEP = "step"  # the next step fails as a whole
    STALL = "stall"  # the next step takes until the file is gone, which is left where it is
    DEATH = "death"  # the engine's thread ends in its next step


class InjectedFaultError(RuntimeError):
    """An injected fault; the engine treats it like any other defect."""


class FaultyEngine(TorchEngine):
    """The torch engine with faults that files request."""

    def __init__(
        self,
        models: Seq[ModelSource],
        config: EngineConfig,
        memory: MemoryShare | None,
        directory: Path,
        grammars: Mapping[str, GrammarCompiler] | None = None,
    ) -> None:
        """`directory` is checked before each step; it must exist."""
        super().__init__(models, config, memory, grammars)
        self._faults = Faults(directory)
        _log.warning("files in %s inject faults into this engine", directory)

    def _load(self) -> EngineCore:
        runner = functools.partial(_FaultyRunner, self._faults)
        return EngineCore(self._models, self._config, self._memory, runner)


class Faults:
    """The directory of requested faults, and the victim of each."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._victims: dict[Fault, str] = {}

    def take(self, fault: Fault) -> bool:
        """Whether the fault is requested; removes the request."""
        try:
            (self._directory / fault).unlink()
        except FileNotFoundError:
            return False
        _log.warning("injecting the fault %r", fault.value)
        return True

    def hit(self, fault: Fault, keys: Seq[str]) -> None:
        """Raises if the fault's victim is among the `keys`.

        The first key after the fault is requested is the victim, and remains it: its work fails
        again when it is retried in parts.

        Raises:
            InjectedFaultError: it is.
        """
        if keys and self.take(fault):
            self._victims[fault] = keys[0]
        if self._victims.get(fault) in keys:
            raise InjectedFaultError(f"the fault {fault.value!r} was asked for")

    def hold(self, fault: Fault) -> None:
        """Returns once the fault is no longer requested."""
        while (self._directory / fault).exists():
            time.sleep(_LOOKED_AGAIN_S)


class _FaultyRunner(ModelRunner):
    def __init__(self, faults: Faults, *args: Any) -> None:
        super().__init__(*args)
        self._faults = faults
        self._encoder = _FaultyEncoder(faults, self._encoder)

    def run(self, output: SchedulerOutput) -> StepResult:
        self._faults.hold(Fault.STALL)
        # In an idle step nobody would notice.
        if output.chunks and self._faults.take(Fault.STEP):
            raise InjectedFaultError("the fault 'step' was asked for")
        if output.chunks and self._faults.take(Fault.DEATH):
            raise SystemExit("the fault 'death' was asked for")
        return super().run(output)

    def _compute(
        self,
        features: dict[int, dict[str, Tensor]],
        result: StepResult,
        chunks: Seq[ScheduledChunk],
    ) -> None:
        prompts = [chunk.sequence.request.request_id for chunk in chunks if chunk.num_tokens > 1]
        self._faults.hit(Fault.PREFILL, prompts)
        super()._compute(features, result, chunks)


class _FaultyEncoder(MediaEncoder):
    def __init__(self, faults: Faults, like: MediaEncoder) -> None:
        super().__init__(like._models, like._device, like._max_bytes)
        self._faults = faults

    def _run(self, group: Seq[PreparedMedia], model: int) -> Tensor:
        self._faults.hit(Fault.ENCODE, [medium.digest for medium in group])
        return super()._run(group, model)
