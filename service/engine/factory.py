"""Makes the chosen engine, importing only what it needs. Called by the service's app."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from service.engine.base import Engine
from service.engine.config import EngineConfig, MemoryShare
from service.engine.grammar import GrammarCompiler
from service.engine.model_source import ModelSource

ENGINES = ("torch", "echo")
# No setting: it is for proving what the engine promises, and no operator's choice.
FAULT_DIRECTORY = "LAMM_FAULT_DIRECTORY"


def create_engine(
    kind: str,
    models: Sequence[ModelSource],
    config: EngineConfig,
    memory: MemoryShare | None = None,
    grammars: Mapping[str, GrammarCompiler] | None = None,
) -> Engine:
    """An engine over models that share a language model; it has not been started.

    `grammars` has a compiler per model, to share what callers compile; None: it has its own.

    Raises:
        ValueError: no engine has that name.
    """
    # Imported here so that a service on scripted tokens, and every tool that reads the service's
    # settings, starts without torch.
    if kind == "torch" and (directory := os.environ.get(FAULT_DIRECTORY)):
        from service.engine.fault_injection import FaultyEngine  # noqa: PLC0415 - see above

        return FaultyEngine(models, config, memory, Path(directory), grammars)
    if kind == "torch":
        from service.engine.torch_engine import TorchEngine  # noqa: PLC0415 - see above

        return TorchEngine(models, config, memory, grammars)
    if kind == "echo":
        from service.engine.echo_engine import EchoEngine  # noqa: PLC0415 - see above

        return EchoEngine(config)
    raise ValueError(f"there is no engine {kind!r}; there are {', '.join(ENGINES)}")
