"""The parent's side of one decoding process: its pipes, its temporary directory, its end."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lamm_model.conversation import Modality
from lamm_model.formats.cloud_format import CloudFile
from lamm_model.media import PreparedMedia
from service.media.worker import ERROR_KINDS, FRAME, encode_head

logger = logging.getLogger(__name__)

_START_TIMEOUT_S = 60.0
# Time between the end of a process's pipes and its exit.
_END_TIMEOUT_S = 1.0
_SLICE = 1 << 18
# Environment of a decoder: enough to run, and no secret of the operator.
_PASSED_ON = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "VIRTUAL_ENV", "HOME")


@dataclass(frozen=True, slots=True)
class MediaJob:
    """One medium to prepare: its bytes, or their base64 text, and how to read a cloud.

    Jobs with different salts share no result.
    """

    modality: Modality
    content: str | bytes
    cloud: CloudFile | None = None
    cache_salt: str | None = None

    def head(self) -> dict[str, Any]:
        """The job without its bytes."""
        return {
            "modality": self.modality,
            "cloud": None if self.cloud is None else asdict(self.cloud),
            "is_base64": isinstance(self.content, str),
        }  # fmt: skip

    def body(self) -> bytes:
        """The content as sent to a process."""
        return self.content.encode() if isinstance(self.content, str) else self.content

    def keyed(self) -> tuple[str, bytes]:
        """The key of its result in a cache, and its body."""
        body = self.body()
        digest = hashlib.sha256(json.dumps([self.head(), self.cache_salt]).encode())
        digest.update(body)
        return digest.hexdigest(), body


class MediaProcess:
    """One process; `busy` stays true if a job did not finish."""

    def __init__(self, process: asyncio.subprocess.Process, scratch: Path) -> None:
        self.process, self.scratch = process, scratch
        self.busy = False

    @classmethod
    async def start(cls, config: Mapping[str, Any], scratch_root: Path) -> MediaProcess:
        """Starts a process and waits for its first answer; it has its own temporary directory.

        Args:
            config: the process's first frame, see `worker.main`.
            scratch_root: an existing directory for the temporary directory.

        Raises:
            RuntimeError: it did not start, or did not answer within a minute.
        """
        scratch = Path(tempfile.mkdtemp(dir=scratch_root))
        environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        environment |= {
            "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1", "TMPDIR": str(scratch)
        }  # fmt: skip
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "service.media.worker",
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
                env=environment, start_new_session=True,
            )  # fmt: skip
        except BaseException:
            _remove(scratch)
            raise
        worker = cls(process, scratch)
        try:
            async with asyncio.timeout(_START_TIMEOUT_S):
                await worker._exchange({**config, "scratch": str(scratch)}, b"")
        except (TimeoutError, EOFError, OSError, ValueError) as error:
            await worker.kill()
            raise RuntimeError("a media worker process did not start") from error
        except BaseException:
            await worker.kill()
            raise
        return worker

    @property
    def alive(self) -> bool:
        """Whether the process runs, as far as known; a death is noticed with a delay."""
        return self.process.returncode is None

    async def run(self, job: MediaJob, body: bytes) -> PreparedMedia:
        """Sends one job and reads its answer.

        Raises:
            MediaError: the process refused it.
            EOFError, OSError, ValueError: it died or sent an invalid answer (`busy` is true).
        """
        head, array = await self._ask(job.head(), body)
        values = np.frombuffer(array, dtype=np.float32).reshape(head["shape"])
        self.busy = False
        return PreparedMedia(job.modality, head["digest"], values, head["info"])

    async def draw(self, job: MediaJob, marks: Sequence[Mapping[str, Any]], body: bytes) -> bytes:
        """The job's medium with marks drawn on it (`overlay_picture`, `overlay_cloud`), as a file.

        Raises as `run`.
        """
        _, drawn = await self._ask({**job.head(), "overlay": list(marks)}, body)
        self.busy = False
        return drawn

    async def was_killed(self) -> bool:
        """Whether a process whose pipes have closed was ended by SIGKILL, which comes from outside.

        Must be called before `kill`.
        """
        try:
            async with asyncio.timeout(_END_TIMEOUT_S):
                return await self.process.wait() == -signal.SIGKILL
        except TimeoutError:
            return False

    async def kill(self) -> None:
        """Kills the process, reaps it, and removes its temporary files."""
        if self.process.returncode is None:
            try:
                self.process.kill()
            except ProcessLookupError:
                logger.debug("a media worker had ended before it was killed")
        if self.process.stdin is not None:
            self.process.stdin.close()
        await self.process.wait()
        await asyncio.to_thread(_remove, self.scratch)

    async def _ask(self, head: Mapping[str, Any], body: bytes) -> tuple[dict[str, Any], bytes]:
        """The answer to one job; `busy` stays true until the caller has read it."""
        self.busy = True
        reply, answer = await self._exchange(head, body)
        if "error" in reply:
            self.busy = False
            raise ERROR_KINDS[reply["error"]](reply["message"])
        return reply, answer

    async def _exchange(self, head: Mapping[str, Any], body: bytes) -> tuple[dict[str, Any], bytes]:
        stdin, stdout = self.process.stdin, self.process.stdout
        if stdin is None or stdout is None:
            raise EOFError("the worker has no pipes")
        stdin.write(encode_head(head, len(body)))
        # In slices: asyncio's transport moves its whole buffer each time the pipe accepts a little.
        view = memoryview(body)
        for start in range(0, len(view), _SLICE):
            stdin.write(view[start : start + _SLICE])
            await stdin.drain()
        head_size, body_size = FRAME.unpack(await stdout.readexactly(FRAME.size))
        reply = json.loads(await stdout.readexactly(head_size))
        return reply, await stdout.readexactly(body_size)


def _remove(directory: Path) -> None:
    shutil.rmtree(directory, ignore_errors=True)
    if directory.exists():
        logger.warning("cannot remove %s, the temporary directory of a media worker", directory)
