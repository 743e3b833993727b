"""Settings of the service: one frozen object, from flags and `LAMM_` environment variables.

Built by `service.cli`, handed to `service.app.create_app`, and passed on in its narrowest parts.
Each field is a flag (`--max-num-seqs`) and a variable (`LAMM_MAX_NUM_SEQS`); its description is the
help.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from lamm_model.conversation import PromptPreset
from lamm_model.spec import IMAGE_PRESETS

MIB = 1 << 20
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
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="least severity that is logged"
    )
    shutdown_timeout_s: PositiveFloat = Field(
        default=30.0, description="seconds that running requests get to finish after SIGTERM"
    )
    keepalive_s: PositiveFloat = Field(
        default=15.0, description="seconds of silence in a stream before a keep-alive comment"
    )
    stall_timeout_s: PositiveFloat = Field(
        default=60.0, description="/health fails when work waits and no step ended for so long"
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
    num_threads: PositiveInt | None = Field(
        default=None, description="CPU threads of the engine (default: torch's choice)"
    )
    chunk_interval_s: float = Field(
        default=0.02, ge=0, le=10,
        description="least seconds between two chunks of one stream; 0 sends every token alone",
    )  # fmt: skip

    api_keys: SecretStr | None = Field(
        default=None, description="comma-separated keys; one must come as a Bearer token"
    )
    api_keys_file: Path | None = Field(default=None, description="file with one API key a line")

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
    media_queue_timeout_s: PositiveFloat = Field(
        default=15.0, description="seconds a medium may wait for a decoding process"
    )
    media_cache_bytes: Annotated[int, Field(ge=0)] = Field(
        default=64 * MIB, description="memory of the cache of decoded media"
    )

    @field_validator("checkpoint", mode="before")
    @classmethod
    def _split_checkpoints(cls, value: Any) -> Any:
        """One directory, a comma-separated list, or several of them as they stand."""
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        if isinstance(value, Path):
            return (str(value),)
        if isinstance(value, (list, tuple)):
            return tuple(str(part) for part in value)
        return value

    def read_api_keys(self) -> tuple[str, ...]:
        """All keys of `api_keys` and `api_keys_file`; none means that no key is asked for.

        Raises:
            OSError: the file cannot be read.
            ValueError: keys are configured, but there is none.
        """
        keys: list[str] = []
        if self.api_keys is not None:
            keys += self.api_keys.get_secret_value().split(",")
        if self.api_keys_file is not None:
            keys += self.api_keys_file.read_text(encoding="utf8").splitlines()
        found = tuple(key.strip() for key in keys if key.strip())
        if not found and (self.api_keys is not None or self.api_keys_file is not None):
            raise ValueError("API keys are configured, but no key was found in them")
        return found
