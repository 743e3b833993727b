"""Batches of near lengths, each record once an epoch, resumable anywhere."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.data.sampler import BucketBatchSampler

LENGTHS = np.random.default_rng(0).integers(20, 900, 3000)


@given(
    lengths=st.lists(st.integers(1, 50), min_size=1, max_size=200),
    batch_size=st.integers(1, 9),
    seed=st.integers(0, 99),
)
def test_every_record_comes_once_an_epoch(lengths: list[int], batch_size: int, seed: int) -> None:
    sampler = BucketBatchSampler(np.array(lengths), batch_size, seed)
    batches = iter(sampler)
    for _ in range(2):
        epoch = list(islice(batches, sampler.batches_per_epoch))
        assert sorted(i for batch in epoch for i in batch) == list(range(len(lengths)))
        assert max(map(len, epoch)) <= batch_size


def test_little_padding_is_wasted() -> None:
    sampler = BucketBatchSampler(LENGTHS, 16, 0)
    batches = list(islice(sampler, sampler.batches_per_epoch))
    padded = sum(LENGTHS[batch].max() * len(batch) for batch in batches)
    assert LENGTHS.sum() / padded > 0.97


def test_epochs_and_seeds_differ() -> None:
    orders = [list(islice(BucketBatchSampler(LENGTHS, 16, seed), 400)) for seed in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]
    assert orders[0][:188] != orders[0][188:376]


@pytest.mark.parametrize("consumed", [0, 5, 187, 188, 300])
def test_a_resumed_sampler_goes_on_where_the_other_stood(consumed: int) -> None:
    first, second = (BucketBatchSampler(LENGTHS, 16, 3) for _ in range(2))
    expected = list(islice(first, consumed + 10))[consumed:]
    for _ in range(consumed):
        first.advance()
    second.load_state_dict(first.state_dict())
    assert list(islice(second, 10)) == expected
    assert second.epoch == pytest.approx(consumed / 188)


def test_no_records() -> None:
    with pytest.raises(ValueError, match="no records"):
        BucketBatchSampler(np.array([], dtype=np.int64), 4, 0)
