"""Prepares our own vLLM server: its files, its command line and its process."""

from __future__ import annotations

import json
import logging
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from lamm_model.checkpoint.export.base import ExportRequest
from lamm_model.checkpoint.export.llava.write import write_llava
from lamm_model.spec import CheckpointSpec
from service.engine.config import EngineConfig
from service.engine.device import choose_device, choose_dtype
from service.engine.kv.plan import available_host_bytes
from service.engine.loading.model_source import ModelSource
from service.engine.vllm.adapters import lora_flags, write_adapter
from service.engine.vllm.environment import find_environment
from service.engine.vllm.flags import SERVER_FLAGS, VARIABLES
from service.engine.vllm.options import VllmOptions
from service.engine.vllm.process import VllmProcess

_log = logging.getLogger(__name__)

# The base's name in vLLM if it is served under none itself.
_UNNAMED = "lamm-base"
_GPU_SHARE, _CPU_SHARE = 0.8, 0.4


@dataclass(frozen=True, slots=True)
class Launch:
    """A server that is ready to start; it listens on `socket`."""

    process: VllmProcess
    socket: Path
    directory: Path

    @classmethod
    def prepare(
        cls,
        models: Sequence[ModelSource],
        config: EngineConfig,
        options: VllmOptions,
        max_model_len: int,
    ) -> Launch:
        """Writes what vLLM loads: the exported base (kept), adapters and settings (temporary).

        Raises:
            EngineConfigError: vLLM is not installed.
            CheckpointError: the base or an adapter cannot be exported.
        """
        environment = find_environment(options.environment)
        model_dir = options.model_dir or _exported(_base(models))
        directory = Path(tempfile.mkdtemp(prefix="lamm-vllm-"))
        try:
            command = _command(models, config, model_dir, directory, max_model_len)
            program = str(environment / "bin" / "vllm")
            process = VllmProcess(
                environment / "bin" / "python",
                [program, "serve", *command, *options.arguments],
                dict(VARIABLES) | _threads(config),
                directory / "socket",
            )
        except BaseException:
            shutil.rmtree(directory, ignore_errors=True)
            raise
        return cls(process, directory / "socket", directory)

    def clean_up(self) -> None:
        """Removes the temporary files; idempotent."""
        shutil.rmtree(self.directory, ignore_errors=True)


def _base(models: Sequence[ModelSource]) -> ModelSource:
    """The model whose base is exported: LLaVA needs an image encoder."""
    return next((model for model in models if model.spec.image is not None), models[0])


def _exported(model: ModelSource) -> Path:
    """The base as a LLaVA, from the cache or written now."""
    digest = CheckpointSpec.from_pretrained(model.base).digest
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    out = Path(cache) / "lamm" / "vllm" / digest[:32]
    if not out.is_dir():
        out.parent.mkdir(parents=True, exist_ok=True)
        _log.info("writing %s as a LLaVA to %s", model.base, out)
        write_llava(ExportRequest(checkpoint=model.base, out=out, target="vllm"))
    return out


def _command(
    models: Sequence[ModelSource],
    config: EngineConfig,
    model_dir: Path,
    directory: Path,
    max_model_len: int,
) -> list[str]:
    """The arguments of `vllm serve`."""
    device = choose_device(config.device)
    names = [model.name for model in models if model.adapter is None] or [_UNNAMED]
    settings = directory / "generation"
    settings.mkdir()
    # The export's own file also ends answers at the prompt preset's marks, which are found here.
    ends = {"eos_token_id": list(models[0].spec.eos_token_ids)}
    (settings / "generation_config.json").write_text(json.dumps(ends), encoding="utf8")
    return [
        str(model_dir),
        *("--served-model-name", *names),
        *("--uds", str(directory / "socket")),
        *("--generation-config", str(settings)),
        *("--dtype", str(choose_dtype(config.dtype, device)).removeprefix("torch.")),
        *_memory_flags(config, device),
        *("--max-model-len", str(max_model_len)),
        *("--max-num-seqs", str(config.max_num_seqs)),
        *("--max-num-batched-tokens", str(config.max_num_batched_tokens)),
        *SERVER_FLAGS,
        "--disable-uvicorn-access-log",
        *(() if config.enable_prefix_caching else ("--no-enable-prefix-caching",)),
        *_adapter_flags(models, directory),
    ]


def _adapter_flags(models: Sequence[ModelSource], directory: Path) -> list[str]:
    adapted = [(model, model.adapter) for model in models if model.adapter is not None]
    if not adapted:
        return []
    named, ranks = [], []
    for number, (model, adapter) in enumerate(adapted):
        written = directory / f"adapter-{number}"
        ranks.append(write_adapter(model.base, adapter, written))
        named.append((model.name, written))
    return lora_flags(named, ranks)


def _memory_flags(config: EngineConfig, device: torch.device) -> list[str]:
    """The KV cache's size; on a GPU vLLM takes what the encoders leave."""
    if config.kv_cache_bytes is not None:
        return ["--kv-cache-memory-bytes", str(config.kv_cache_bytes)]
    if device.type == "cuda":
        return ["--gpu-memory-utilization", str(_GPU_SHARE)]
    # Compiling takes minutes on a CPU, and needs a C++ compiler.
    return [
        "--kv-cache-memory-bytes",
        str(int(_CPU_SHARE * available_host_bytes())),
        "--enforce-eager",
    ]


def _threads(config: EngineConfig) -> dict[str, str]:
    if config.num_threads is None:
        return {}
    # Bound to cores, two servers of one machine would share the same ones.
    return {"OMP_NUM_THREADS": str(config.num_threads), "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
