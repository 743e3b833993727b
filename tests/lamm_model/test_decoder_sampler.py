"""Sampling by row: each parameter's effect, and independence of the batch."""

from __future__ import annotations

import math
from typing import Any
from unittest import mock

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lamm_model.decoder.sampler import Sampler, SamplingRow
from lamm_model.sampling_params import SamplingParams

SAMPLER = Sampler()


def row(
    *,
    position: int = 0,
    seed: int = 0,
    prompt: tuple[int, ...] = (),
    output: tuple[int, ...] = (),
    banned: tuple[int, ...] = (),
    **params: Any,
) -> SamplingRow:
    return SamplingRow(SamplingParams(**params), seed, position, prompt, output, banned)


def draw_many(logits: torch.Tensor, count: int = 2000, **params: Any) -> list[int]:
    rows = [row(position=i, **{"temperature": 1.0, **params}) for i in range(count)]
    sampled = SAMPLER.sample(logits.expand(count, -1), rows)
    return [token.token_id for token in sampled]


def test_greedy_takes_the_most_likely() -> None:
    logits = torch.tensor([[0.0, 3.0, 1.0], [5.0, 3.0, 1.0]])
    assert [t.token_id for t in SAMPLER.sample(logits, [row(), row()])] == [1, 0]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("filters", [{}, {"top_k": 5}, {"min_p": 1e-9}])
def test_draws_follow_the_distribution(temperature: float, filters: Any) -> None:
    logits = torch.tensor([2.0, 1.0, 0.0, -1.0, -30.0])
    expected = torch.softmax(logits / temperature, -1)
    drawn = draw_many(logits, temperature=temperature, **filters)
    found = torch.bincount(torch.tensor(drawn), minlength=5) / len(drawn)
    torch.testing.assert_close(found, expected, atol=0.04, rtol=0)


@pytest.mark.parametrize(
    ("params", "allowed"),
    [
        ({"top_k": 1}, {2}),
        ({"top_k": 2}, {2, 0}),
        ({"top_p": 0.0}, {2}),
        ({"top_p": 0.1}, {2}),
        ({"top_p": 0.55}, {2, 0}),
        ({"min_p": 0.6}, {2, 0}),
        ({"top_k": 3, "top_p": 0.9}, {2, 0, 3}),
        ({}, {0, 1, 2, 3}),
    ],
)
@pytest.mark.parametrize("padding", [0, 1000])
def test_filters_leave_only_their_candidates(params: Any, allowed: Any, padding: Any) -> None:
    logits = torch.log(torch.tensor([0.3, 0.1, 0.4, 0.2, *[1e-12] * padding]))
    assert set(draw_many(logits, count=600, **params)) == allowed


def test_a_flat_distribution_needs_the_whole_vocabulary() -> None:
    logits = torch.zeros(2000)
    drawn = draw_many(logits, count=400, top_p=0.99)
    assert len({token // 200 for token in drawn}) == 10
    assert max(draw_many(logits, count=100, top_k=700)) < 2000
    assert len(set(draw_many(logits, count=200, min_p=0.5))) > 150


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(-(1 << 63), (1 << 63) - 1),
    position=st.integers(0, 1000),
    others=st.integers(0, 6),
    params=st.sampled_from(
        [{}, {"top_p": 0.7}, {"top_k": 7}, {"min_p": 0.1}, {"top_k": 500, "top_p": 0.95}]
    ),
)
def test_the_same_seed_gives_the_same_token_in_any_batch(
    seed: int, position: int, others: Any, params: Any
) -> None:
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(others + 1, 600, generator=generator)
    mine = row(seed=seed, position=position, temperature=1.0, **params)
    company = [
        row(seed=i, temperature=0.5 * (i % 3), top_p=1 - 0.1 * (i % 2)) for i in range(others)
    ]
    alone = SAMPLER.sample(logits[-1:], [mine])[0]
    assert SAMPLER.sample(logits, [*company, mine])[-1] == alone


def test_penalties_and_bias() -> None:
    logits = torch.tensor([[2.0, -1.0, 1.0, 0.0]])

    def logprobs(**arguments: Any) -> int:
        return SAMPLER.sample(logits, [row(**arguments)])[0].token_id

    # The id 9 is a media placeholder: beyond the vocabulary, passed over.
    assert logprobs(repetition_penalty=3.0, prompt=(9, 0)) == 2
    assert logprobs(repetition_penalty=3.0, prompt=(9,), output=(0,)) == 2
    assert logprobs(frequency_penalty=0.6, output=(0, 0)) == 2
    assert logprobs(frequency_penalty=0.6, output=(0,)) == 0
    assert logprobs(presence_penalty=1.5, output=(0, 0)) == 2
    assert logprobs(presence_penalty=1.5, prompt=(0,)) == 0
    assert logprobs(logit_bias={1: 100.0}) == 1
    assert logprobs(logit_bias={0: -100.0}) == 2
    assert logprobs(banned=(0, 2)) == 3
    assert logits.tolist() == [[2.0, -1.0, 1.0, 0.0]]


def test_logprobs_are_the_models_own() -> None:
    logits = torch.log(torch.tensor([[0.1, 0.6, 0.3], [0.1, 0.6, 0.3]]))
    shaped: dict[str, Any] = {
        "temperature": 0.1,
        "logit_bias": {1: -100.0},
        "presence_penalty": 2.0,
    }
    first, second = SAMPLER.sample(logits, [row(logprobs=2, **shaped), row()])
    assert first.token_id == 2
    assert first.logprob == pytest.approx(math.log(0.3))
    assert [i for i, _ in first.top] == [1, 2]
    assert [v for _, v in first.top] == pytest.approx([math.log(0.6), math.log(0.3)])
    assert second.logprob is None
    chosen_only = SAMPLER.sample(logits[:1], [row(logprobs=0)])[0]
    assert chosen_only.logprob == pytest.approx(math.log(0.6))
    assert chosen_only.top == ()


@pytest.mark.parametrize("temperature", [1e-50, 1e-39, 1e-6])
def test_a_tiny_temperature_takes_the_likeliest_token(temperature: float) -> None:
    logits = torch.zeros(1, 50)
    logits[0, 7] = 30.0
    row = SamplingRow(SamplingParams(temperature=temperature), 3, 0, (), ())
    assert [token.token_id for token in Sampler().sample(logits, [row])] == [7]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_rows_without_finite_logits_say_so(value: float, temperature: float) -> None:
    logits = torch.randn(3, 8, generator=torch.Generator().manual_seed(0))
    logits[1] = value
    # Excluded tokens are no fault of the model.
    logits[2, 4:] = -math.inf
    rows = [row(temperature=temperature, banned=(1,), logprobs=1) for _ in range(3)]
    assert [token.is_finite for token in SAMPLER.sample(logits, rows)] == [True, False, True]


def test_greedy_tokens_and_their_check_come_in_one_copy() -> None:
    logits = torch.randn(4, 8)
    copies: list[str] = []

    def counted(name: str) -> Any:
        original = getattr(torch.Tensor, name)

        def count(self: torch.Tensor, *arguments: Any) -> Any:
            copies.append(name)
            return original(self, *arguments)

        return count

    names = ("tolist", "item", "cpu", "numpy", "__bool__", "__int__", "__float__")
    with mock.patch.multiple(torch.Tensor, **{name: counted(name) for name in names}):
        tokens = SAMPLER.sample(logits, [row() for _ in range(4)])
    assert copies == ["tolist"]
    assert [token.token_id for token in tokens] == logits.argmax(-1).tolist()
