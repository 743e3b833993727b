"""The flags of `lamm serve`: one per setting, with its description as help."""

from __future__ import annotations

import argparse
import types
import typing
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from service.config.limits import LimitSettings
from service.config.serving import EngineSettings, ServingSettings, VllmSettings
from service.config.settings import Settings
from service.config.storage import StorageSettings

_MIB = 1 << 20
# Settings that have a second flag: the singular form of a list, or a shorter one.
_ALIASES = {
    "allowed_media_hosts": ("--allowed-media-host",),
    "vllm_args": ("--vllm-arg",),
    "vllm_wait_s": ("--vllm-wait",),
}
# Headings of the help, and the settings under each.
_GROUPS: tuple[tuple[str, type[BaseModel]], ...] = (
    ("models, address, logs", ServingSettings),
    ("engine and queue", EngineSettings),
    ("the vllm engine", VllmSettings),
    ("keys, limits, media", LimitSettings),
    ("stored files and batches", StorageSettings),
)
_SERVE_HELP = """\
Serve LAMM checkpoints over an OpenAI-compatible HTTP API.

  lamm serve --checkpoint checkpoints/lamm-mini
  lamm serve --checkpoint DIR --device cuda --dtype bfloat16 --host 0.0.0.0 --port 8000
  lamm serve --checkpoint pictures=ADAPTER@BASE --checkpoint clouds=ADAPTER@BASE

Repeat --checkpoint for each model; clients choose one with `model`. ADAPTER@BASE serves an adapter
directory without merging it: models with the same language model share it and run in one batch.
@BASE can be left out if the base is another --checkpoint. Sizes in bytes are for all models.

Then open http://127.0.0.1:8000, run `lamm chat`, or point an OpenAI client to .../v1.
Every flag is also an environment variable: --max-num-seqs is LAMM_MAX_NUM_SEQS. On SIGTERM the
server finishes running requests, refuses new ones, and exits with status 0.
"""


def read_settings(argv: list[str]) -> Settings:
    """The settings of a command line and the environment.

    Raises:
        ValidationError: a value is out of its range.
        SystemExit: a flag is unknown or malformed, or the help was asked for.
    """
    parser = argparse.ArgumentParser(
        prog="lamm serve",
        description=_SERVE_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    groups = {
        name: group
        for title, part in _GROUPS
        for group in (parser.add_argument_group(title),)
        for name in part.model_fields
    }
    for name, field in Settings.model_fields.items():
        _add_flag(groups.get(name, parser), name, field)
    flags = vars(parser.parse_args(argv))
    return Settings(**{name: value for name, value in flags.items() if value is not None})


def _add_flag(parser: argparse._ActionsContainer, name: str, field: FieldInfo) -> None:
    text = (field.description or "").replace("%", "%%")
    if default := _shown(name, field.default):
        text += f" (default: {default})"
    options: dict[str, Any] = {"dest": name, "default": None, "help": text}
    choices = _choices(field.annotation)
    if field.annotation is bool:
        options["action"] = argparse.BooleanOptionalAction
    elif choices:
        options["choices"] = choices
    elif typing.get_origin(field.annotation) is tuple:
        options |= {"action": "append", "metavar": "PATH" if name == "checkpoint" else "TEXT"}
    else:
        options["metavar"] = _metavar(field.annotation)
    parser.add_argument(*_ALIASES.get(name, ()), flag_of(name), **options)


def _shown(name: str, default: Any) -> str:
    """A default as text; empty if there is none, or if the description names it."""
    if default is None:
        return ""
    if isinstance(default, bool):
        return "yes" if default else "no"
    if isinstance(default, tuple):
        return ", ".join(default)
    if name.endswith("_bytes") and default and default % _MIB == 0:
        return f"{default}, {default // _MIB} MiB"
    if isinstance(default, float) and default.is_integer():
        days, rest = divmod(int(default), 86400)
        return f"{int(default)}, {days} days" if days and not rest else str(int(default))
    return str(default)


def _choices(annotation: Any) -> tuple[str, ...]:
    """The values of a literal type, which may be optional."""
    for one in (annotation, *typing.get_args(annotation)):
        if typing.get_origin(one) is typing.Literal:
            return typing.get_args(one)
    return ()


def _metavar(annotation: Any) -> str:
    kinds = {annotation}
    if isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is typing.Union:
        kinds = set(typing.get_args(annotation))
    kinds = {
        typing.get_args(kind)[0] if typing.get_origin(kind) is typing.Annotated else kind
        for kind in kinds
    }
    if Path in kinds:
        return "PATH"
    return "N" if kinds & {int, float} else "TEXT"


def flag_of(name: str) -> str:
    """The flag of a setting."""
    return f"--{name.replace('_', '-')}"
