"""A server's memory and open files over time, from /proc or /metrics, and the memory slope."""

from __future__ import annotations

import asyncio
import os
import statistics
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
# Scraping costs the server more than reading /proc.
_METRICS_INTERVAL_S = 5.0
_PAIRED_SAMPLES = 500


@dataclass(frozen=True, slots=True)
class MemorySample:
    """Resident bytes of the server and its children at `seconds` after the start.

    `open_files` counts the descriptors of all of them; None if not available.
    """

    seconds: float
    resident_bytes: int
    children_bytes: int | None = None
    open_files: int | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """Memory and open files of a server, see `MemorySample`."""

    resident_bytes: int
    children_bytes: int | None = None
    open_files: int | None = None


class MemorySampler:
    """Samples until stopped; `source` names the origin of the values."""

    def __init__(
        self, source: str, read: Callable[[], Awaitable[Usage | None]], interval_s: float
    ) -> None:
        self.source = source
        self.samples: list[MemorySample] = []
        self._read = read
        self._interval_s = interval_s
        self._started = 0.0
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Starts sampling; times count from now."""
        self._started = time.perf_counter()
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Stops sampling."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def read_files(self) -> int | None:
        """The number of open descriptors."""
        usage = await self._read()
        return None if usage is None else usage.open_files

    async def _run(self) -> None:
        while True:
            usage = await self._read()
            if usage is not None:
                seconds = time.perf_counter() - self._started
                self.samples.append(
                    MemorySample(
                        seconds, usage.resident_bytes, usage.children_bytes, usage.open_files
                    )
                )
            await asyncio.sleep(self._interval_s)


async def find_sampler(http: httpx.AsyncClient, pid: int | None) -> MemorySampler | None:
    """A sampler of process `pid` and its children, or of /metrics; None without either.

    Raises:
        BenchmarkError: process not found.
    """
    if pid is not None:
        if usage_of(pid) is None:
            raise BenchmarkError(f"--server-pid is {pid}, but /proc has no such process")

        async def from_proc() -> Usage | None:
            return usage_of(pid)

        return MemorySampler(f"process {pid} and its children", from_proc, _PROC_INTERVAL_S)

    async def from_metrics() -> Usage | None:
        resident = await _scraped(http)
        return None if resident is None else Usage(resident)

    if await from_metrics() is None:
        return None
    return MemorySampler(f"/metrics, {_METRIC}", from_metrics, _METRICS_INTERVAL_S)


def usage_of(pid: int) -> Usage | None:
    """Usage of a process and its descendants; None if it has ended. Linux only."""
    own = _usage_of_one(pid)
    if own is None:
        return None
    resident, files, waiting = own
    children = 0
    while waiting:
        child = _usage_of_one(waiting.pop())
        if child is not None:
            children += child[0]
            files = None if files is None or child[1] is None else files + child[1]
            waiting += child[2]
    return Usage(resident + children, children, files)


def resident_bytes(pid: int) -> int | None:
    """Resident memory of a process and its descendants; None if it has ended."""
    usage = usage_of(pid)
    return None if usage is None else usage.resident_bytes


def slope(samples: Sequence[MemorySample], after_s: float) -> float | None:
    """Slope in MB per minute over the samples from `after_s` on; None for fewer than three.

    Theil-Sen estimator, the median slope over all pairs of samples: less sensitive to bursts and
    steps than least squares.
    """
    kept = [sample for sample in samples if sample.seconds >= after_s]
    if len(kept) < 3:
        return None
    # The number of pairs is quadratic; a few hundred samples are enough.
    kept = kept[:: max(1, len(kept) // _PAIRED_SAMPLES)]
    slopes = [
        (later.resident_bytes - sooner.resident_bytes) / (later.seconds - sooner.seconds)
        for index, sooner in enumerate(kept)
        for later in kept[index + 1 :]
        if later.seconds > sooner.seconds
    ]
    return statistics.median(slopes) * 60 / MEGABYTE if slopes else None


def as_json(sampler: MemorySampler | None, after_s: float) -> dict[str, Any]:
    """Source, slope and all samples (seconds, MB, MB of children, files) as JSON."""
    if sampler is None:
        return {"source": None, "slope_mb_per_min": None, "samples": []}
    return {
        "source": sampler.source,
        "warm_up_s": after_s,
        "slope_mb_per_min": slope(sampler.samples, after_s),
        "samples": [
            [
                round(sample.seconds, 2),
                round(sample.resident_bytes / MEGABYTE, 2),
                None
                if sample.children_bytes is None
                else round(sample.children_bytes / MEGABYTE, 2),
                sample.open_files,
            ]
            for sample in sampler.samples
        ],
    }


def _usage_of_one(pid: int) -> tuple[int, int | None, list[int]] | None:
    """Resident bytes, open files and children of one process; None if it has ended."""
    process = Path("/proc", str(pid))
    children: list[int] = []
    try:
        pages = int((process / "statm").read_text().split()[1])
        files = _open_files(process)
        for task in (process / "task").iterdir():
            children += map(int, (task / "children").read_text().split())
    except (OSError, IndexError, ValueError):
        return None  # ended while being read
    return pages * os.sysconf("SC_PAGE_SIZE"), files, children


def _open_files(process: Path) -> int | None:
    """Number of open descriptors; None for a process of another user."""
    try:
        return len(os.listdir(process / "fd"))
    except PermissionError:
        return None


async def _scraped(http: httpx.AsyncClient) -> int | None:
    try:
        response = await http.get("/metrics")
    except httpx.TransportError:
        return None
    for line in response.text.splitlines() if response.is_success else ():
        if line.startswith(_METRIC):
            return int(float(line.split()[-1]))
    return None
