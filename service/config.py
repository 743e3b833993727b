"""Settings of the service: one frozen object, from flags and `LAMM_` environment variables.

Built by `service.cli`, handed to `service.app.create_app`, and passed on in its narrowest parts.
Each field is a flag (`--max-num-seqs`) and a variable (`LAMM_MAX_NUM_SEQS`); its description is the
help.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from lamm_model.conversation import PromptPreset
from lamm_model.spec import IMAGE_PRESETS

MIB = 1 << 20
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^/?#@\s]+")
PositiveInt = Annotated[int, Field(ge=1)]
PositiveFloat = Annotated[float, Field(gt=0)]


class Settings(BaseSettings):
    """Everything an operator can set; the defaults are safe for a machine on a network."""

    model_config = SettingsConfigDict(env_prefix="LAMM_", frozen=True, extra="ignore")

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
        default=None, description="memory of the KV cache (default: derived from the device)"
    )
    enable_prefix_caching: bool = Field(
        default=True, description="reuse the KV cache of prompts that begin alike"
    )
    mm_cache_bytes: Annotated[int, Field(ge=0)] = Field(
        default=256 * MIB, description="memory of the cache of encoded pictures and clouds"
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

    api_keys: SecretStr | None = Field(
        default=None,
        description="comma-separated KEY or ROLE:KEY, the role user, admin or metrics; one must "
        "come as a Bearer token",
    )
    api_keys_file: Path | None = Field(
        default=None,
        description="file with one API key a line: KEY [ROLE] [NAME] [max_concurrent=N] "
        "[tokens_per_minute=N]; read again when it changes",
    )
    key_max_concurrent: PositiveInt | None = Field(
        default=None, description="requests that a key may have running; more are refused with 429"
    )
    key_tokens_per_minute: PositiveInt | None = Field(
        default=None, description="tokens that a key may use a minute; more are refused with 429"
    )
    protect_metrics: bool = Field(
        default=False, description="where there are keys, /metrics asks for one of role metrics"
    )
    allowed_origin: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="origin (https://host) whose pages may call this service from a browser; * for "
        "all; once for each (LAMM_ALLOWED_ORIGIN: separated by commas)",
    )

    default_max_tokens: PositiveInt = Field(
        default=256, description="answer tokens where the request names no max_tokens"
    )
    max_body_bytes: PositiveInt = Field(default=48 * MIB, description="size limit of a request")
    max_buffered_bytes: PositiveInt = Field(
        default=512 * MIB,
        description="memory of all request bodies together; more are refused with 503",
    )
    body_timeout_s: PositiveFloat = Field(
        default=30.0, description="seconds within which the next part of a body must come"
    )
    max_media_items: PositiveInt = Field(
        default=16, description="pictures and clouds in one request"
    )
    max_media_bytes: PositiveInt = Field(default=32 * MIB, description="size limit of one medium")
    max_pixels: PositiveInt = Field(default=40_000_000, description="pixel limit of one picture")
    max_points: PositiveInt = Field(default=2_000_000, description="point limit of one cloud")
    max_request_pixels: PositiveInt = Field(
        default=80_000_000, description="pixel limit of all pictures of a request together"
    )
    max_request_points: PositiveInt = Field(
        default=4_000_000, description="point limit of all clouds of a request together"
    )
    media_workers: PositiveInt = Field(
        default=min(2, os.cpu_count() or 1), description="processes that decode media"
    )
    media_timeout_s: PositiveFloat = Field(
        default=10.0, description="seconds one medium may take to decode"
    )
    media_memory_bytes: PositiveInt = Field(
        default=4096 * MIB, description="address space of one decoding process"
    )
    max_media_requests: PositiveInt = Field(
        default=64,
        description="requests that decode media or wait for it; more are refused with 503",
    )
    max_held_media_bytes: PositiveInt = Field(
        default=1024 * MIB,
        description="memory of the decoded media of all requests that wait and run; more are "
        "refused with 503",
    )
    media_queue_timeout_s: PositiveFloat = Field(
        default=15.0, description="seconds a medium may wait for a decoding process"
    )
    media_cache_bytes: Annotated[int, Field(ge=0)] = Field(
        default=64 * MIB, description="memory of the cache of decoded media"
    )

    allowed_media_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="host, or HOST:PORT, that pictures and clouds may be fetched from by https; "
        "once for each (LAMM_ALLOWED_MEDIA_HOSTS: separated by commas)",
    )
    media_fetch_timeout_s: PositiveFloat = Field(
        default=10.0, description="seconds that fetching one medium may take, redirects and all"
    )
    max_media_fetches: PositiveInt = Field(
        default=16, description="media that are fetched, or read from stored files, at once"
    )

    files_dir: Path | None = Field(
        default=None,
        description="where uploaded files lie (default: a temporary directory, gone with the "
        "process)",
    )
    max_file_bytes: PositiveInt = Field(
        default=128 * MIB, description="size limit of one uploaded file"
    )
    max_stored_bytes: PositiveInt = Field(
        default=2048 * MIB, description="what all uploaded files may take; more are refused"
    )
    max_stored_files: PositiveInt = Field(
        default=10_000, description="uploaded files that may be there; more are refused"
    )
    key_max_stored_bytes: PositiveInt | None = Field(
        default=None,
        description="what the uploaded files of one key may take; more are refused with 403",
    )
    key_max_stored_files: PositiveInt | None = Field(
        default=None, description="uploaded files that one key may have; more are refused with 403"
    )
    file_expiry_s: PositiveFloat = Field(
        default=7 * 86400.0, description="seconds after which an uploaded file is removed"
    )

    database_url: SecretStr | None = Field(
        default=None,
        description="where batches are kept, as postgresql://user:password@host/name; needs the "
        "extra `postgres` (default: an SQLite file in the files' directory)",
    )
    batch_max_lines: PositiveInt = Field(default=50_000, description="requests in one batch")
    batch_max_line_bytes: PositiveInt = Field(
        default=8 * MIB, description="size limit of one line of a batch's input"
    )
    batch_max_unfinished: PositiveInt = Field(
        default=16, description="unfinished batches of one key; more are refused with 429"
    )
    batch_max_unfinished_lines: PositiveInt = Field(
        default=200_000, description="requests in all unfinished batches of one key"
    )
    batch_max_window_s: PositiveFloat = Field(
        default=7 * 86400.0, description="longest `completion_window` of a batch, in seconds"
    )
    batch_max_in_flight: PositiveInt | None = Field(
        default=None,
        description="requests of batches that run at once (default: half of --max-num-seqs)",
    )
    batch_retention_s: PositiveFloat = Field(
        default=30 * 86400.0, description="seconds after which an ended batch is forgotten"
    )

    @field_validator("checkpoint", "allowed_origin", "allowed_media_hosts", mode="before")
    @classmethod
    def _split_list(cls, value: Any) -> Any:
        """One of them, a comma-separated list, or several as they stand."""
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        if isinstance(value, Path):
            return (str(value),)
        if isinstance(value, (list, tuple)):
            return tuple(str(part) for part in value)
        return value

    @field_validator("allowed_origin")
    @classmethod
    def _check_origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        """Browsers send an origin without a path; one that has one would never match."""
        for origin in value:
            if origin != "*" and not _ORIGIN.fullmatch(origin):
                raise ValueError(
                    f"{origin!r} is no origin; one is https://host or http://host:port"
                )
        return value
