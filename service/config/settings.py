"""Settings of the service: one frozen object, from flags and `LAMM_` environment variables.

Each field is a flag (`--max-num-seqs`) and a variable (`LAMM_MAX_NUM_SEQS`); its description is the
help text. The app passes on only the part that each component needs.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

from pydantic import field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from service.config.limits import LimitSettings
from service.config.serving import EngineSettings, ServingSettings, VllmSettings
from service.config.storage import StorageSettings

_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^/?#@\s]+")
_HOST = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*|\[[0-9A-Fa-f:.]+\]")
# RFC 3986's unreserved characters: no encoding of them differs from another.
_ROOT_PATH = re.compile(r"(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*")


# The help lists the fields of the last one first.
class Settings(
    StorageSettings, LimitSettings, VllmSettings, EngineSettings, ServingSettings, BaseSettings
):
    """All operator settings; the defaults are safe for a machine on a network."""

    model_config = SettingsConfigDict(env_prefix="LAMM_", frozen=True, extra="ignore")

    @field_validator(
        "checkpoint", "allowed_origin", "allowed_host", "allowed_media_hosts", mode="before"
    )
    @classmethod
    def _split_list(cls, value: Any) -> Any:
        """Accepts one entry, a comma-separated list, or a sequence."""
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        if isinstance(value, Path):
            return (str(value),)
        if isinstance(value, (list, tuple)):
            return tuple(str(part) for part in value)
        return value

    @field_validator("vllm_args", mode="before")
    @classmethod
    def _split_arguments(cls, value: Any) -> Any:
        """Accepts a command line as text, or a sequence."""
        return tuple(shlex.split(value)) if isinstance(value, str) else value

    @field_validator("allowed_origin")
    @classmethod
    def _check_origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        """Refuses origins with a path: browsers send an origin without one, so it would never
        match.
        """
        for origin in value:
            if origin != "*" and not _ORIGIN.fullmatch(origin):
                raise ValueError(
                    f"{origin!r} is not a valid origin; expected https://host or http://host:port"
                )
        return value

    @field_validator("allowed_host")
    @classmethod
    def _check_hosts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        """Names as browsers send them, in lower case; refuses ports and URLs."""
        for host in value:
            if host != "*" and not _HOST.fullmatch(host):
                raise ValueError(
                    f"{host!r} is not a host name; expected lamm.example.com, without a port"
                )
        return tuple(host.lower() for host in value)

    @field_validator("root_path")
    @classmethod
    def _check_root_path(cls, value: str) -> str:
        """The prefix without a trailing slash; `/` is none."""
        root_path = value.removesuffix("/")
        if not _ROOT_PATH.fullmatch(root_path):
            raise ValueError(
                "a path prefix begins with a slash, has letters, digits, '-', '_', '.' and '~' "
                "between its slashes, and no segment that begins with '.'"
            )
        return root_path
