"""A baseline in a process of its own: the client stays free of torch. Called by the CLI."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmark.errors import BenchmarkError
from benchmark.load.run import BaselineRound
from benchmark.load.workload import WorkItem

MODULE = "benchmark.baselines.transformers_generate"
# A job line holds every picture of a round in base64.
LINE_LIMIT = 1 << 28


class TransformersBaseline:
    """transformers' `generate` in static batches, each run until its longest answer is done."""

    name = "transformers generate"

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self._process = process
        self._log = log
        self.facts: dict[str, Any] = {}

    @classmethod
    async def start(
        cls,
        checkpoint: Path,
        device: str = "cpu",
        dtype: str = "float32",
        python: str = sys.executable,
    ) -> TransformersBaseline:
        """Starts the process and waits until the checkpoint is loaded.

        Raises:
            BenchmarkError: the process ended; its last words are in the message.
        """
        with tempfile.NamedTemporaryFile(
            prefix="lamm-baseline-", suffix=".log", delete=False
        ) as log:
            process = await asyncio.create_subprocess_exec(
                python, "-m", MODULE, "--checkpoint", str(checkpoint), "--device", device,
                "--dtype", dtype,
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=log,
                limit=LINE_LIMIT,
            )  # fmt: skip
        baseline = cls(process, Path(log.name))
        baseline.facts = await baseline._reply()
        return baseline

    async def run(self, items: Sequence[WorkItem], batch_size: int) -> BaselineRound:
        """Generates for all items, in their order, `batch_size` at a time; media are pictures."""
        requests = [
            {
                "prompt": item.prompt,
                "image": base64.b64encode(item.media.content).decode() if item.media else None,
                "output_len": item.output_len,
            }
            for item in items
        ]
        reply = await self._ask({"batch_size": batch_size, "requests": requests})
        return BaselineRound(int(reply["output_tokens"]), float(reply["seconds"]))

    async def stop(self) -> None:
        """Ends the process and removes its log."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        await self._process.wait()
        self._log.unlink(missing_ok=True)

    async def _ask(self, job: dict[str, Any]) -> dict[str, Any]:
        stdin = self._process.stdin
        if stdin is None or stdin.is_closing():
            raise BenchmarkError("the baseline process is not running")
        # Of a process that has ended its reply tells, or rather its last words.
        with contextlib.suppress(ConnectionError):
            stdin.write(json.dumps(job).encode() + b"\n")
            await stdin.drain()
        return await self._reply()

    async def _reply(self) -> dict[str, Any]:
        stdout = self._process.stdout
        line = b"" if stdout is None else await stdout.readline()
        try:
            return dict(json.loads(line))
        except (ValueError, TypeError):
            await self._process.wait()
            words = self._log.read_text(encoding="utf8", errors="replace").strip().splitlines()
            last = " | ".join(words[-3:]) or "it said nothing"
            raise BenchmarkError(f"the baseline process ended: {last}") from None
