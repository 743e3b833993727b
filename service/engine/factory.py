"""Makes the engine of the configured kind, importing only what it needs."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from service.engine.base import Engine
from service.engine.config import EngineConfig, MemoryShare
from service.engine.grammar.compiler import GrammarCompiler
from service.engine.loading.model_source import ModelSource
from service.engine.vllm.options import VllmOptions

ENGINES = ("torch", "vllm", "echo")
# An environment variable, not a setting: it is for tests of the engine, not for operators.
FAULT_DIRECTORY = "LAMM_FAULT_DIRECTORY"


def create_engine(
    kind: str,
    models: Sequence[ModelSource],
    config: EngineConfig,
    memory: MemoryShare | None = None,
    grammars: Mapping[str, GrammarCompiler] | None = None,
    vllm: VllmOptions | None = None,
) -> Engine:
    """An engine for models that share a language model; it has not been started.

    `grammars` has a compiler per model to share with the caller; None: the engine has its own.
    `vllm` describes the server of the vllm engine; None: one of its own.

    Raises:
        ValueError: the kind is unknown, or needs a package that is not installed.
    """
    # Imported here so that the echo engine, and tools that only read settings, start without torch.
    if kind == "torch" and (directory := os.environ.get(FAULT_DIRECTORY)):
        from service.engine.fault_injection import FaultyEngine  # noqa: PLC0415 - see above

        return FaultyEngine(models, config, memory, Path(directory), grammars)
    if kind == "torch":
        from service.engine.torch_engine import TorchEngine  # noqa: PLC0415 - see above

        return TorchEngine(models, config, memory, grammars)
    if kind == "vllm":
        try:
            from service.engine.vllm.engine import VllmEngine  # noqa: PLC0415 - see above
        except ModuleNotFoundError as error:
            raise ValueError(
                f"--engine vllm needs the extra `vllm` ({error.name} is not installed): "
                "pip install 'lamm[vllm]'"
            ) from error
        return VllmEngine(models, config, vllm or VllmOptions(), grammars)
    if kind == "echo":
        from service.engine.echo_engine import EchoEngine  # noqa: PLC0415 - see above

        return EchoEngine(config)
    raise ValueError(f"engine {kind!r} is unknown; it must be one of {', '.join(ENGINES)}")
