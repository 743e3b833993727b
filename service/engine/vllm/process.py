"""Runs `vllm serve` as a child process, in an environment of its own. Torch-free.

The child listens on a Unix domain socket in a private directory, so nothing else can reach it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path

from service.engine.vllm import keeper
from service.engine.vllm.keeper import GRACE_S

_log = logging.getLogger(__name__)

# The keeper kills what is left after its own time.
_STOP_TIMEOUT_S = GRACE_S + 5.0
_KEPT_LINES = 40


class VllmProcess:
    """One child at a time; it can be started again after it ended."""

    def __init__(
        self, python: Path, command: Sequence[str], variables: Mapping[str, str], socket: Path
    ) -> None:
        """`python` is an interpreter; `variables` are added to this process's environment.

        The child listens on `socket`.
        """
        self._python, self.command, self._variables = python, tuple(command), dict(variables)
        self._socket = socket
        self._child: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._lines: deque[str] = deque(maxlen=_KEPT_LINES)

    @property
    def returncode(self) -> int | None:
        """The exit status once the child has ended; negative for a signal."""
        return None if self._child is None else self._child.returncode

    @property
    def tail(self) -> str:
        """The last lines that the child printed."""
        return "\n".join(self._lines)

    async def start(self) -> None:
        """Starts the child.

        Raises:
            OSError: the program cannot be run.
        """
        self._lines.clear()
        # One that was killed leaves it behind, and the next one could not listen.
        self._socket.unlink(missing_ok=True)
        self._child = await asyncio.create_subprocess_exec(
            self._python,
            keeper.__file__,
            *self.command,
            env=_environment(self._variables),
            # It closes when this process ends, however that happens.
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            # An interrupt from the keyboard is for this process, which then drains.
            start_new_session=True,
        )
        _log.info("started vLLM, process %d: %s", self._child.pid, " ".join(self.command))
        self._reading = asyncio.create_task(self._read(self._child))

    async def stop(self) -> None:
        """Ends the child and its own children; idempotent."""
        child = self._child
        if child is None:
            return
        if child.returncode is None:
            child.terminate()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_STOP_TIMEOUT_S):
                    await child.wait()
        if child.returncode is None:
            child.kill()
        await child.wait()
        if self._reading is not None:
            await asyncio.gather(self._reading, return_exceptions=True)

    async def _read(self, child: asyncio.subprocess.Process) -> None:
        assert child.stdout is not None
        while True:
            try:
                line = await child.stdout.readline()
            except ValueError:  # longer than the stream's limit
                continue
            if not line:
                return
            text = line.decode("utf8", "replace").rstrip()
            self._lines.append(text)
            _log.debug("vllm: %s", text)


def _environment(variables: Mapping[str, str]) -> dict[str, str]:
    """Without what would make the child import this process's packages."""
    own = {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"}
    return {key: value for key, value in os.environ.items() if key not in own} | dict(variables)
