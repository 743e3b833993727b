"""Batches of records of similar length, in an order that can be resumed.

The order of an epoch is a pure function of (seed, epoch), so the state is two integers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt
from torch.utils.data import Sampler

_WINDOW_BATCHES = 64


class BucketBatchSampler(Sampler[list[int]]):
    """Batches of record indices; records of a batch have similar lengths, to limit padding.

    A shuffled epoch is cut into windows of 64 batches, each window sorted by length, cut into
    batches, and the batches shuffled. Every record appears once per epoch; the last batch may be
    smaller.
    """

    def __init__(self, lengths: npt.NDArray[np.int64], batch_size: int, seed: int) -> None:
        super().__init__()
        if not len(lengths):
            raise ValueError("no records to sample from")
        self._lengths, self._batch_size, self._seed = lengths, batch_size, seed
        self._epoch = 0
        self._position = 0

    @property
    def batches_per_epoch(self) -> int:
        return -(-len(self._lengths) // self._batch_size)

    @property
    def epoch(self) -> float:
        """Epochs completed, with the fraction of the current one."""
        return self._epoch + self._position / self.batches_per_epoch

    def __iter__(self) -> Iterator[list[int]]:
        """Endless batches from the current position, epoch after epoch."""
        epoch, position = self._epoch, self._position
        while True:
            yield from self._order(epoch)[position:]
            epoch, position = epoch + 1, 0

    def advance(self) -> None:
        """Records that one batch was trained on; iteration cannot, since loaders read ahead."""
        self._position += 1
        if self._position == self.batches_per_epoch:
            self._epoch, self._position = self._epoch + 1, 0

    def state_dict(self) -> dict[str, int]:
        return {"epoch": self._epoch, "position": self._position}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        self._epoch, self._position = int(state["epoch"]), int(state["position"])

    def _order(self, epoch: int) -> list[list[int]]:
        rng = np.random.default_rng((self._seed, epoch))
        order = rng.permutation(len(self._lengths))
        window = _WINDOW_BATCHES * self._batch_size
        batches: list[list[int]] = []
        for start in range(0, len(order), window):
            part = order[start : start + window]
            part = part[np.argsort(self._lengths[part], kind="stable")]
            batches += [
                part[i : i + self._batch_size].tolist()
                for i in range(0, len(part), self._batch_size)
            ]
        return [batches[i] for i in rng.permutation(len(batches))]
