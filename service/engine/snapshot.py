"""Describes the engine's state for the log of a stalled or dying engine. Torch-free.

The result is JSON without tokens or texts of any request. It may be read during a step, so numbers
may be one step apart.
"""

from __future__ import annotations

import sys
import threading
import time
import traceback
from collections.abc import Sequence as Seq
from dataclasses import dataclass
from typing import Any

from service.engine.kv.block_manager import BlockManager
from service.engine.scheduler import Scheduler
from service.engine.scheduler_output import SchedulerOutput
from service.engine.sequence import Sequence

# Waiting sequences that are listed; the others are counted.
_MAX_WAITING = 32


@dataclass(frozen=True, slots=True)
class StepNote:
    """Summary of one scheduled step; `started_at` is `time.monotonic()`."""

    started_at: float
    num_transfers: int
    chunks: tuple[tuple[str, int, int, int], ...]

    @classmethod
    def of(cls, output: SchedulerOutput) -> StepNote:
        """References no sequence, so that its media can be freed after the step."""
        return cls(
            time.monotonic(),
            len(output.transfers),
            tuple(
                (chunk.sequence.request.request_id, chunk.slot, chunk.start, chunk.num_tokens)
                for chunk in output.chunks
            ),
        )

    def describe(self) -> dict[str, Any]:
        """Age in seconds, and the chunks."""
        names = ("request_id", "slot", "start", "num_tokens")
        return {
            "started_s_ago": round(time.monotonic() - self.started_at, 3),
            "transfers": self.num_transfers,
            "chunks": [dict(zip(names, chunk, strict=True)) for chunk in self.chunks],
        }


def describe(
    scheduler: Scheduler, blocks: BlockManager, steps: int, last_step: StepNote | None
) -> dict[str, Any]:
    """Both queues with lengths and blocks, the KV cache, and the last step."""
    waiting = list(scheduler.waiting)
    return {
        "steps_total": steps,
        "last_step": None if last_step is None else last_step.describe(),
        "preemptions_total": scheduler.preemptions_total,
        "kv_blocks": {"total": blocks.num_blocks, "free": blocks.num_free_blocks},
        "running": _describe_all(list(scheduler.running), blocks),
        "waiting": _describe_all(waiting[:_MAX_WAITING], blocks),
        "waiting_total": len(waiting),
    }


def describe_thread(thread: threading.Thread | None) -> dict[str, Any]:
    """Whether a thread is alive, and its stack, outermost call first."""
    if thread is None:
        return {"thread_alive": False, "stack": []}
    frame = sys._current_frames().get(thread.ident or 0)
    stack = [] if frame is None else traceback.extract_stack(frame)
    return {
        "thread_alive": thread.is_alive(),
        "stack": [f"{entry.filename}:{entry.lineno} {entry.name}" for entry in stack],
    }


def _describe_all(sequences: Seq[Sequence], blocks: BlockManager) -> list[dict[str, Any]]:
    now = time.monotonic()
    return [
        {
            "request_id": sequence.request.request_id,
            "model": sequence.request.model,
            "priority": sequence.request.priority,
            "age_s": round(now - sequence.arrived_at, 3),
            "prompt_tokens": sequence.num_prompt_tokens,
            "output_tokens": sequence.num_output_tokens,
            "computed_tokens": sequence.num_computed_tokens,
            "scored_tokens": len(sequence.request.continuation_token_ids),
            "media": [span.media.modality.value for span in sequence.request.media],
            "slot": sequence.slot,
            "blocks": 0 if sequence.slot is None else blocks.held(sequence.slot),
        }
        for sequence in sequences
    ]
