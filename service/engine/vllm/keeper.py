"""Runs a server and ends all its processes when its owner ends, however that ends.

Run as a script with the server's command, in any Python: it uses the standard library alone. The
owner holds the other end of standard input, which closes when it dies. A signal to the server alone
is not enough: killed at once, it leaves its workers behind. This process is no member of the
server's process group, so whatever befalls that group, it is there to end the rest.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import subprocess
import sys
from contextlib import suppress

# Seconds between SIGTERM and SIGKILL.
GRACE_S = 15.0
_PR_SET_PDEATHSIG = 1
_POLL_S = 0.1


def main(command: list[str]) -> int:
    """Runs the command until it ends or is to end; returns its status, negative for a signal."""
    asked: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda received, _frame: asked.append(received))
    # Decoders that were forked from the owner may hold its end of standard input for a moment.
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    server = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)  # noqa: S603 - the engine's own command
    while server.poll() is None and not asked and not _owner_is_gone():
        pass
    if server.poll() is None:
        _signal_group(server.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            server.wait(GRACE_S)
    # Workers of a server that was killed live on otherwise.
    _signal_group(server.pid, signal.SIGKILL)
    return server.wait()


def _owner_is_gone() -> bool:
    """Whether standard input has closed; waits a moment for it."""
    readable, _, _ = select.select([0], [], [], _POLL_S)
    return bool(readable) and not os.read(0, 1)


def _signal_group(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(pid, number)


if __name__ == "__main__":
    status = main(sys.argv[1:])
    if status < 0:
        # Ends as the server did, for who reads the status.
        signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    sys.exit(status)
