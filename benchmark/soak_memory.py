"""A server's memory over time: sampled from /proc or /metrics, and its slope. Called by `soak`."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from benchmark.errors import BenchmarkError

MEGABYTE = 1_000_000
_METRIC = "process_resident_memory_bytes"
_PROC_INTERVAL_S = 1.0
# A scrape costs the server more than reading /proc does.
_METRICS_INTERVAL_S = 5.0


@dataclass(frozen=True, slots=True)
class MemorySample:
    """Resident bytes of the server at `seconds` after the start."""

    seconds: float
    resident_bytes: int


class MemorySampler:
    """Samples until stopped; `source` says where the numbers are from."""

    def __init__(
        self, source: str, read: Callable[[], Awaitable[int | None]], interval_s: float
    ) -> None:
        self.source = source
        self.samples: list[MemorySample] = []
        self._read = read
        self._interval_s = interval_s
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begins to sample; times count from now."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Ends the sampling."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        started = time.perf_counter()
        while True:
            value = await self._read()
            if value is not None:
                self.samples.append(MemorySample(time.perf_counter() - started, value))
            await asyncio.sleep(self._interval_s)


async def find_sampler(http: httpx.AsyncClient, pid: int | None) -> MemorySampler | None:
    """A sampler of this process and its children, else of what /metrics tells; None without either.

    Raises:
        BenchmarkError: there is no such process.
    """
    if pid is not None:
        if resident_bytes(pid) is None:
            raise BenchmarkError(f"--server-pid {pid}: /proc holds no such process")

        async def from_proc() -> int | None:
            return resident_bytes(pid)

        return MemorySampler(f"process {pid} and its children", from_proc, _PROC_INTERVAL_S)

    async def from_metrics() -> int | None:
        return await _scraped(http)

    if await from_metrics() is None:
        return None
    return MemorySampler(f"/metrics, {_METRIC}", from_metrics, _METRICS_INTERVAL_S)


def resident_bytes(pid: int) -> int | None:
    """Resident memory of a process and all its descendants; None once it is gone. Linux alone."""
    total: int | None = None
    waiting = [pid]
    while waiting:
        process = Path("/proc", str(waiting.pop()))
        try:
            pages = int((process / "statm").read_text().split()[1])
            for task in (process / "task").iterdir():
                waiting += map(int, (task / "children").read_text().split())
        except (OSError, IndexError, ValueError):
            continue  # it ended while we read
        total = (total or 0) + pages * os.sysconf("SC_PAGE_SIZE")
    return total


def slope(samples: Sequence[MemorySample], after_s: float) -> float | None:
    """Least-squares slope in MB per minute over the samples from `after_s` on; None under three."""
    kept = [sample for sample in samples if sample.seconds >= after_s]
    if len(kept) < 3:
        return None
    mean_x = sum(sample.seconds for sample in kept) / len(kept)
    mean_y = sum(sample.resident_bytes for sample in kept) / len(kept)
    above = sum((s.seconds - mean_x) * (s.resident_bytes - mean_y) for s in kept)
    below = sum((s.seconds - mean_x) ** 2 for s in kept)
    return above / below * 60 / MEGABYTE


def as_json(sampler: MemorySampler | None, after_s: float) -> dict[str, Any]:
    """For the result file: source, slope and every sample (seconds, MB)."""
    if sampler is None:
        return {"source": None, "slope_mb_per_min": None, "samples": []}
    return {
        "source": sampler.source,
        "warm_up_s": after_s,
        "slope_mb_per_min": slope(sampler.samples, after_s),
        "samples": [
            [round(sample.seconds, 2), round(sample.resident_bytes / MEGABYTE, 2)]
            for sample in sampler.samples
        ],
    }


async def _scraped(http: httpx.AsyncClient) -> int | None:
    try:
        response = await http.get("/metrics")
    except httpx.TransportError:
        return None
    for line in response.text.splitlines() if response.is_success else ():
        if line.startswith(_METRIC):
            return int(float(line.split()[-1]))
    return None
