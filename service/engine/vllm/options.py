"""Where the vLLM server is, or how to start one. Torch-free."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from service.engine.config import EngineConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class VllmOptions:
    """A server that already runs (`url`), or what it takes to run one.

    `url` is an HTTP address without a path; `api_key` is sent to it as a Bearer token. `model_dir`
    is a directory that `lamm model export --format llava-hf --for vllm` wrote, `environment` a
    Python environment with vLLM, `arguments` additional arguments of `vllm serve`. Loading the
    model may take `start_timeout_s` seconds. A server that already runs is waited for `wait_s`
    seconds: it may still be loading.

    Raises:
        EngineConfigError: the address is not an HTTP address.
    """

    url: str | None = None
    api_key: str | None = None
    environment: Path | None = None
    model_dir: Path | None = None
    arguments: tuple[str, ...] = ()
    start_timeout_s: float = 600.0
    wait_s: float = 300.0

    def __post_init__(self) -> None:
        if self.url is not None and not self.url.startswith(("http://", "https://")):
            raise EngineConfigError(
                f"vllm_url is {self.url!r}; expected an address such as http://127.0.0.1:8001"
            )
