"""What is served, where, and by which engine: a part of `config.Settings`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, Field, PositiveFloat, PositiveInt
from pydantic_settings import NoDecode

from lamm_model.conversation import PromptPreset
from lamm_model.spec import IMAGE_PRESETS

_MIB = 1 << 20


class ServingSettings(BaseModel):
    """The models, the address, logs and traces."""

    checkpoint: Annotated[tuple[str, ...], NoDecode] = Field(
        default=("checkpoints/lamm-mini",),
        min_length=1,
        description="what to serve: DIR, NAME=DIR, or an adapter over its base, "
        "NAME=ADAPTER@BASE; once for each model (LAMM_CHECKPOINT: separated by commas)",
    )
    served_model_name: str | None = Field(
        default=None,
        description="name clients use as `model` where there is one checkpoint "
        "(default: the directory's name)",
    )
    prompt_preset: str | None = Field(
        default=None,
        description=f"how prompts are written, for all models: {', '.join(PromptPreset)} "
        "(default: each checkpoint's own)",
    )
    image_preset: str | None = Field(
        default=None,
        description=f"how pictures are made to fit, for all models: {', '.join(IMAGE_PRESETS)} "
        "(default: each checkpoint's own)",
    )
    prompt_pack: Path | None = Field(
        default=None,
        description="file of `lamm model import-prompts` with the presets' system texts "
        "(default: each checkpoint's own prompt_pack.json, if there)",
    )
    engine: Literal["torch", "echo"] = Field(
        default="torch", description="`echo` repeats a fixed text: for trying clients"
    )

    host: str = Field(default="127.0.0.1", description="address to listen on; 0.0.0.0 for all")
    port: int = Field(default=8000, ge=0, le=65535, description="port to listen on; 0 picks one")
    ui: bool = Field(default=True, description="the web page at /; without it / leads to /docs")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="least severity that is logged"
    )
    shutdown_timeout_s: PositiveFloat = Field(
        default=30.0, description="seconds that running requests get to finish after SIGTERM"
    )
    keepalive_s: PositiveFloat = Field(
        default=15.0, description="seconds of silence in a stream before a keep-alive comment"
    )
    write_timeout_s: PositiveFloat = Field(
        default=60.0,
        description="seconds that a client may leave an answer unread; then it is cut off",
    )
    log_format: Literal["pretty", "json"] = Field(
        default="pretty", description="`json` logs one object a line"
    )
    log_bodies: bool = Field(
        default=False,
        description="log the beginning of every request's and answer's body: what people wrote",
    )
    log_body_chars: PositiveInt = Field(
        default=1024, description="how much of a body --log-bodies logs"
    )
    stall_timeout_s: PositiveFloat = Field(
        default=60.0,
        description="/health fails, and the log has the engine's state, when work waits and no "
        "step ended for so long",
    )
    exit_on_engine_death: bool = Field(
        default=False,
        description="end with status 1 when an engine has died, for a supervisor to start anew",
    )

    otlp_traces_endpoint: str | None = Field(
        default=None,
        description="where traces go by OTLP over HTTP, as http://collector:4318/v1/traces; "
        "needs the extra `otel` (default: no traces)",
    )


class EngineSettings(BaseModel):
    """Where the tensors live, what runs at once, and what waits."""

    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description="where the tensors live; auto takes CUDA when there is a device"
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        default="auto", description="precision; auto is float32 on a CPU, bfloat16 on CUDA"
    )
    max_model_len: PositiveInt | None = Field(
        default=None, description="context limit in tokens (default: the checkpoint's)"
    )
    max_num_seqs: PositiveInt = Field(
        default=32, description="requests generated at once; more wait"
    )
    max_num_batched_tokens: PositiveInt = Field(
        default=512, description="tokens a step; longer prompts are cut in chunks"
    )
    kv_cache_bytes: PositiveInt | None = Field(
        default=None,
        description="memory of the KV cache (default: 80 % of a GPU's free memory, 40 % of a "
        "machine's)",
    )
    enable_prefix_caching: bool = Field(
        default=True, description="reuse the KV cache of prompts that begin alike"
    )
    mm_cache_bytes: Annotated[int, Field(ge=0)] = Field(
        default=256 * _MIB, description="memory of the cache of encoded pictures and clouds"
    )
    max_waiting_requests: PositiveInt = Field(
        default=256, description="requests that may wait; more are refused with 503"
    )
    max_waiting_tokens: PositiveInt = Field(
        default=1 << 20, description="prompt tokens that may wait; more are refused with 503"
    )
    queue_timeout_s: PositiveFloat = Field(
        default=120.0,
        description="seconds a request may wait for its first token; then it is given up with 503",
    )
    priority_ageing_s: float = Field(
        default=3.0, ge=0, le=3600,
        description="seconds of waiting that make up for one level of priority; 0: order of "
        "arrival alone",
    )  # fmt: skip
    min_priority: int = Field(
        default=0, description="least `priority` of a request; smaller ones are raised to it"
    )
    max_priority: int = Field(
        default=100, description="greatest `priority` of a request; greater ones are lowered to it"
    )
    num_threads: PositiveInt | None = Field(
        default=None, description="CPU threads of the engine (default: torch's choice)"
    )
    chunk_interval_s: float = Field(
        default=0.02, ge=0, le=10,
        description="least seconds between two chunks of one stream; 0 sends every token alone",
    )  # fmt: skip
