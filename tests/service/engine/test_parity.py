"""The serving engine's greedy output is the oracle's, token for token, whatever else is running."""

from __future__ import annotations

import asyncio
import random
from contextlib import aclosing
from typing import Any

import pytest

from service.engine.base import FinishReason, GenerationRequest
from tests.service.engine.harness import (
    EngineMaker,
    Oracle,
    RequestMaker,
    cloud,
    collect,
    picture,
    tokens_of,
    until,
)


async def test_one_request(
    torch_engine: EngineMaker, oracle: Oracle, make_request: RequestMaker
) -> None:
    request = make_request(20)
    async with torch_engine() as engine:
        assert await tokens_of(engine, request) == oracle(request)


async def test_pictures_and_clouds(
    torch_engine: EngineMaker, oracle: Oracle, make_request: RequestMaker
) -> None:
    requests = [
        make_request(media=(picture(1),)),
        make_request(media=(cloud(1),)),
        make_request(media=(picture(1), cloud(2), picture(3))),
        make_request(40, media=(cloud(1), picture(2))),
    ]
    async with torch_engine() as engine:
        found = await asyncio.gather(*(tokens_of(engine, r) for r in requests))
        assert engine.stats().mm_cache_hits_total > 0
    assert found == [oracle(r) for r in requests]


@pytest.mark.parametrize("prefix_caching", [True, False])
async def test_batch_of_many_equals_each_alone(
    torch_engine: EngineMaker, oracle: Oracle, make_request: RequestMaker, prefix_caching: bool
) -> None:
    media = [(), (picture(5),), (cloud(6),)]
    requests = [make_request(5 + 7 * i, media=media[i % 3], max_tokens=10 + i) for i in range(14)]
    async with torch_engine(enable_prefix_caching=prefix_caching) as engine:
        together = await asyncio.gather(*(tokens_of(engine, r) for r in requests))
        alone = [await tokens_of(engine, r) for r in requests]
        stats = engine.stats()
    assert together == alone == [oracle(r) for r in requests]
    assert (stats.prefix_cache_hits_total > 0) is prefix_caching


async def test_random_arrivals_aborts_and_preemption(
    torch_engine: EngineMaker, oracle: Oracle, make_request: RequestMaker
) -> None:
    # 12 blocks of 16 tokens for 8 seats: sequences of some 70 tokens cannot all stay.
    rng = random.Random(3)
    per_token = 2 * 2 * 2 * 16 * 4
    pool = [(), (picture(1),), (picture(2), cloud(1))]
    wrong: list[Any] = []

    async def one(request: GenerationRequest, keep: Any) -> None:
        # Two of three come at once, so that they meet however slow the machine is.
        await asyncio.sleep(rng.choice((0.0, 0.0, rng.random() * 0.02)))
        got = []
        async with aclosing(engine.generate(request)) as chunks:
            async for chunk in chunks:
                got += chunk.token_ids
                if len(got) >= keep:
                    break
        expected = oracle(request)
        if got != expected[: len(got)] or len(got) < min(keep, len(expected)):
            wrong.append((request.request_id, got, expected))

    requests = [
        make_request(
            rng.randint(2, 30),
            media=rng.choice(pool),
            max_tokens=rng.randint(20, 50),
            priority=rng.randint(0, 2),
        )
        for _ in range(24)
    ]
    for request in requests:
        oracle(request)
    config = {
        "kv_cache_bytes": 12 * 16 * per_token, "max_model_len": 12 * 16,
        "enable_prefix_caching": False,
    }  # fmt: skip
    async with torch_engine(**config) as engine:
        await asyncio.gather(*(one(r, rng.choice([3, 1000, 1000])) for r in requests))
        await until(lambda: engine.stats().running == 0)
        stats = engine.stats()
    assert wrong == []
    assert stats.preemptions_total > 0
    assert (stats.waiting, stats.kv_cache_usage) == (0, 0)


async def test_preempted_sequences_come_back_through_the_prefix_store(
    torch_engine: EngineMaker, oracle: Oracle, make_request: RequestMaker
) -> None:
    requests = [make_request(30, max_tokens=60) for _ in range(6)]
    async with torch_engine(kv_cache_bytes=24 * 16 * 512) as engine:
        found = await asyncio.gather(*(tokens_of(engine, r) for r in requests))
        stats = engine.stats()
    assert found == [oracle(r) for r in requests]
    assert stats.preemptions_total > 0
    assert stats.prefix_cache_hits_total > 0


async def test_a_known_prefix_is_not_computed_again(
    torch_engine: EngineMaker, oracle: Oracle, make_request: RequestMaker
) -> None:
    first = make_request(40, seed=1, media=(picture(8), cloud(8)))
    same_placeholders = make_request(40, seed=1, media=(picture(9), cloud(8)))
    async with torch_engine() as engine:
        assert await tokens_of(engine, first) == oracle(first)
        again = await collect(engine, first)
        other = await collect(engine, same_placeholders)
    assert [t for c in again for t in c.token_ids] == oracle(first)
    # 70 prompt tokens are 4 full blocks; the picture begins in the third.
    assert again[-1].cached_tokens == 64
    # Another picture has the same placeholder ids: what stands before it is shared, it is not.
    assert [t for c in other for t in c.token_ids] == oracle(same_placeholders)
    assert other[-1].cached_tokens == 32
    assert oracle(first) != oracle(same_placeholders)


async def test_context_limit_ends_a_sequence(
    torch_engine: EngineMaker, oracle: Oracle, make_request: RequestMaker
) -> None:
    request = make_request(50, max_tokens=100)
    async with torch_engine(max_model_len=64) as engine:
        chunks = await collect(engine, request)
    assert [t for c in chunks for t in c.token_ids] == oracle(request)[:14]
    assert chunks[-1].finish_reason is FinishReason.LENGTH


async def test_half_precision_runs(torch_engine: EngineMaker, make_request: RequestMaker) -> None:
    async with torch_engine(dtype="bfloat16", num_threads=1) as engine:
        tokens = await tokens_of(engine, make_request(20, media=(picture(1), cloud(1))))
    assert len(tokens) == 16
