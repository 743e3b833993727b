"""`lamm serve` and `lamm chat`: arguments in, exit status out. Called by the umbrella command."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import socket
import sys
import types
import typing
from pathlib import Path
from typing import Any

import uvloop
from fastapi import FastAPI
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from lamm_model.spec import CheckpointError
from service.app import create_app
from service.config.limits import LimitSettings
from service.config.serving import EngineSettings, ServingSettings
from service.config.settings import Settings
from service.config.storage import StorageSettings
from service.dependencies import Services
from service.engine.base import EngineInfo
from service.engine.config import EngineConfigError
from service.lifecycle import Lifecycle, Phase
from service.logging_setup import configure_logging
from service.server import DrainingServer
from service.startup.interpreter import give_memory_back, limit_malloc_arenas, settle_interpreter
from service.terminal.client import run_chat

_EXIT_USAGE = 2
_MIB = 1 << 20
# Lists that are given an entry at a time also have a flag for one.
_REPEATED = {"allowed_media_hosts": ("--allowed-media-host",)}
# Their values are never shown.
_SECRETS = ("api_keys", "database_url")
# The help's headings, and whose fields stand under each.
_GROUPS: tuple[tuple[str, type[BaseModel]], ...] = (
    ("models, address, logs", ServingSettings),
    ("engine and queue", EngineSettings),
    ("keys, limits, media", LimitSettings),
    ("stored files and batches", StorageSettings),
)
_SERVE_HELP = """\
Serve LAMM checkpoints over HTTP, in OpenAI's protocol.

  lamm serve --checkpoint checkpoints/lamm-mini
  lamm serve --checkpoint DIR --device cuda --dtype bfloat16 --host 0.0.0.0 --port 8000
  lamm serve --checkpoint pictures=ADAPTER@BASE --checkpoint clouds=ADAPTER@BASE

Give --checkpoint once for each model; clients choose by `model`. ADAPTER@BASE serves an adapter
directory unmerged: models whose bases have the same language model share it, in one batch.
An adapter whose base is another --checkpoint's needs no @BASE. Memory given in bytes is for all.

