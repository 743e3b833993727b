"""The scheduler's decision for one step. Torch-free."""

from __future__ import annotations

from dataclasses import dataclass

from service.engine.kv.block_manager import KVTransfer
from service.engine.sequence import Sequence


@dataclass(frozen=True, slots=True)
class ScheduledChunk:
    """`num_tokens` of a sequence from `start`, in `slot`; the last `num_logits` need logits.

    Logits are needed to sample the next token, or to score a given continuation.
    """

    sequence: Sequence
    slot: int
    start: int
    num_tokens: int
    num_logits: int

    @property
    def samples(self) -> bool:
        """Whether the sequence's next token is sampled."""
        return self.num_logits > 0 and not self.sequence.is_scoring


@dataclass(frozen=True, slots=True)
class SchedulerOutput:
    """One step: transfers in order, then the chunks (single tokens first, by slot)."""

    transfers: tuple[KVTransfer, ...]
    chunks: tuple[ScheduledChunk, ...]
