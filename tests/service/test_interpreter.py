"""A serving process's threads share few of malloc's arenas."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

# Each thread asks malloc for a piece while all of them live; malloc_stats names every arena.
_PROGRAM = """
import ctypes, sys, threading
from service.interpreter import limit_malloc_arenas
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


def _arenas(mode: str, **environment: str) -> int:
    kept = {k: v for k, v in os.environ.items() if k not in ("MALLOC_ARENA_MAX", "GLIBC_TUNABLES")}
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, mode],
        env={**kept, **environment},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stderr.count("Arena ")


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library has no arenas")
def test_threads_share_two_arenas_unless_the_operator_says_otherwise():
    assert _arenas("plain") > 4
    assert _arenas("limited") == 2
    assert _arenas("limited", MALLOC_ARENA_MAX="4") == 4
