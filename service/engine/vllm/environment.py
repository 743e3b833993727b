"""Finds the Python environment that vLLM is installed in. Torch-free.

vLLM pins other versions of torch and transformers than this project, so it has its own.
"""

from __future__ import annotations

import os
from pathlib import Path

from service.engine.config import EngineConfigError

# Set by tests and containers; the setting `vllm_env` takes precedence.
VARIABLE = "LAMM_VLLM_ENV"
# A file in an environment whose installation has not finished.
INCOMPLETE = "lamm-engine-incomplete"


def default_environment() -> Path:
    """Where `lamm engine install vllm` installs by default."""
    data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(data) / "lamm" / "engines" / "vllm"


def find_environment(given: Path | None) -> Path:
    """The environment to use.

    Raises:
        EngineConfigError: there is no vLLM in it, or not yet.
    """
    directory = given or Path(os.environ.get(VARIABLE) or default_environment())
    if (directory / INCOMPLETE).exists() or not (directory / "bin" / "vllm").is_file():
        raise EngineConfigError(
            f"{directory} has no complete vLLM; install it with: lamm engine install vllm --dir "
            f"{directory} (or name another environment with --vllm-env)"
        )
    return directory
