"""Accounting of slots and blocks of KV memory. Torch-free.

Slots bound how many sequences run, blocks how many tokens they hold together. The transfers defined
here must be done before a step. The tensors are in `lamm_model.decoder.kv_cache`.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SaveBlocks:
    """Copy the slot's blocks from `first_block` on to these store blocks."""

    slot: int
    first_block: int
    blocks: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class LoadBlocks:
    """Copy these store blocks to the slot's beginning."""

    slot: int
    blocks: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ReleaseSlot:
    """The slot's contents are no longer needed."""

    slot: int


KVTransfer = SaveBlocks | LoadBlocks | ReleaseSlot


class BlockManager:
    """Counts blocks of `block_size` tokens per slot; the lowest free slot is used first.

    That keeps running sequences adjacent, which makes attention faster.
    """

    def __init__(self, num_slots: int, num_blocks: int, block_size: int) -> None:
        if min(num_slots, num_blocks, block_size) < 1:
            raise ValueError(
                f"{num_slots} slots, {num_blocks} blocks of {block_size} tokens; each must be "
                "at least 1"
            )
        self.num_blocks, self.block_size = num_blocks, block_size
        self._free_slots = list(range(num_slots))
        self._held: dict[int, int] = {}
        self._free_blocks = num_blocks

    def can_admit(self, num_tokens: int, reserve: int = 0) -> bool:
        """Whether a slot and enough blocks are free, with `reserve` blocks to spare."""
        return bool(self._free_slots) and self._blocks(num_tokens) + reserve <= self._free_blocks

    def admit(self, num_tokens: int) -> int:
        """Takes a slot with blocks for `num_tokens`.

        Raises:
            ValueError: no slot is free, or too few blocks are.
        """
        need = self._blocks(num_tokens)
        if not self.can_admit(num_tokens):
            raise ValueError(
                f"{need} blocks are needed; {self._free_blocks} blocks and "
                f"{len(self._free_slots)} slots are free"
            )
        slot = heapq.heappop(self._free_slots)
        self._held[slot] = need
        self._free_blocks -= need
        return slot

    def grow(self, slot: int, num_tokens: int) -> bool:
        """Extends the slot to `num_tokens`; False (and no change) if too few blocks are free."""
        more = max(0, self._blocks(num_tokens) - self._held[slot])
        if more > self._free_blocks:
            return False
        self._held[slot] += more
        self._free_blocks -= more
        return True

    def free(self, slot: int) -> None:
        """Returns a slot and its blocks.

        Raises:
            KeyError: the slot is not in use.
        """
        self._free_blocks += self._held.pop(slot)
        heapq.heappush(self._free_slots, slot)

    def held(self, slot: int) -> int:
        """Blocks of the slot; 0 if it is free."""
        return self._held.get(slot, 0)

    @property
    def num_free_blocks(self) -> int:
        """Blocks that no slot holds."""
        return self._free_blocks

    @property
    def usage(self) -> float:
        """Share of blocks held, 0 to 1."""
        return 1 - self._free_blocks / self.num_blocks

    def _blocks(self, num_tokens: int) -> int:
        return -(-num_tokens // self.block_size)
