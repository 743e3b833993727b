"""What the scheduler decides for one step. Torch-free."""

from __future__ import annotations

from dataclasses import dataclass

from service.engine.block_manager import KVTransfer
from service.engine.sequence import Sequence


@dataclass(frozen=True, slots=True)
class ScheduledChunk:
    """`num_tokens` of a sequence from `start`, in `slot`; the last `num_logits`' logits are wanted.

    They are wanted to sample the next token, or to score a given continuation.
    """

    sequence: Sequence
    slot: int
    start: int
    num_tokens: int
    num_logits: int

    @property
    def samples(self) -> bool:
        """Whether the sequence's next token is due."""
        return self.num_logits > 0 and not self.sequence.is_scoring


@dataclass(frozen=True, slots=True)
class SchedulerOutput:
    """One step: transfers in this order, then the chunks (single tokens come first, by slot)."""

    transfers: tuple[KVTransfer, ...]
    chunks: tuple[ScheduledChunk, ...]
