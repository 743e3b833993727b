"""A server's memory and open files over time: from /proc or /metrics, and the slope. For `soak`."""

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
# A scrape costs the server more than reading /proc does.
_METRICS_INTERVAL_S = 5.0
_PAIRED_SAMPLES = 500


@dataclass(frozen=True, slots=True)
class MemorySample:
    """Resident bytes of the server at `seconds` after the start, its children's among them.

    `open_files` are the descriptors of all of them; None where they cannot be counted.
    """

    seconds: float
    resident_bytes: int
    children_bytes: int | None = None
    open_files: int | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """What a server uses at one moment, see `MemorySample`."""

    resident_bytes: int
    children_bytes: int | None = None
    open_files: int | None = None


class MemorySampler:
    """Samples until stopped; `source` says where the numbers are from."""

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
        """Begins to sample; times count from now."""
        self._started = time.perf_counter()
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Ends the sampling."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def read_files(self) -> int | None:
        """The descriptors that are open now."""
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
    """A sampler of this process and its children, else of what /metrics tells; None without either.

    Raises:
        BenchmarkError: there is no such process.
    """
    if pid is not None:
        if usage_of(pid) is None:
            raise BenchmarkError(f"--server-pid {pid}: /proc holds no such process")

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
    """What a process and all its descendants use; None once it is gone. Linux alone."""
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
    """Resident memory of a process and all its descendants; None once it is gone."""
    usage = usage_of(pid)
    return None if usage is None else usage.resident_bytes


def slope(samples: Sequence[MemorySample], after_s: float) -> float | None:
    """Slope in MB per minute over the samples from `after_s` on; None under three.

    The median of the slopes between all pairs of samples (Theil and Sen): a burst of work that is
    given back, or a step that stays one, does not tilt it as it does a fit of least squares.
    """
    kept = [sample for sample in samples if sample.seconds >= after_s]
    if len(kept) < 3:
        return None
    # Pairs grow with the square; of hours, a few hundred samples tell the same.
    kept = kept[:: max(1, len(kept) // _PAIRED_SAMPLES)]
    slopes = [
        (later.resident_bytes - sooner.resident_bytes) / (later.seconds - sooner.seconds)
        for index, sooner in enumerate(kept)
        for later in kept[index + 1 :]
        if later.seconds > sooner.seconds
    ]
    return statistics.median(slopes) * 60 / MEGABYTE if slopes else None


def as_json(sampler: MemorySampler | None, after_s: float) -> dict[str, Any]:
    """For the result file: source, slope and every sample (seconds, MB, MB of children, files)."""
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
    """Resident bytes, open files and children of one process; None once it is gone."""
    process = Path("/proc", str(pid))
    children: list[int] = []
    try:
        pages = int((process / "statm").read_text().split()[1])
        files = _open_files(process)
        for task in (process / "task").iterdir():
            children += map(int, (task / "children").read_text().split())
    except (OSError, IndexError, ValueError):
        return None  # it ended while we read
    return pages * os.sysconf("SC_PAGE_SIZE"), files, children


def _open_files(process: Path) -> int | None:
    """How many descriptors a process has open; None where it is another user's."""
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
