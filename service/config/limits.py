"""Who may ask, and for how much at once: a part of `config.Settings`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, Field, PositiveFloat, PositiveInt, SecretStr
from pydantic_settings import NoDecode

_MIB = 1 << 20


class LimitSettings(BaseModel):
    """API keys, other sites' pages, bodies, and media."""

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
    max_body_bytes: PositiveInt = Field(default=48 * _MIB, description="size limit of a request")
    max_buffered_bytes: PositiveInt = Field(
        default=512 * _MIB,
        description="memory of all request bodies together; more are refused with 503",
    )
    body_timeout_s: PositiveFloat = Field(
        default=30.0, description="seconds within which the next part of a body must come"
    )
    max_media_items: PositiveInt = Field(
        default=16, description="pictures and clouds in one request"
    )
    max_media_bytes: PositiveInt = Field(default=32 * _MIB, description="size limit of one medium")
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
        default=4096 * _MIB, description="address space of one decoding process"
    )
    max_media_requests: PositiveInt = Field(
        default=64,
        description="requests that decode media or wait for it; more are refused with 503",
    )
    max_held_media_bytes: PositiveInt = Field(
        default=1024 * _MIB,
        description="memory of the decoded media of all requests that wait and run; more are "
        "refused with 503",
    )
    media_queue_timeout_s: PositiveFloat = Field(
        default=15.0, description="seconds a medium may wait for a decoding process"
    )
    media_cache_bytes: Annotated[int, Field(ge=0)] = Field(
        default=64 * _MIB, description="memory of the cache of decoded media"
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
