"""How this process is set for serving: its memory before the engines load and while they serve,
its interpreter in between.

All of it is the whole process's, so no app does it: only `cli`, whose process it is.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import os
import sys

# The engine's thread, the event loop and the threads that parse large bodies share one lock; who
# wants it waits for so long before its holder is asked to let go. Python's own five milliseconds
# add up: a probe needs the lock a few times, and so does every operation of a step.
_SWITCH_INTERVAL_S = 0.001

# Of malloc.h. By default glibc has eight arenas a core, each of which stays as large as its largest
# moment: a crowd's threads take minutes to have had all of theirs, and memory grows meanwhile.
_M_ARENA_MAX = -8
_ARENAS = 2
_ARENAS_VARIABLE = "MALLOC_ARENA_MAX"

# A crowd's freed pieces lie between others that stay, a tenth of the heap. Giving them back takes
# some milliseconds, in which other threads' allocations wait.
_TRIM_INTERVAL_S = 10.0


def limit_malloc_arenas() -> None:
    """Lets all threads share two arenas; the environment's own MALLOC_ARENA_MAX goes before.

    Without effect under a C library other than glibc, which has no such arenas.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None and _ARENAS_VARIABLE not in os.environ:
        mallopt(_M_ARENA_MAX, _ARENAS)


async def give_memory_back(interval_s: float = _TRIM_INTERVAL_S) -> None:
    """Hands what malloc holds and nobody uses to the operating system, again and again.

    Ends at once under a C library other than glibc.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    while trim is not None:
        await asyncio.sleep(interval_s)
        await asyncio.to_thread(trim, 0)


def settle_interpreter() -> None:
    """Hands the lock over sooner, and takes what was loaded out of the garbage collector's rounds.

    Libraries and weights are hundreds of thousands of objects that stay. A full collection would
    look at each of them, with every thread standing still meanwhile.
    """
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    gc.collect()
    gc.freeze()
