"""The baseline of a load test: transformers' `generate` in a process of its own."""

from __future__ import annotations

import base64
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmark.line_process import LineProcess
from benchmark.load.run import BaselineRound
from benchmark.load.workload import WorkItem

MODULE = "benchmark.baselines.transformers_generate"
# A job line holds all pictures of a round in base64.
LINE_LIMIT = 1 << 28


class TransformersBaseline:
    """transformers' `generate` in static batches; a batch runs until its longest answer ends."""

    name = "transformers generate"

    def __init__(self, process: LineProcess) -> None:
        self.facts = process.first
        self._process = process

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
            BenchmarkError: the process ended; the message has the last lines of its log.
        """
        flags = ["--checkpoint", str(checkpoint), "--device", device, "--dtype", dtype]
        process = await LineProcess.start(
            "the baseline process", MODULE, *flags, line_limit=LINE_LIMIT, python=python
        )
        return cls(process)

    async def run(self, items: Sequence[WorkItem], batch_size: int) -> BaselineRound:
        """Generates for all items in order, `batch_size` at a time; media are pictures."""
        requests = [
            {
                "prompt": item.prompt,
                "image": base64.b64encode(item.media.content).decode() if item.media else None,
                "output_len": item.output_len,
            }
            for item in items
        ]
        reply = await self._process.ask({"batch_size": batch_size, "requests": requests})
        return BaselineRound(int(reply["output_tokens"]), float(reply["seconds"]))

    async def stop(self) -> None:
        """Ends the process."""
        await self._process.stop()