Then: http://127.0.0.1:8000 in a browser, `lamm chat`, or any OpenAI client with base_url .../v1.
Every flag is also an environment variable: --max-num-seqs is LAMM_MAX_NUM_SEQS. SIGTERM finishes
what runs, refuses what is new, and exits 0.
"""


def serve(argv: list[str]) -> int:
    """Serves until it is told to stop; 0 after a clean stop, 2 for wrong settings, 1 otherwise."""
    try:
        settings = _read_settings(argv)
        _check_address(settings.host, settings.port)
        configure_logging(settings.log_level, settings.log_format)
        if settings.log_format == "json" or not sys.stderr.isatty():
            # transformers' progress bar would stand among the log's lines. Read at its import.
            os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        limit_malloc_arenas()
        app = create_app(settings)
    except ValidationError as error:
        for problem in error.errors():
            name = "_".join(str(part) for part in problem["loc"])
            given = "" if name in _SECRETS else f"; it is {problem['input']!r}"
            flag = f"{_flag(name)} (LAMM_{name.upper()})"
            print(f"lamm serve: {flag}: {problem['msg']}{given}", file=sys.stderr)
        return _EXIT_USAGE
    except (CheckpointError, EngineConfigError, OSError, ValueError) as error:
        print(f"lamm serve: {error}", file=sys.stderr)
        return _EXIT_USAGE
    print(_loading_message(settings, app), flush=True)
    return uvloop.run(_serve(settings, app))


def chat(argv: list[str]) -> int:
    """Talks to a running service from the terminal."""
    return run_chat(argv)


async def _serve(settings: Settings, app: FastAPI) -> int:
    services: Services = app.state.services
    lifecycle = services.lifecycle
    server = DrainingServer(
        app,
        settings.host,
        settings.port,
        lifecycle,
        settings.shutdown_timeout_s,
        services.stop_engines,
        write_timeout_s=settings.write_timeout_s,
        on_hangup=lambda: services.access.keys.reload(force=True),
    )
    running = asyncio.create_task(server.serve())
    beside = [
        asyncio.create_task(_announce(server, settings, services)),
        asyncio.create_task(give_memory_back()),
    ]
    if settings.exit_on_engine_death:
        beside.append(asyncio.create_task(_end_on_engine_death(server, lifecycle)))
    try:
        await running
    finally:
        for task in beside:
            task.cancel()
        await asyncio.gather(*beside, return_exceptions=True)
    return 1 if lifecycle.failure is not None else 0


async def _announce(server: DrainingServer, settings: Settings, services: Services) -> None:
    """Says where to go once requests are taken, or why they never will be."""
    lifecycle = services.lifecycle
    phase = await lifecycle.wait_loaded()
    if phase is Phase.FAILED:
        reason = f"cannot load {', '.join(settings.checkpoint)}: {lifecycle.failure}"
        print(f"lamm serve: {reason}", file=sys.stderr)
        server.should_exit = True
        return
    settle_interpreter()
    url = await server.wait_url()
    if lifecycle.engine_infos:
        print(_ready_message(services, url, settings), flush=True)


async def _end_on_engine_death(server: DrainingServer, lifecycle: Lifecycle) -> None:
    await lifecycle.wait_engine_death()
    print(f"lamm serve: {lifecycle.failure}; the log says why", file=sys.stderr)
    server.should_exit = True


def _loading_message(settings: Settings, app: FastAPI) -> str:
    services: Services = app.state.services
    return "\n".join(
        f"Loading {model.name} from {checkpoint} ({', '.join(['text', *model.spec.modalities])}; "
        f"context {model.max_model_len} tokens; prompts {model.spec.prompt_preset}; "
        f"weights {model.spec.digest[:12]})"
        for model, checkpoint in zip(services.models, settings.checkpoint, strict=True)
    )


def _ready_message(services: Services, url: str, settings: Settings) -> str:
    keys = "an API key is needed" if settings.api_keys or settings.api_keys_file else "no API key"
    pairs = list(zip(services.engines, services.lifecycle.engine_infos, strict=True))
    where = pairs[0][1]
    lines = [f"Ready: {where.engine} engine on {where.device}, {where.dtype}; {keys}"]
    for served, info in pairs:
        if len(served.models) > 1:
            lines.append(f"  models    {', '.join(served.models)}: one language model, one batch")
        elif len(pairs) > 1:
            lines.append(f"  model     {served.label}: an engine of its own")
        lines += _sizes(info, settings.enable_prefix_caching)
    page = url if settings.ui else f"{url}/docs"
    lines.append(f"  go to     {page}, or: lamm chat --url {url}")
    return "\n".join(lines)


def _sizes(info: EngineInfo, keeps_prefixes: bool) -> tuple[str, str]:
    prefixes = ", and finished prefixes" if keeps_prefixes else ""
    return (
        f"  memory    {info.weights_bytes / _MIB:.0f} MiB weights + "
        f"{info.kv_cache_bytes / _MIB:.0f} MiB KV cache ({info.kv_cache_tokens} tokens{prefixes})",
        f"  requests  {info.max_num_seqs} at once; {info.max_concurrent_full_length} of them "
        f"with the whole context of {info.max_model_len} tokens; more wait in line",
    )


def _check_address(host: str, port: int) -> None:
    """Says that the address cannot be had before anything is loaded.

    Raises:
        OSError: it is taken, not this machine's, or not allowed.
    """
    refusal = ""
    try:
        for family, kind, _, _, address in socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        ):
            try:
                with socket.socket(family, kind) as probe:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    if family == socket.AF_INET6:
                        probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                    probe.bind(address)
                    return  # a name's other addresses may be of a family that is switched off
            except OSError as error:
                refusal = error.strerror or str(error)
    except socket.gaierror as error:
        refusal = error.strerror or str(error)
    raise OSError(
        f"cannot listen on {host}:{port}: {refusal}; --port takes another port (0: any free "
        "one), --host another address"
    )


def _read_settings(argv: list[str]) -> Settings:
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
    parser.add_argument(*_REPEATED.get(name, ()), _flag(name), **options)


def _shown(name: str, default: Any) -> str:
    """A default in words; empty where there is none, or where the description tells it."""
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
    return typing.get_args(annotation) if typing.get_origin(annotation) is typing.Literal else ()


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


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(serve(sys.argv[1:]))
