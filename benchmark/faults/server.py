"""The server under test: `lamm serve` in a process of its own, with everything to hurt it by.

Made by `faults`. What it logs is kept, its files lie on a disk of a few megabytes where that can be
had, and faults are asked of its engine through a directory that no client reaches.
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
# A file system of its own for the uploads, seen by the server alone; needs no root.
_OWN_DISK = 'mount -t tmpfs -o size=$1 tmpfs "$2" && shift 2 && exec "$@"'
_NEW_NAMES = ("unshare", "--mount", "--map-root-user", "--")
# Where no file system can be mounted: no file may grow further, which errs alike.
_NO_LARGE_FILES = (
    "import os, resource, sys; size = int(sys.argv[1]); "
    "resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)); os.execvp(sys.argv[2], sys.argv[2:])"
)


@dataclass(frozen=True, slots=True)
class ServerSpec:
    """What is served, and how many seconds a start may take."""

    checkpoint: Path
    start_timeout_s: float


class FaultServer:
    """One running server. `own_disk`: its files are on a file system of `DISK_BYTES`."""

    def __init__(
        self, process: asyncio.subprocess.Process, port: int, directory: Path, own_disk: bool
    ) -> None:
        self._process, self._directory = process, directory
        self.port, self.own_disk = port, own_disk
        self._lines: list[str] = []
        self._reading = asyncio.create_task(self._read())

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        """All that it wrote so far."""
        return "\n".join(self._lines)

    @property
    def files(self) -> Path:
        """Where its uploads lie, as this process can read it."""
        inside = self._directory / "files"
        return Path(f"/proc/{self._process.pid}/root{inside}") if self.own_disk else inside

    def media_workers(self) -> list[int]:
        """Its decoding processes."""
        found: list[int] = []
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{self._process.pid}/task").iterdir():
                found += map(int, (task / "children").read_text().split())
        return sorted(pid for pid in found if is_media_worker(pid))

    @contextlib.contextmanager
    def fault(self, name: str) -> Iterator[Path]:
        """Asks the engine for a fault; in the end it is asked for no longer."""
        path = self._directory / "faults" / name
        path.touch()
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)

    def signal(self, number: signal.Signals) -> None:
        """Sends it a signal."""
        self._process.send_signal(number)

    async def logged(self, pattern: str) -> str:
        """The first line that matches, as soon as it is there."""
        while True:
            for line in self._lines:
                if re.search(pattern, line):
                    return line
            await asyncio.sleep(_LOOKED_AGAIN_S)

    async def wait(self) -> int:
        """Its exit status, once it has ended."""
        status = await self._process.wait()
        await self._reading
        return status

    async def kill(self) -> None:
        """Ends it if it still runs."""
        if self._process.returncode is None:
            # A decoding process that was stopped would not notice that its parent is gone.
            for pid in self.media_workers():
                os.kill(pid, signal.SIGKILL)
            self._process.kill()
        await self.wait()

    async def until_ready(self, timeout_s: float) -> None:
        """Returns once it takes requests.

        Raises:
            BenchmarkError: it ended, or did not in time.
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
    """A server that is ready, killed in the end if it still runs.

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
    """Whether a decoding process of that id runs."""
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
    """Whether a file system can be mounted for one process alone."""
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
