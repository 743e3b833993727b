"""A child process that answers JSON lines, so that this process imports no torch."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmark.errors import BenchmarkError


class LineProcess:
    """`python -m MODULE`: each job is a JSON line on its stdin, each reply one on its stdout.

    `name` describes the process in error messages; `first` is the line that it sends when ready.
    """

    def __init__(self, name: str, process: asyncio.subprocess.Process, log: Path) -> None:
        self.name = name
        self.first: dict[str, Any] = {}
        self._process = process
        self._log = log
        self._turn = asyncio.Lock()

    @classmethod
    async def start(
        cls, name: str, module: str, *arguments: str, line_limit: int, python: str = sys.executable
    ) -> LineProcess:
        """Starts the process and waits until it is ready.

        Raises:
            BenchmarkError: the process ended; the message has the last lines of its log.
        """
        with tempfile.NamedTemporaryFile(prefix="lamm-bench-", suffix=".log", delete=False) as log:
            process = await asyncio.create_subprocess_exec(
                python, "-m", module, *arguments,
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=log,
                limit=line_limit,
            )  # fmt: skip
        started = cls(name, process, Path(log.name))
        started.first = await started._reply()
        return started

    async def ask(self, job: dict[str, Any]) -> dict[str, Any]:
        """The reply to a job; one job at a time.

        Raises:
            BenchmarkError: the process ended.
        """
        stdin = self._process.stdin
        if stdin is None or stdin.is_closing():
            raise BenchmarkError(f"{self.name} is not running")
        async with self._turn:
            # If the process has ended, reading the reply says why.
            with contextlib.suppress(ConnectionError):
                stdin.write(json.dumps(job).encode() + b"\n")
                await stdin.drain()
            return await self._reply()

    async def stop(self) -> None:
        """Ends the process and removes its log."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        await self._process.wait()
        self._log.unlink(missing_ok=True)

    async def _reply(self) -> dict[str, Any]:
        stdout = self._process.stdout
        line = b"" if stdout is None else await stdout.readline()
        try:
            return dict(json.loads(line))
        except (ValueError, TypeError):
            await self._process.wait()
            words = self._log.read_text(encoding="utf8", errors="replace").strip().splitlines()
            last = " | ".join(words[-3:]) or "it printed nothing"
            raise BenchmarkError(f"{self.name} ended: {last}") from None
