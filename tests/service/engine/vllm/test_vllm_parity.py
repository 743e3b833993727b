"""A real vLLM gives what the oracle and the torch engine give."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from lamm_model.modeling import LammForConditionalGeneration
from service.engine.base import Engine, GenerationRequest, GrammarKind, GrammarSource
from service.engine.loading.model_source import ModelSource
from tests.service.engine.adapters import merged_oracle, source
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
from tests.service.engine.vllm_server import VllmServer

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def vllm_oracle(vllm_checkpoint: Path) -> Oracle:
    return Oracle(LammForConditionalGeneration.from_pretrained(vllm_checkpoint).eval())  # type: ignore[no-untyped-call]


async def test_greedy_tokens_of_text_pictures_and_clouds_in_one_batch(
    vllm_engine: EngineMaker, vllm_oracle: Oracle, make_request: RequestMaker
) -> None:
    requests = [
        make_request(20),
        make_request(media=(picture(1),)),
        make_request(media=(cloud(1),)),
        make_request(media=(picture(1), cloud(2), picture(3))),
        make_request(40, media=(cloud(1), picture(2))),
        make_request(90),
    ]
    async with vllm_engine() as engine:
        answers = await asyncio.gather(*(tokens_of(engine, one) for one in requests))
        again = await asyncio.gather(*(tokens_of(engine, one) for one in requests))
        assert engine.stats().mm_cache_hits_total > 0
    assert answers == [vllm_oracle(one) for one in requests]
    assert again == answers


async def test_each_adapter_has_its_own_lora_and_projectors(
    vllm_engine: EngineMaker,
    vllm_checkpoint: Path,
    vllm_server: VllmServer,
    make_request: RequestMaker,
    tmp_path: Path,
) -> None:
    files = vllm_server.log.parent
    adapters: dict[str, Path | None] = {
        vllm_checkpoint.name: None, "red": files / "red", "blue": files / "blue"
    }  # fmt: skip
    models = [source(name, vllm_checkpoint, path) for name, path in adapters.items()]
    plain = [make_request(15), make_request(media=(picture(1), cloud(1)))]
    requests = [replace(one, model=name) for name in adapters for one in plain]
    async with vllm_engine(models=models) as engine:
        answers = await asyncio.gather(*(tokens_of(engine, one) for one in requests))
    oracles = {
        name: merged_oracle(vllm_checkpoint, path, tmp_path / name)
        for name, path in adapters.items()
    }
    assert answers == [oracles[str(one.model)](one) for one in requests]
    assert len({tuple(one) for one in answers}) == len(answers)


@pytest.mark.parametrize(
    "params",
    [
        {"repetition_penalty": 1.3},
        {"frequency_penalty": 1.0, "presence_penalty": 0.5},
        {"logit_bias": {7: 4.0, 9: -100.0}},
        {"top_p": 0.0, "temperature": 1.0},
        {"min_tokens": 6, "ignore_eos": False, "logit_bias": {2: 100.0}},
        {"stop_token_ids": (11, 12, 13, 14, 15, 16, 17, 18, 19)},
    ],
    ids="+".join,
)
async def test_sampling_fields_mean_what_they_mean_to_the_torch_engine(
    vllm_engine: EngineMaker,
    torch_engine: EngineMaker,
    vllm_checkpoint: Path,
    make_request: RequestMaker,
    params: dict[str, Any],
) -> None:
    requests = [
        make_request(12, **{"max_tokens": 20, **params}),
        make_request(12, media=(picture(2),), **{"max_tokens": 20, **params}),
    ]
    ours, theirs = await _both(vllm_engine, torch_engine, vllm_checkpoint, requests)
    assert theirs == ours


async def test_log_probabilities(
    vllm_engine: EngineMaker,
    torch_engine: EngineMaker,
    vllm_checkpoint: Path,
    make_request: RequestMaker,
) -> None:
    request = make_request(12, media=(cloud(2),), max_tokens=6, logprobs=5)
    models = (ModelSource.from_pretrained(vllm_checkpoint),)
    async with torch_engine(models=models) as engine:
        ours = [entry for chunk in await collect(engine, request) for entry in chunk.logprobs]
    async with vllm_engine() as engine:
        theirs = [entry for chunk in await collect(engine, request) for entry in chunk.logprobs]
    assert [entry.token_id for entry in theirs] == [entry.token_id for entry in ours]
    for one, other in zip(theirs, ours, strict=True):
        assert [top[:2] for top in one.top] == [top[:2] for top in other.top]
        # Rows that pad vLLM's vocabulary take an equal part from all.
        pairs = zip(other.top, one.top, strict=True)
        lower = [full[2] - part[2] for full, part in pairs]
        assert max(lower) - min(lower) < 1e-3
        assert 0 <= min(lower) < 0.5


async def test_scores_of_continuations(
    vllm_engine: EngineMaker,
    torch_engine: EngineMaker,
    vllm_checkpoint: Path,
    make_request: RequestMaker,
) -> None:
    base = make_request(20, media=(picture(4), cloud(4)))
    requests = [
        replace(base, continuation_token_ids=ids) for ids in ((5,), (5, 9, 7), (5, 9, 8, 8))
    ]
    models = (ModelSource.from_pretrained(vllm_checkpoint),)
    async with torch_engine(models=models) as engine:
        ours = [await _scores(engine, one) for one in requests]
        # Rows that pad vLLM's vocabulary copy the unknown token, whose id is 0.
        known = [ids[:at] for ids in ((5, 9, 7), (5, 9, 8, 8)) for at in range(len(ids))]
        unknown = {
            ids: (await _scores(engine, replace(base, continuation_token_ids=(*ids, 0))))[-1]
            for ids in known
        }
    async with vllm_engine() as engine:
        theirs = await asyncio.gather(*(_scores(engine, one) for one in requests))
    own = models[0].spec.vocab_size
    padding = -(-(own + 1) // 64) * 64 - own
    for request, one, other in zip(requests, theirs, ours, strict=True):
        ids = request.continuation_token_ids
        lower = [math.log1p(padding * math.exp(unknown[ids[:at]])) for at in range(len(ids))]
        assert one == pytest.approx([a - b for a, b in zip(other, lower, strict=True)], abs=1e-3)


async def test_grammars_are_laid_out_as_by_the_torch_engine(
    vllm_engine: EngineMaker,
    torch_engine: EngineMaker,
    vllm_checkpoint: Path,
    make_request: RequestMaker,
) -> None:
    schema = (
        '{"type": "object", "properties": {"a": {"enum": ["x", "y"]}, "b": {"type": "array", '
        '"items": {"type": "boolean"}, "minItems": 2, "maxItems": 2}}, "required": ["a", "b"], '
        '"additionalProperties": false}'
    )
    grammars = [
        GrammarSource(GrammarKind.JSON_SCHEMA, schema),
        GrammarSource(GrammarKind.LARK, 'start: "one" | "two" " " "three"'),
    ]
    requests = [
        replace(make_request(20, ignore_eos=False, max_tokens=90), grammar=grammar)
        for grammar in grammars
    ]
    ours, theirs = await _both(vllm_engine, torch_engine, vllm_checkpoint, requests)
    assert theirs == ours


async def test_a_seed_gives_the_same_sample_alone_and_in_a_batch(
    vllm_engine: EngineMaker, make_request: RequestMaker
) -> None:
    plain = make_request(12)
    seeded = [
        replace(plain, sampling_params=replace(plain.sampling_params, temperature=1.5, seed=seed))
        for seed in (3, 4, -1)
    ]
    async with vllm_engine() as engine:
        alone = [await tokens_of(engine, one) for one in seeded]
        together = await asyncio.gather(*(tokens_of(engine, one) for one in seeded))
    assert together == alone
    assert len({tuple(one) for one in alone}) == 3


async def test_closing_frees_vllm_within_a_step(
    vllm_engine: EngineMaker, vllm_server: VllmServer, make_request: RequestMaker
) -> None:
    async with vllm_engine() as engine:
        async with aclosing(engine.generate(make_request(9, max_tokens=240))) as chunks:
            async for _ in chunks:
                break
        assert engine.stats().running == 0
        await until(lambda: _running(vllm_server) == 0)
        assert engine.stats().generation_tokens_total < 100


async def _both(
    vllm_engine: EngineMaker,
    torch_engine: EngineMaker,
    checkpoint: Path,
    requests: Sequence[GenerationRequest],
) -> tuple[list[Any], list[Any]]:
    """Text, tokens and ends of the torch engine, then of the vLLM engine."""
    models = (ModelSource.from_pretrained(checkpoint),)
    async with torch_engine(models=models) as engine:
        ours = [await _answer(engine, one) for one in requests]
    async with vllm_engine() as engine:
        theirs = await asyncio.gather(*(_answer(engine, one) for one in requests))
    return ours, list(theirs)


async def _answer(engine: Engine, request: GenerationRequest) -> Any:
    chunks = await collect(engine, request)
    text = "".join(chunk.text for chunk in chunks)
    tokens = [token for chunk in chunks for token in chunk.token_ids]
    return text, tokens, chunks[-1].finish_reason, chunks[-1].stop_reason


async def _scores(engine: Engine, request: GenerationRequest) -> list[float]:
    [chunk] = await collect(engine, request)
    return [entry.logprob for entry in chunk.logprobs]


def _running(server: VllmServer) -> float:
    metrics = httpx.get(f"{server.url}/metrics", timeout=10).text
    [line] = [one for one in metrics.splitlines() if one.startswith("vllm:num_requests_running{")]
    return float(line.split()[-1])
