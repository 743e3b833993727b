"""A serving process's threads share few of malloc's arenas, and what is free is given back."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

# Each thread asks malloc for a piece while all of them live; malloc_stats names every arena.
_PROGRAM = """
import ctypes, sys, threading
from service.startup.interpreter import limit_malloc_arenas
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
if sys.argv[1] == "limited":
    limit_malloc_arenas()
together = threading.Barrier(12)
def ask():
    together.wait()
    libc.malloc(100_000)
    together.wait()
threads = [threading.Thread(target=ask) for _ in range(12)]
for thread in threads: thread.start()
for thread in threads: thread.join()
libc.malloc_stats()
"""

# Every second piece is freed: what is left keeps the heap from shrinking by itself.
_HOLES = """
import asyncio, contextlib, ctypes
from service.startup.interpreter import give_memory_back
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.free.argtypes = [ctypes.c_void_p]
def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096
pieces = [libc.malloc(60_000) for _ in range(2000)]
for piece in pieces: ctypes.memset(piece, 1, 60_000)
for piece in pieces[::2]: libc.free(piece)
before = resident()
async def main():
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(give_memory_back(0.05), 1)
asyncio.run(main())
print(before - resident())
"""


def _arenas(mode: str, **environment: str) -> int:
    return _run(_PROGRAM, mode, **environment).stderr.count("Arena ")


def _run(program: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {k: v for k, v in os.environ.items() if k not in ("MALLOC_ARENA_MAX", "GLIBC_TUNABLES")}
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env={**kept, **environment},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )


_glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of glibc alone")


@_glibc
def test_threads_share_two_arenas_unless_the_operator_says_otherwise() -> None:
    assert _arenas("plain") > 4
    assert _arenas("limited") == 2
    assert _arenas("limited", MALLOC_ARENA_MAX="4") == 4


@_glibc
def test_what_was_freed_between_what_stays_is_given_back() -> None:
    assert int(_run(_HOLES).stdout) > 40_000_000
