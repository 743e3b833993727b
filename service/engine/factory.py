"""Makes the chosen engine, importing only what it needs. Called by the service's app."""

from __future__ import annotations

from pathlib import Path

from service.engine.base import Engine
from service.engine.config import EngineConfig

ENGINES = ("torch", "echo")


def create_engine(kind: str, model_dir: Path, config: EngineConfig) -> Engine:
    """An engine that has not been started.

    Raises:
        ValueError: no engine has that name.
        CheckpointError: `model_dir` is not a checkpoint ("torch").
    """
    # Imported here so that a service on scripted tokens, and every tool that reads the service's
    # settings, starts without torch.
    if kind == "torch":
        from service.engine.torch_engine import TorchEngine  # noqa: PLC0415 - see above

        return TorchEngine(model_dir, config)
    if kind == "echo":
        from service.engine.echo_engine import EchoEngine  # noqa: PLC0415 - see above

        return EchoEngine(config)
    raise ValueError(f"there is no engine {kind!r}; there are {', '.join(ENGINES)}")
