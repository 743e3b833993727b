"""Finds cached prefixes in the block store by hash. Torch-free.

A block's hash covers all tokens and media before it (`Sequence.block_hashes`), so a prefix is found
block by block. Least recently used blocks are evicted first, the last block of a prefix before its
first.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence


class PrefixCache:
    """Maps hashes to blocks of the store, at most `num_blocks`."""

    def __init__(self, num_blocks: int) -> None:
        self._free = list(range(num_blocks - 1, -1, -1))
        self._block_of: OrderedDict[bytes, int] = OrderedDict()

    def match(self, hashes: Sequence[bytes]) -> list[int]:
        """Store blocks of the longest cached prefix of `hashes`."""
        found: list[int] = []
        for block_hash in hashes:
            block = self._block_of.get(block_hash)
            if block is None:
                break
            found.append(block)
        self._touch(hashes[: len(found)])
        return found

    def insert(self, hashes: Sequence[bytes]) -> tuple[int, list[int]]:
        """Makes room for a prefix: the index of its first new block, and the store blocks to fill.

        If the store is smaller than the prefix, the prefix's beginning is kept.
        """
        known = len(self.match(hashes))
        # A later block of a known prefix may still be cached without the ones before it. It would
        # never be found, so the chain is rebuilt from the first gap on.
        fresh = hashes[known:]
        for block_hash in fresh:
            if block_hash in self._block_of:
                self._free.append(self._block_of.pop(block_hash))
        # Eviction starts with the oldest; the known beginning was just used, so it is last.
        taken: list[int] = []
        for _ in range(min(len(fresh), len(self._free) + len(self._block_of) - known)):
            taken.append(self._free.pop() if self._free else self._block_of.popitem(last=False)[1])
        self._block_of.update(zip(fresh, taken, strict=False))
        self._touch(hashes[: known + len(taken)])
        return known, taken

    def clear(self) -> None:
        """Removes all blocks."""
        self._free += self._block_of.values()
        self._block_of.clear()

    def __len__(self) -> int:
        """Number of cached blocks."""
        return len(self._block_of)

    def _touch(self, hashes: Sequence[bytes]) -> None:
        # From the end, so that the beginning of a prefix outlives its end.
        for block_hash in reversed(hashes):
            self._block_of.move_to_end(block_hash)
