"""Process-wide tuning: malloc and OpenMP before the engines load, the interpreter after it.

Only the command line calls it, never an app: all of it affects the whole process.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import logging
import os
import sys

_log = logging.getLogger(__name__)

# The engine's thread, the event loop and the threads that parse large bodies share the GIL. A
# thread that wants it waits this long before the holder is asked to release it. Python's default of
# five milliseconds adds up: a probe needs the GIL a few times, and so does each operation of a
# step.
_SWITCH_INTERVAL_S = 0.001

# From malloc.h. By default glibc has eight arenas per core, each of which stays at its peak size.
# Over minutes of load every thread reaches its peak, and memory grows.
_M_ARENA_MAX = -8
_ARENAS = 2
_ARENAS_VARIABLE = "MALLOC_ARENA_MAX"

# Read by libgomp and libiomp when they are loaded.
_WAIT_VARIABLES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")

# With so many busy processes, `auto` lets threads sleep.
_BUSY_LOAD = 0.5

# Freed chunks of a load peak lie between others that stay in use, about a tenth of the heap.
# Trimming takes milliseconds, during which allocations of other threads wait.
_TRIM_INTERVAL_S = 10.0


def limit_malloc_arenas() -> None:
    """Limits glibc to two malloc arenas, unless MALLOC_ARENA_MAX is set in the environment.

    Has no effect with another C library.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None and _ARENAS_VARIABLE not in os.environ:
        mallopt(_M_ARENA_MAX, _ARENAS)


async def give_memory_back(interval_s: float = _TRIM_INTERVAL_S) -> None:
    """Returns unused malloc memory to the operating system periodically.

    Ends at once with a C library other than glibc.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    while trim is not None:
        await asyncio.sleep(interval_s)
        await asyncio.to_thread(trim, 0)


def set_thread_wait(policy: str, load: float | None = None) -> None:
    """Sets whether OpenMP's threads sleep (`passive`) or spin (`active`) while they wait for work.

    Spinning is faster on a quiet machine. When another process takes one of their cores, threads
    that spin burn the others until it returns. Has no effect if the operator set a variable for it.

    Args:
        policy: `passive`, `active`, or `auto`: by the load.
        load: number of busy processes; None: the average of the last minute.
    """
    if any(os.environ.get(name) for name in _WAIT_VARIABLES):
        return
    if "torch" in sys.modules:
        _log.warning("--thread-wait %s has no effect: torch is loaded already", policy)
        return
    if policy == "auto":
        busy = os.getloadavg()[0] if load is None else load
        policy = "passive" if busy >= _BUSY_LOAD else "active"
    os.environ[_WAIT_VARIABLES[0]] = policy.upper()


def settle_interpreter() -> None:
    """Shortens the GIL switch interval, and freezes the loaded objects out of garbage collection.

    Libraries and weights are hundreds of thousands of permanent objects. A full collection would
    visit each of them while all threads wait.
    """
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    gc.collect()
    gc.freeze()
