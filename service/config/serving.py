"""Models, address and engine: a part of `config.Settings`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, Field, PositiveFloat, PositiveInt, SecretStr
from pydantic_settings import NoDecode

from lamm_model.conversation import PromptPreset
from lamm_model.spec import IMAGE_PRESETS

_MIB = 1 << 20


class ServingSettings(BaseModel):
    """Models, address, logs and traces."""

    checkpoint: Annotated[tuple[str, ...], NoDecode] = Field(
        default=("checkpoints/lamm-mini",),
        min_length=1,
        description="checkpoint to serve: DIR, NAME=DIR, or NAME=ADAPTER@BASE for an adapter; "
        "repeat for each model (LAMM_CHECKPOINT: separated by commas)",
    )
    served_model_name: str | None = Field(
        default=None,
        description="model name if there is one checkpoint (default: the directory's name)",
    )
    prompt_preset: str | None = Field(
        default=None,
        description=f"prompt preset of all models: {', '.join(PromptPreset)} (default: each "
        "checkpoint's own)",
    )
    image_preset: str | None = Field(
        default=None,
        description=f"image preset of all models: {', '.join(IMAGE_PRESETS)} (default: each "
        "checkpoint's own)",
    )
    prompt_pack: Path | None = Field(
        default=None,
        description="file from `lamm model import-prompts` with system prompts (default: each "
        "checkpoint's own prompt_pack.json, if present)",
    )
    engine: Literal["torch", "vllm", "echo"] = Field(
        default="torch",
        description="torch runs the model; vllm leaves the language model to a vLLM server; echo "
        "repeats a fixed text, for testing clients",
    )

    host: str = Field(
        default="127.0.0.1", description="address to listen on; 0.0.0.0 for all interfaces"
    )
    port: int = Field(
        default=8000, ge=0, le=65535, description="port to listen on; 0 picks a free one"
    )
    root_path: str = Field(
        default="",
        description="path prefix under which a reverse proxy publishes the service, such as /lamm; "
        "requests are accepted with and without it",
    )
    ui: bool = Field(
        default=True, description="serve the web page at /; otherwise / redirects to /docs"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="lowest severity to log"
    )
    shutdown_timeout_s: PositiveFloat = Field(
        default=30.0, description="seconds for running requests to finish after SIGTERM"
    )
    keepalive_s: PositiveFloat = Field(
        default=15.0,
        description="seconds without a token before a stream sends a keep-alive comment",
    )
    write_timeout_s: PositiveFloat = Field(
        default=60.0,
        description="seconds before a client that does not read its answer is disconnected",
    )
    timeout_keep_alive_s: PositiveInt = Field(
        default=75,
        description="seconds before an idle connection is closed; must be longer than a load "
        "balancer's own timeout, often 60",
    )
    log_format: Literal["pretty", "json"] = Field(
        default="pretty", description="log format; json writes one object per line"
    )
    log_bodies: bool = Field(
        default=False,
        description="log the beginning of request and answer bodies (contains user content)",
    )
    log_body_chars: PositiveInt = Field(
        default=1024, description="characters of each body that --log-bodies logs"
    )
    stall_timeout_s: PositiveFloat = Field(
        default=60.0,
        description="seconds without a completed step, while requests wait, after which /health "
        "fails and the engine state is logged",
    )
    exit_on_engine_death: bool = Field(
        default=False,
        description="exit with status 1 when an engine dies, so that a supervisor restarts the "
        "server",
    )

    otlp_traces_endpoint: str | None = Field(
        default=None,
        description="OTLP/HTTP endpoint for traces, such as http://collector:4318/v1/traces; needs "
        "the extra `otel` (default: no traces)",
    )


class VllmSettings(BaseModel):
    """The server of the vllm engine."""

    vllm_url: str | None = Field(
        default=None,
        description="address of a vLLM server that runs already, such as http://127.0.0.1:8001 "
        "(default: one is started and watched)",
    )
    vllm_api_key: SecretStr | None = Field(
        default=None, description="API key of that server; better set as LAMM_VLLM_API_KEY"
    )
    vllm_env: Path | None = Field(
        default=None,
        description="Python environment with vLLM (default: where `lamm engine install vllm` "
        "installs it)",
    )
    vllm_model: Path | None = Field(
        default=None,
        description="directory from `lamm model export --format llava-hf --for vllm` (default: "
        "the checkpoint is exported to the user's cache at the first start)",
    )
    vllm_args: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="an argument of `vllm serve`, as --vllm-arg=--enforce-eager; repeat for each "
        "(LAMM_VLLM_ARGS: separated by spaces)",
    )
    vllm_start_timeout_s: PositiveFloat = Field(
        default=600.0, description="seconds for vLLM to load the model"
    )
    vllm_wait_s: float = Field(
        default=300.0, ge=0, le=86400,
        description="seconds to wait for the server at --vllm-url, which may still be loading",
    )  # fmt: skip


class EngineSettings(BaseModel):
    """Device, precision, batching and queue."""

    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description="device to run on; auto uses CUDA if available"
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        default="auto", description="precision; auto is float32 on a CPU, bfloat16 on CUDA"
    )
    max_model_len: PositiveInt | None = Field(
        default=None, description="context limit in tokens (default: the checkpoint's)"
    )
    max_num_seqs: PositiveInt | None = Field(
        default=None,
        description="maximum sequences that run at once; more wait (default: 32, 256 on CUDA)",
    )
    max_num_batched_tokens: PositiveInt | None = Field(
        default=None,
        description="maximum tokens per step; longer prompts are split into chunks (default: 512, "
        "2048 on CUDA)",
    )
    kv_cache_bytes: PositiveInt | None = Field(
        default=None,
        description="memory for the KV cache (default: 80 % of a GPU's free memory, 40 % of a "
        "machine's)",
    )
    enable_prefix_caching: bool = Field(
        default=True, description="reuse the KV cache of prompts with a common prefix"
    )
    mm_cache_bytes: Annotated[int, Field(ge=0)] = Field(
        default=256 * _MIB, description="memory for the cache of encoded pictures and clouds"
    )
    max_waiting_requests: PositiveInt = Field(
        default=256, description="maximum waiting requests; more are refused with 503"
    )
    max_waiting_tokens: PositiveInt = Field(
        default=1 << 20,
        description="maximum prompt tokens of waiting requests; more are refused with 503",
    )
    queue_timeout_s: PositiveFloat = Field(
        default=120.0,
        description="seconds a request may wait for its first token before it is refused with 503",
    )
    priority_ageing_s: float = Field(
        default=3.0, ge=0, le=3600,
        description="seconds of waiting that equal one level of priority; 0: order of arrival only",
    )  # fmt: skip
    min_priority: int = Field(
        default=0, description="lowest `priority` of a request; lower values are raised to it"
    )
    max_priority: int = Field(
        default=100, description="highest `priority` of a request; higher values are lowered to it"
    )
    num_threads: PositiveInt | None = Field(
        default=None,
        description="CPU threads of the engine (default: 1 for weights below 64 MiB, else one per "
        "core within the cgroup's quota)",
    )
    thread_wait: Literal["auto", "passive", "active"] = Field(
        default="auto",
        description="how CPU threads wait for work: passive (they sleep) suits shared machines, "
        "active (they spin) is faster on a quiet one; auto: passive if the load is at least 0.5 "
        "at the start",
    )
    chunk_interval_s: float = Field(
        default=0.02, ge=0, le=10,
        description="minimum seconds between two chunks of a stream; 0 sends every token by itself",
    )  # fmt: skip
