"""Access and request limits: a part of `config.Settings`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, Field, PositiveFloat, PositiveInt, SecretStr
from pydantic_settings import NoDecode

_MIB = 1 << 20


class LimitSettings(BaseModel):
    """API keys, allowed origins, request bodies and media."""

    api_keys: SecretStr | None = Field(
        default=None,
        description="comma-separated KEY or ROLE:KEY with role user, admin or metrics; clients "
        "send one as a Bearer token",
    )
    api_keys_file: Path | None = Field(
        default=None,
        description="file with one API key per line: KEY [ROLE] [NAME] [max_concurrent=N] "
        "[tokens_per_minute=N]; read again when it changes",
    )
    key_max_concurrent: PositiveInt | None = Field(
        default=None, description="concurrent requests per key; more are refused with 429"
    )
    key_tokens_per_minute: PositiveInt | None = Field(
        default=None, description="tokens per minute and key; more are refused with 429"
    )
    cache_scope: Literal["key", "all"] | None = Field(
        default=None,
        description="who shares cached prompts and media: key (requests of the same API key) or "
        "all (default: key if API keys are set, otherwise all)",
    )
    protect_metrics: bool = Field(
        default=False, description="if API keys are set, require one with role metrics for /metrics"
    )
    allowed_origin: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="origin (https://host) whose pages may call this service from a browser; * "
        "allows all; repeat for each (LAMM_ALLOWED_ORIGIN: separated by commas)",
    )

    allowed_host: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="host name that requests may use, besides localhost, loopback addresses and "
        "names without a dot; checked if one is given, and on a loopback address without API "
        "keys; * switches the check off; repeat for each (LAMM_ALLOWED_HOST: separated by commas)",
    )

    default_max_tokens: PositiveInt = Field(
        default=256, description="maximum answer tokens if the request sets no max_tokens"
    )
    max_body_bytes: PositiveInt = Field(
        default=48 * _MIB, description="maximum size of a request body"
    )
    max_buffered_bytes: PositiveInt = Field(
        default=512 * _MIB,
        description="memory for all request bodies together; more are refused with 503",
    )
    body_timeout_s: PositiveFloat = Field(
        default=30.0, description="maximum seconds between two parts of a request body"
    )
    max_media_items: PositiveInt = Field(
        default=16, description="maximum pictures and clouds per request"
    )
    max_media_bytes: PositiveInt = Field(
        default=32 * _MIB, description="maximum size of one picture or cloud"
    )
    max_pixels: PositiveInt = Field(default=40_000_000, description="maximum pixels of one picture")
    max_points: PositiveInt = Field(default=2_000_000, description="maximum points of one cloud")
    max_request_pixels: PositiveInt = Field(
        default=80_000_000, description="maximum pixels of all pictures of one request"
    )
    max_request_points: PositiveInt = Field(
        default=4_000_000, description="maximum points of all clouds of one request"
    )
    media_workers: PositiveInt = Field(
        default=min(2, os.cpu_count() or 1), description="number of processes that decode media"
    )
    media_timeout_s: PositiveFloat = Field(
        default=10.0, description="maximum seconds for decoding one medium"
    )
    media_memory_bytes: PositiveInt = Field(
        default=4096 * _MIB, description="address space of each decoding process"
    )
    max_media_requests: PositiveInt = Field(
        default=64,
        description="maximum requests whose media are being decoded or wait for it; more are "
        "refused with 503",
    )
    max_held_media_bytes: PositiveInt = Field(
        default=1024 * _MIB,
        description="memory for the decoded media of all waiting and running requests; more are "
        "refused with 503",
    )
    media_queue_timeout_s: PositiveFloat = Field(
        default=15.0, description="maximum seconds that a medium waits for a decoding process"
    )
    media_cache_bytes: Annotated[int, Field(ge=0)] = Field(
        default=64 * _MIB, description="memory for the cache of decoded media"
    )

    allowed_media_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="HOST or HOST:PORT that pictures and clouds may be fetched from over https; "
        "repeat for each (LAMM_ALLOWED_MEDIA_HOSTS: separated by commas)",
    )
    media_fetch_timeout_s: PositiveFloat = Field(
        default=10.0, description="maximum seconds for fetching one medium, redirects included"
    )
    max_media_fetches: PositiveInt = Field(
        default=16, description="maximum media that are fetched or read from stored files at once"
    )
