"""A soak test: many clients for minutes, with probes and memory beside them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx

from benchmark.http.client import ChatClient
from benchmark.load.metrics import percentile
from benchmark.soak import memory as soak_memory
from benchmark.soak import report as soak_report
from benchmark.soak.clients import Crowd, CrowdSpec, Outcome, run_crowd
from benchmark.soak.memory import MemorySampler
from benchmark.soak.probes import ProbeProcess
from benchmark.soak.requests import SoakRequests
from benchmark.soak.verify import Verification, verify

_SETTLE_S = 30.0
_CLOSING_S = 5.0
_POLL_S = 0.1
_MINUTE = 60.0
_WARM_UP_SHARE = 0.2


@dataclass(frozen=True, slots=True)
class SoakSpec:
    """One soak test of the server at `url`.

    `verify_limit` is the number of answers to compare; None compares all. The memory slope excludes
    the first `warm_up_s`; None is a fifth of the test, at most a minute.
    """

    url: str
    crowd: CrowdSpec
    warm_up_s: float | None
    probe_interval_s: float
    server_pid: int | None
    verify_limit: int | None


@dataclass(frozen=True, slots=True)
class Clients:
    """HTTP clients: `crowd` for the load, whose read timeout defines hung requests; `side` for
    /health and /metrics; `alone` for the server that gives the reference answers.
    """

    crowd: httpx.AsyncClient
    side: httpx.AsyncClient
    alone: httpx.AsyncClient


async def run_soak(
    clients: Clients,
    requests: SoakRequests,
    spec: SoakSpec,
    tell: Callable[[str], None] = lambda _what: None,
) -> dict[str, Any]:
    """Runs the crowd with probes and memory sampling, then the same requests alone.

    `tell` is called with progress messages.

    Raises:
        BenchmarkError: process `server_pid` not found, or the probing process ended early.
    """
    crowd = Crowd()
    sampler = await soak_memory.find_sampler(clients.side, spec.server_pid)
    clients.crowd.event_hooks = {"response": [crowd.on_response]}
    files = [None if sampler is None else await sampler.read_files()]
    probes = await ProbeProcess.start(spec.url, spec.probe_interval_s)
    cpu_seconds = time.process_time()
    try:
        if sampler is not None:
            sampler.start()
        client = ChatClient(clients.crowd, spec.crowd.clients)
        await run_crowd(client, requests, spec.crowd, crowd, lambda now: tell(_told(now)))
    finally:
        if sampler is not None:
            await sampler.stop()
        cpu_seconds = time.process_time() - cpu_seconds
        probed = await probes.stop()
    tell("waiting for the engine to be idle")
    left = await _left_behind(clients.side)
    # Close the connections of the crowd, so that the server's descriptors go back.
    await clients.crowd.aclose()
    files.append(await _files_left(sampler, files[0]))

    def tell_checked(found: Verification) -> None:
        tell(f"alone: {found.checked} compared, {len(found.wrong)} wrong")

    checked = await verify(
        ChatClient(clients.alone, 1), requests, crowd.finished, spec.verify_limit, tell_checked
    )
    warm_up_s = spec.warm_up_s
    if warm_up_s is None:
        warm_up_s = min(_MINUTE, _WARM_UP_SHARE * crowd.seconds)
    return {
        "seconds": crowd.seconds,
        "outcomes": {outcome.value: crowd.counts[outcome] for outcome in Outcome},
        "finished_per_s": crowd.counts[Outcome.FINISHED] / max(crowd.seconds, 1e-9),
        "latency_ms": _latency(crowd),
        "statuses": {str(status): count for status, count in sorted(crowd.statuses.items())},
        "refusals_without_retry_after": crowd.refusals_without_retry_after,
        "examples": {outcome.value: errors for outcome, errors in crowd.examples.items()},
        "verification": checked.as_json(),
        "memory": soak_memory.as_json(sampler, warm_up_s),
        "open_files": files,
        "client_cpu_share": cpu_seconds / max(crowd.seconds, 1e-9),
        "probes": probed,
        "left_behind": left,
    }


async def _left_behind(side: httpx.AsyncClient) -> dict[str, Any] | None:
    """Waits until /health counts no requests, at most half a minute; returns the counts.

    None if the server does not count them.
    """
    started = time.perf_counter()
    while True:
        try:
            body = (await side.get("/health")).json()
            running, waiting = int(body["running"]), int(body["waiting"])
        except (httpx.TransportError, ValueError, LookupError, TypeError):
            return None
        seconds = time.perf_counter() - started
        if not running + waiting or seconds > _SETTLE_S:
            return {"running": running, "waiting": waiting, "seconds": seconds}
        await asyncio.sleep(_POLL_S)


async def _files_left(sampler: MemorySampler | None, before: int | None) -> int | None:
    """Waits until few descriptors are open, at most a few seconds; returns their number."""
    if sampler is None or before is None:
        return None
    started = time.perf_counter()
    while True:
        now = await sampler.read_files()
        few = now is not None and now <= before + soak_report.SPARE_FILES
        if few or time.perf_counter() - started > _CLOSING_S:
            return now
        await asyncio.sleep(_POLL_S)


def _latency(crowd: Crowd) -> dict[str, float]:
    ordered = sorted(1000 * one.seconds for one in crowd.finished)
    return {f"p{rank}": percentile(ordered, rank) for rank in (50, 90, 99)} if ordered else {}


def _told(crowd: Crowd) -> str:
    """Counts by outcome, for the status line."""
    counts = ", ".join(
        f"{count} {outcome.value.replace('_', ' ')}" for outcome, count in crowd.counts.items()
    )
    return f"soaking: {counts}"
