"""CPU threads of an engine: what the machine offers, and what the model can use.

Torch starts one thread per core that it sees. A container's quota may be lower, and a small
model's products are too short for a second thread: waking it takes as long as it saves.
"""

from __future__ import annotations

import os
from pathlib import Path

import torch

_CGROUP_V2 = Path("/sys/fs/cgroup/cpu.max")
_CGROUP_V1 = Path("/sys/fs/cgroup/cpu")
# Set by whoever starts the process: a container's manifest, Ray, a test.
_THREADS_VARIABLE = "OMP_NUM_THREADS"
# Below this, one thread is about as fast as two, and faster beside other processes: see
# `benchmark.baselines.neighbour`.
ONE_THREAD_BYTES = 64 << 20


def available_cpus(
    *, quota_v2: Path = _CGROUP_V2, quota_v1: Path = _CGROUP_V1, affinity: int | None = None
) -> int:
    """CPUs that this process may use, at least 1: its affinity, and the quota of its cgroup.

    A quota of 2.5 CPUs counts as 2: a third thread would be stopped half of the time, and the
    others would wait for it.
    """
    cpus = len(os.sched_getaffinity(0)) if affinity is None else affinity
    quota = _quota(quota_v2, quota_v1)
    return cpus if quota is None else max(1, min(cpus, int(quota)))


def choose_num_threads(asked: int | None, weights_bytes: int, default: int) -> int:
    """The threads of an engine on CPUs. A number in `OMP_NUM_THREADS` is kept.

    Args:
        asked: the operator's number, which is used as it is.
        weights_bytes: size of the weights in memory.
        default: torch's number: that of `OMP_NUM_THREADS`, or one per core.
    """
    if asked is not None:
        return asked
    if os.environ.get(_THREADS_VARIABLE):
        return default
    return 1 if weights_bytes < ONE_THREAD_BYTES else min(default, available_cpus())


def use_threads(asked: int | None, weights_bytes: int) -> int:
    """Sets torch's threads for the calling thread; returns their number."""
    chosen = choose_num_threads(asked, weights_bytes, torch.get_num_threads())
    torch.set_num_threads(chosen)
    return chosen


def _quota(v2: Path, v1: Path) -> float | None:
    """CPUs of the cgroup's quota; None without one."""
    try:
        limit, interval = v2.read_text().split()
        return None if limit == "max" else int(limit) / int(interval)
    except (OSError, ValueError):
        pass
    try:
        microseconds = int((v1 / "cpu.cfs_quota_us").read_text())
        period = int((v1 / "cpu.cfs_period_us").read_text())
        return microseconds / period if microseconds > 0 else None
    except (OSError, ValueError, ZeroDivisionError):
        return None
