"""`lamm serve` and `lamm chat`."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys

import uvloop
from fastapi import FastAPI
from pydantic import ValidationError

from lamm_model.spec import CheckpointError
from service.app import create_app
from service.config.flags import flag_of, read_settings
from service.config.settings import Settings
from service.dependencies import Services
from service.engine.base import EngineInfo
from service.engine.config import EngineConfigError
from service.lifecycle import Lifecycle, Phase
from service.logging_setup import configure_logging
from service.server import DrainingServer
from service.startup.configs import batch_sizes
from service.startup.interpreter import (
    give_memory_back,
    limit_malloc_arenas,
    set_thread_wait,
    settle_interpreter,
)
from service.terminal.client import run_chat

_EXIT_USAGE = 2
_MIB = 1 << 20
# Values that are never printed.
_SECRETS = ("api_keys", "database_url", "vllm_api_key")


def serve(argv: list[str]) -> int:
    """Serves until it is stopped. Exit status: 0 after a clean stop, 2 for invalid settings, else
    1.
    """
    try:
        settings = read_settings(argv)
        _check_address(settings.host, settings.port)
        configure_logging(settings.log_level, settings.log_format)
        if settings.log_format == "json" or not sys.stderr.isatty():
            # Read when transformers is imported; its progress bar would garble the log.
            os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        limit_malloc_arenas()
        set_thread_wait(settings.thread_wait)
        app = create_app(settings)
    except ValidationError as error:
        for problem in error.errors():
            name = "_".join(str(part) for part in problem["loc"])
            given = "" if name in _SECRETS else f"; it is {problem['input']!r}"
            flag = f"{flag_of(name)} (LAMM_{name.upper()})"
            print(f"lamm serve: {flag}: {problem['msg']}{given}", file=sys.stderr)
        return _EXIT_USAGE
    except (CheckpointError, EngineConfigError, OSError, ValueError) as error:
        print(f"lamm serve: {error}", file=sys.stderr)
        return _EXIT_USAGE
    print(loading_message(settings, app), flush=True)
    return uvloop.run(serve_app(settings, app))


def chat(argv: list[str]) -> int:
    """Chats with a running service from the terminal."""
    return run_chat(argv)


async def serve_app(settings: Settings, app: FastAPI) -> int:
    """Serves an app until it is stopped; returns the exit status."""
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
        timeout_keep_alive_s=settings.timeout_keep_alive_s,
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
    """Prints the address once requests are accepted, or why the models cannot be loaded."""
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
        print(ready_message(services, url, settings), flush=True)


async def _end_on_engine_death(server: DrainingServer, lifecycle: Lifecycle) -> None:
    await lifecycle.wait_engine_death()
    print(f"lamm serve: {lifecycle.failure}; see the log for the cause", file=sys.stderr)
    server.should_exit = True


def loading_message(settings: Settings, app: FastAPI) -> str:
    """What is printed before the weights are loaded: one line per model."""
    services: Services = app.state.services
    return "\n".join(
        f"Loading {model.name} from {checkpoint} ({', '.join(['text', *model.spec.modalities])}; "
        f"context {model.max_model_len} tokens; prompts {model.spec.prompt_preset}; "
        f"weights {model.spec.digest[:12]})"
        for model, checkpoint in zip(services.models, settings.checkpoint, strict=True)
    )


def ready_message(services: Services, url: str, settings: Settings) -> str:
    """What is printed once requests are taken: engines, memory, address."""
    keys = "an API key is required" if settings.api_keys or settings.api_keys_file else "no API key"
    pairs = list(zip(services.engines, services.lifecycle.engine_infos, strict=True))
    where = pairs[0][1]
    lines = [f"Ready: {where.engine} engine on {where.device}, {where.dtype}; {keys}"]
    for served, info in pairs:
        if len(served.models) > 1:
            lines.append(f"  models    {', '.join(served.models)}: one language model, one batch")
        elif len(pairs) > 1:
            lines.append(f"  model     {served.label}: its own engine")
        lines += _sizes(info, settings.enable_prefix_caching)
        if info.engine == "torch":
            tokens = batch_sizes(settings).max_num_batched_tokens
            lines.append(f"  steps     up to {tokens} tokens each{_on_threads(info)}")
    page = url if settings.ui else f"{url}/docs"
    lines.append(f"  open      {page}, or run: lamm chat --url {url}")
    return "\n".join(lines)


def _on_threads(info: EngineInfo) -> str:
    if info.num_threads is None:
        return ""
    return f", on {info.num_threads} CPU thread{'s' if info.num_threads > 1 else ''}"


def _sizes(info: EngineInfo, keeps_prefixes: bool) -> tuple[str, str]:
    prefixes = ", shared with finished prefixes" if keeps_prefixes else ""
    return (
        f"  memory    {info.weights_bytes / _MIB:.0f} MiB weights + "
        f"{info.kv_cache_bytes / _MIB:.0f} MiB KV cache ({info.kv_cache_tokens} tokens{prefixes})",
        f"  requests  {info.max_num_seqs} at once, {info.max_concurrent_full_length} at the full "
        f"context of {info.max_model_len} tokens; more wait",
    )


def _check_address(host: str, port: int) -> None:
    """Checks that the address can be bound before anything is loaded.

    Raises:
        OSError: it is in use, not an address of this machine, or not permitted.
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
        f"cannot listen on {host}:{port}: {refusal}; choose another --port (0: any free one) "
        "or --host"
    )


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(serve(sys.argv[1:]))
