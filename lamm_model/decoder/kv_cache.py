"""KV cache of the serving decoder: slots for running sequences, a block store for prefix reuse.

The cache knows slots and blocks, not requests; the engine's block manager and prefix cache own the
accounting.

A running sequence has one slot: a contiguous row of `max_len` positions for every layer and head.
Attention on a CPU needs contiguous K and V (gathering small blocks in every step costs more than
the products), and one attention call covers neighbouring slots through a view, without a copy. The
cache is not paged: attention follows no block table. On a CPU the slots are an anonymous mapping,
so memory is committed as positions are written and `release` returns it; the budget therefore
counts tokens, not slots. On a GPU all slots are allocated at once.

Finished prefixes are copied to and from a store of `block_size`-token blocks, in a few milliseconds
instead of hundreds for recomputing them. Shared prefixes are stored once.

Shapes: S slots, L layers, 2 = (K, V), H KV heads, P positions, D head size, N store blocks, B
block.
"""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lamm_model.decoder.upload import upload


@dataclass(frozen=True, slots=True)
class KVCacheShape:
    """Sizes of a model's cache. `max_len` is rounded up to whole blocks."""

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
        """Positions per slot."""
        return -(-self.max_len // self.block_size) * self.block_size

    @property
    def bytes_per_token(self) -> int:
        """Bytes per position over all layers and heads."""
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
        # Not zeroed: blocks are written before they are read, and untouched pages take no memory.
        self._store = torch.empty(store, dtype=shape.dtype, device=device)

    def layer(self, index: int) -> tuple[Tensor, Tensor]:
        """Views (K, V) of one layer, each `[S, H, P, D]`."""
        return self._slots[:, index, 0], self._slots[:, index, 1]

    def save(self, slot: int, first_block: int, blocks: Sequence[int]) -> None:
        """Copies the slot's blocks from `first_block` on into the store blocks `blocks`."""
        start, size = first_block * self.shape.block_size, self.shape.block_size
        rows = self._slots[slot, :, :, :, start : start + len(blocks) * size]
        split = rows.unflatten(3, (len(blocks), size)).permute(3, 0, 1, 2, 4, 5)
        self._store[upload(blocks, self._store.device)] = split

    def load(self, slot: int, blocks: Sequence[int]) -> None:
        """Copies store blocks into the slot's first `len(blocks)` blocks, in order."""
        size = self.shape.block_size
        rows = self._slots[slot, :, :, :, : len(blocks) * size].unflatten(3, (len(blocks), size))
        found = self._store[upload(blocks, self._store.device)]
        rows.copy_(found.permute(1, 2, 3, 0, 4, 5))

    def release(self, slot: int) -> None:
        """Returns a slot's memory to the system (on a CPU under Linux)."""
        if self._mapping is None or not hasattr(mmap, "MADV_DONTNEED"):
            # Masked positions are still multiplied, so no non-finite value may remain.
            self._slots[slot].zero_()
            return
        page = mmap.PAGESIZE
        start = -(-slot * self._slot_bytes // page) * page
        end = (slot + 1) * self._slot_bytes // page * page
        if end > start:
            self._mapping.madvise(mmap.MADV_DONTNEED, start, end - start)


def _reserve(nbytes: int) -> mmap.mmap:
    """Zeroed address space whose memory is committed page by page when written."""
    # Private: released pages of a shared mapping would stay in memory.
    mapping = mmap.mmap(-1, nbytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_NOHUGEPAGE"):
        # A huge page would commit the unwritten rest of a row.
        mapping.madvise(mmap.MADV_NOHUGEPAGE)
    return mapping
