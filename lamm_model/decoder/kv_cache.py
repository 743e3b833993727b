"""KV tensors of the serving decoder: slots for what runs, a block store for what may be reused.

Called by `lamm_model.decoder.llama` (reads and writes slots) and the engine's model runner (moves
blocks between slots and store). It knows slots and blocks, not requests; who owns which is
`service.engine.block_manager`'s and `service.engine.prefix_cache`'s affair.

Design. A running sequence has one slot: for every layer and head a contiguous row of `max_len`
positions, because attention on a CPU wants K and V contiguous (gathering small blocks every step
costs more than the products), and neighbouring slots can be attended in one call on a view, without
a copy. This cache is not paged: no block table is ever followed inside attention. On a CPU the
slots are an anonymous mapping, so memory is committed as positions are written and `release` gives
it back; the budget is therefore kept by counting tokens, not slots. On a GPU all slots are
allocated at once.

Finished prefixes live in a store of `block_size`-token blocks, copied in and out (a few ms where
recomputing takes hundreds). Shared prefixes are stored once.

Shapes: S slots, L layers, 2 = (K, V), H KV heads, P positions, D head size, N store blocks, B
block.
"""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class KVCacheShape:
    """Geometry of one model's cache. `max_len` is rounded up to whole blocks."""

    num_layers: int
    num_kv_heads: int
    head_dim: int
    num_slots: int
    max_len: int
    block_size: int
    num_store_blocks: int
    dtype: torch.dtype

    @property
    def row_len(self) -> int:
        """Positions a slot's row holds."""
        return -(-self.max_len // self.block_size) * self.block_size

    @property
    def bytes_per_token(self) -> int:
        """Bytes that one position takes over all layers and heads."""
        return 2 * self.num_layers * self.num_kv_heads * self.head_dim * self.dtype.itemsize


class KVCache:
    """Slots `[S, L, 2, H, P, D]` and a store `[N, L, 2, H, B, D]` on one device."""

    def __init__(self, shape: KVCacheShape, device: torch.device) -> None:
        self.shape = shape
        inner = (shape.num_layers, 2, shape.num_kv_heads)
        slots = (shape.num_slots, *inner, shape.row_len, shape.head_dim)
        store = (shape.num_store_blocks, *inner, shape.block_size, shape.head_dim)
        self._mapping: mmap.mmap | None = None
        self._slot_bytes = shape.row_len * shape.bytes_per_token
        if device.type == "cpu":
            self._mapping = _reserve(shape.num_slots * self._slot_bytes)
            self._slots = torch.frombuffer(self._mapping, dtype=shape.dtype).view(slots)
        else:
            self._slots = torch.zeros(slots, dtype=shape.dtype, device=device)
        # Not zeroed: blocks are written before they are read, and untouched pages cost nothing.
        self._store = torch.empty(store, dtype=shape.dtype, device=device)

    def layer(self, index: int) -> tuple[Tensor, Tensor]:
        """Views (K, V) of one layer, each `[S, H, P, D]`."""
        return self._slots[:, index, 0], self._slots[:, index, 1]

    def save(self, slot: int, first_block: int, blocks: Sequence[int]) -> None:
        """Copies the slot's blocks from `first_block` on into the store blocks named."""
        start, size = first_block * self.shape.block_size, self.shape.block_size
        rows = self._slots[slot, :, :, :, start : start + len(blocks) * size]
        split = rows.unflatten(3, (len(blocks), size)).permute(3, 0, 1, 2, 4, 5)
        self._store[torch.tensor(blocks, device=self._store.device)] = split

    def load(self, slot: int, blocks: Sequence[int]) -> None:
        """Copies store blocks into the slot's first `len(blocks)` blocks, in order."""
        size = self.shape.block_size
        rows = self._slots[slot, :, :, :, : len(blocks) * size].unflatten(3, (len(blocks), size))
        found = self._store[torch.tensor(blocks, device=self._store.device)]
        rows.copy_(found.permute(1, 2, 3, 0, 4, 5))

    def release(self, slot: int) -> None:
        """Gives a slot's memory back to the system, where the system can take it (CPU, Linux)."""
        if self._mapping is None or not hasattr(mmap, "MADV_DONTNEED"):
            # Masked positions are still multiplied, so nothing that is not finite may stay.
            self._slots[slot].zero_()
            return
        page = mmap.PAGESIZE
        start = -(-slot * self._slot_bytes // page) * page
        end = (slot + 1) * self._slot_bytes // page * page
        if end > start:
            self._mapping.madvise(mmap.MADV_DONTNEED, start, end - start)


def _reserve(nbytes: int) -> mmap.mmap:
    """Zeroed address space that takes memory page by page as it is written."""
    # Private: what is released from a shared mapping would stay in memory.
    mapping = mmap.mmap(-1, nbytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_NOHUGEPAGE"):
        # A huge page would commit the unwritten rest of a row with its first position.
        mapping.madvise(mmap.MADV_NOHUGEPAGE)
    return mapping
