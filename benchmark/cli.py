"""`lamm bench quality | load | soak`: measures a server over HTTP. Called by the `lamm` command."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence

import httpx
from rich.console import Console

from benchmark.commands.judge import judge_command
from benchmark.commands.load import load_command
from benchmark.commands.parser import bench_parser
from benchmark.commands.quality import quality_command
from benchmark.commands.report import report_command
from benchmark.errors import BenchmarkError
from benchmark.faults.run import faults_command
from benchmark.http.client import server_root
from benchmark.soak.run import soak_command

FAILED = 1
# Idle connections are given up before servers do (uvicorn after 5 s), or a request that is on its
# way at that moment would be lost.
_IDLE_S = 2.0


def bench(argv: Sequence[str] | None = None) -> int:
    """Runs a sub-command; 0 when everything was measured, 1 when something was not."""
    arguments = bench_parser().parse_args(argv)
    console = Console()
    try:
        if arguments.command == "quality":
            return quality_command(arguments, console)
        if arguments.command == "report":
            return report_command(arguments, console)
        if arguments.command in ("judge", "faults"):
            command = judge_command if arguments.command == "judge" else faults_command
            return asyncio.run(command(arguments, console))
        if arguments.command == "soak":
            return asyncio.run(_soak(arguments, console))
        return asyncio.run(_load(arguments, console))
    except BenchmarkError as error:
        stderr = Console(stderr=True)
        stderr.print(f"lamm bench: {error}", style="red", markup=False, soft_wrap=True)
        return FAILED


async def _load(arguments: argparse.Namespace, console: Console) -> int:
    async with _http(arguments) as http:
        http.headers.update(dict(arguments.header))
        return await load_command(arguments, console, http)


async def _soak(arguments: argparse.Namespace, console: Console) -> int:
    async with _http(arguments) as http:
        return await soak_command(arguments, console, http)


def _http(arguments: argparse.Namespace) -> httpx.AsyncClient:
    headers = {"Authorization": f"Bearer {arguments.api_key}"} if arguments.api_key else {}
    # The client's own semaphores bound what is in flight; a second bound would hide queueing.
    limits = httpx.Limits(
        max_connections=None, max_keepalive_connections=None, keepalive_expiry=_IDLE_S
    )
    return httpx.AsyncClient(
        base_url=server_root(arguments.url),
        headers=headers,
        limits=limits,
        timeout=httpx.Timeout(arguments.timeout, connect=10.0),
        trust_env=False,
    )


if __name__ == "__main__":
    sys.exit(bench())
