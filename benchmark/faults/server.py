"""The server under test: `lamm serve` in a child process, with faults enabled.

Its log is kept; its files are on a small file system if one can be mounted; faults of its engine
are requested through a directory that clients cannot reach.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

from benchmark.errors import BenchmarkError

DISK_BYTES = 4_000_000
_LOOKED_AGAIN_S = 0.05
_MEDIA_WORKER = b"service.media.worker"
# A file system for uploads that only the server sees; does not need root.
_OWN_DISK = 'mount -t tmpfs -o size=$1 tmpfs "$2" && shift 2 && exec "$@"'
_NEW_NAMES = ("unshare", "--mount", "--map-root-user", "--")
# The fallback: a file size limit, which causes similar errors.
_NO_LARGE_FILES = (
    "import os, resource, sys; size = int(sys.argv[1]); "
    "resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)); os.execvp(sys.argv[2], sys.argv[2:])"
)


@dataclass(frozen=True, slots=True)
class ServerSpec:
    """The checkpoint to serve, and the longest start in seconds."""

    checkpoint: Path
    start_timeout_s: float


class FaultServer:
    """A running server. `own_disk`: its files are on a file system of `DISK_BYTES`."""

    def __init__(
        self, process: asyncio.subprocess.Process, port: int, directory: Path, own_disk: bool
    ) -> None:
        self._process, self._directory = process, directory
        self.port, self.own_disk = port, own_disk
        self._lines: list[str] = []
        self._reading = asyncio.create_task(self._read())

    @property
    def url(self) -> str:
        """Address of the server."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        """All log lines so far."""
        return "\n".join(self._lines)

    @property
    def files(self) -> Path:
        """Directory of its uploads, as seen by this process."""
        inside = self._directory / "files"
        return Path(f"/proc/{self._process.pid}/root{inside}") if self.own_disk else inside

    def media_workers(self) -> list[int]:
        """Process ids of its decoding processes."""
        found: list[int] = []
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{self._process.pid}/task").iterdir():
                found += map(int, (task / "children").read_text().split())
        return sorted(pid for pid in found if is_media_worker(pid))

    @contextlib.contextmanager
    def fault(self, name: str) -> Iterator[Path]:
        """Requests a fault from the engine while the context is active."""
        path = self._directory / "faults" / name
        path.touch()
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal to the server."""
        self._process.send_signal(number)

    async def logged(self, pattern: str) -> str:
        """Waits for a log line that matches."""
        while True:
            for line in self._lines:
                if re.search(pattern, line):
                    return line
            await asyncio.sleep(_LOOKED_AGAIN_S)

    async def wait(self) -> int:
        """Waits for the end; returns the exit status."""
        status = await self._process.wait()
        await self._reading
        return status

    async def kill(self) -> None:
        """Kills the server if it still runs."""
        if self._process.returncode is None:
            # A stopped decoding process does not notice the end of its parent.
            for pid in self.media_workers():
                os.kill(pid, signal.SIGKILL)
            self._process.kill()
        await self.wait()

    async def until_ready(self, timeout_s: float) -> None:
        """Waits until the server takes requests.

        Raises:
            BenchmarkError: it ended, or was not ready in time.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s), httpx.AsyncClient(trust_env=False) as http:
                while self._process.returncode is None:
                    with contextlib.suppress(httpx.TransportError):
                        if (await http.get(f"{self.url}/readyz")).is_success:
                            return
                    await asyncio.sleep(_LOOKED_AGAIN_S)
        last = " / ".join(self._lines[-3:])
        status = self._process.returncode
        why = f"was not ready within {timeout_s:g} s" if status is None else f"ended with {status}"
        raise BenchmarkError(f"the server {why}: {last}")

    async def _read(self) -> None:
        stdout = self._process.stdout
        if stdout is not None:
            async for line in stdout:
                self._lines.append(line.decode(errors="replace").rstrip())


@contextlib.asynccontextmanager
async def serving(
    spec: ServerSpec, *flags: str, port: int | None = None
) -> AsyncIterator[FaultServer]:
    """A ready server, killed at the end of the context.

    Raises:
        BenchmarkError: it does not start.
    """
    directory = Path(tempfile.mkdtemp(prefix="lamm-faults-"))
    try:
        for name in ("faults", "files"):
            (directory / name).mkdir()
        port = port or _free_port()
        own_disk = await _can_mount()
        command = [
            sys.executable, "-m", "service.cli", "--checkpoint", str(spec.checkpoint),
            "--port", str(port), "--files-dir", str(directory / "files"), *flags,
        ]  # fmt: skip
        process = await asyncio.create_subprocess_exec(
            *_with_disk(command, directory / "files", own_disk),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={**os.environ, "PYTHONUNBUFFERED": "1",
                 "LAMM_FAULT_DIRECTORY": str(directory / "faults")},
        )  # fmt: skip
        server = FaultServer(process, port, directory, own_disk)
        try:
            await server.until_ready(spec.start_timeout_s)
            yield server
        finally:
            await server.kill()
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def is_media_worker(pid: int) -> bool:
    """Whether `pid` is a running decoding process."""
    try:
        return _MEDIA_WORKER in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def _with_disk(command: Sequence[str], files: Path, own_disk: bool) -> list[str]:
    size = str(DISK_BYTES)
    if own_disk:
        return [*_NEW_NAMES, "sh", "-c", _OWN_DISK, "sh", size, str(files), *command]
    return [sys.executable, "-c", _NO_LARGE_FILES, size, *command]


async def _can_mount() -> bool:
    """Whether a file system can be mounted for a single process."""
    if shutil.which(_NEW_NAMES[0]) is None:
        return False
    tried = await asyncio.create_subprocess_exec(
        *_NEW_NAMES, "sh", "-c", "mount -t tmpfs -o size=65536 tmpfs /tmp",
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    return await tried.wait() == 0


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port
