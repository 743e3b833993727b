"""Options' log-probabilities through the engine are the oracle's, whatever else is running."""

from __future__ import annotations

import asyncio
import dataclasses
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lamm_model.conversation import Modality, Turn, render
from lamm_model.decoder.kv_cache import KVCache
from lamm_model.decoder.llama import LlamaDecoder
from lamm_model.modeling import LammForConditionalGeneration
from lamm_model.tokenizer import LammTokenizer
from service.answer.likelihood import OptionScore, continuation_ids, option_logprobs
from service.engine.base import GenerationRequest, PromptTooLongError, RequestFailedError
from service.engine.config import EngineConfig
from service.engine.echo_engine import EchoEngine
from service.engine.model_runner import ModelRunner
from service.engine.output import SequenceOutput
from service.engine.scheduler import Scheduler
from tests.service.engine.adapters import make_adapter, merged_oracle, source
from tests.service.engine.harness import (
    EngineMaker,
    Oracle,
    RequestMaker,
    build_tokenizer,
    cloud,
    collect,
    picture,
    tokens_of,
    until,
)

OPTIONS = ((40,), (41, 50, 60), (41, 50, 61, 7, 90), (200, 201))


def expected(
    model: LammForConditionalGeneration,
    request: GenerationRequest,
    options: Sequence[tuple[int, ...]] = OPTIONS,
) -> list[OptionScore]:
    """Each option by itself through the whole model: a forward pass, a softmax in float32."""
    inputs = {}
    for name, modality in (("pixel_values", Modality.IMAGE), ("points", Modality.POINT_CLOUD)):
        arrays = [s.media.array for s in request.media if s.media.modality is modality]
        if arrays:
            inputs[name] = torch.from_numpy(np.stack(arrays))
    scores = []
    for option in options:
        ids = torch.tensor([[*request.prompt_token_ids, *option]])
        with torch.inference_mode():
            logits = model(input_ids=ids, attention_mask=torch.ones_like(ids), **inputs).logits[0]
        start = len(request.prompt_token_ids) - 1
        logprobs = torch.log_softmax(logits[start : start + len(option)].float(), dim=-1)
        values = logprobs[torch.arange(len(option)), torch.tensor(option)]
        each = tuple(float(value) for value in values)
        scores.append(OptionScore(float(values.sum()), len(option), logprobs=each))
    return scores


def close(found: Sequence[OptionScore], wanted: Sequence[OptionScore]) -> bool:
    return [s.num_tokens for s in found] == [s.num_tokens for s in wanted] and all(
        abs(a.logprob - b.logprob) < 1e-4
        and all(abs(x - y) < 1e-4 for x, y in zip(a.logprobs, b.logprobs, strict=True))
        for a, b in zip(found, wanted, strict=True)
    )


@pytest.mark.parametrize("chunk", [5, 13, 256])
async def test_every_kind_of_prompt_in_chunks_of_any_size(
    torch_engine: EngineMaker, oracle: Oracle, make_request: RequestMaker, chunk: Any
) -> None:
    requests = [
        make_request(9),
        make_request(12, media=(picture(1),)),
        make_request(7, media=(cloud(1),)),
        make_request(30, media=(picture(2), cloud(2))),
        # Prompts that end at a block's border and beside it: 16 tokens make a block.
        *(make_request(length) for length in (15, 16, 17, 32)),
    ]
    wanted = [expected(oracle.model, request) for request in requests]
    config = {"max_num_seqs": 4, "max_num_batched_tokens": chunk}
    async with torch_engine(**config) as engine:
        alone = [await option_logprobs(engine, r, OPTIONS) for r in requests[:4]]
        together = await asyncio.gather(*(option_logprobs(engine, r, OPTIONS) for r in requests))
        assert engine.stats().generation_tokens_total == 0
    assert all(close(*pair) for pair in zip(alone, wanted[:4], strict=True))
    assert all(close(*pair) for pair in zip(together, wanted, strict=True))


async def test_among_live_traffic_and_preempted(
    torch_engine: EngineMaker,
    oracle: Oracle,
    make_request: RequestMaker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Every few steps the last in order loses its slot, as when the KV cache is full.
    steps, preempted, schedule = [], [], Scheduler.schedule

    def preempt_some(self: Any) -> Any:
        steps.append(1)
        if len(steps) % 7 == 0 and self.running:
            preempted.append(self.running[-1].is_scoring)
            self._preempt(self.running[-1])
        return schedule(self)

    monkeypatch.setattr(Scheduler, "schedule", preempt_some)
    rng = random.Random(5)
    long = tuple(rng.randrange(3, 300) for _ in range(60))
    options = (long, long[:30], (9,))
    live = [make_request(20, media=(picture(i % 2),), max_tokens=20) for i in range(4)]
    asked = [make_request(10, media=(picture(i),)) for i in range(3)]
    wanted = [expected(oracle.model, request, options) for request in asked]
    for caching in (False, True):
        async with torch_engine(enable_prefix_caching=caching) as engine:
            tokens, scores = await asyncio.gather(
                asyncio.gather(*(tokens_of(engine, r) for r in live)),
                asyncio.gather(*(option_logprobs(engine, r, options) for r in asked)),
            )
            stats = engine.stats()
        assert tokens == [oracle(r) for r in live]
        assert all(close(*pair) for pair in zip(scores, wanted, strict=True))
        assert (stats.running, stats.waiting, stats.kv_cache_usage) == (0, 0, 0)
    assert {True, False} == set(preempted)


async def test_options_share_the_prompt_and_its_picture(
    torch_engine: EngineMaker,
    oracle: Oracle,
    make_request: RequestMaker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    computed, run = [], ModelRunner.run

    def record(self: Any, output: Any) -> Any:
        computed.append(sum(chunk.num_tokens for chunk in output.chunks))
        return run(self, output)

    rows, forward = [], LlamaDecoder.forward

    def record_rows(
        self: Any, embeds: Any, plan: Any, cache: KVCache, logit_rows: Any, adapters: Any = None
    ) -> Any:
        rows.append(len(logit_rows))
        return forward(self, embeds, plan, cache, logit_rows, adapters)

    monkeypatch.setattr(ModelRunner, "run", record)
    monkeypatch.setattr(LlamaDecoder, "forward", record_rows)
    request = make_request(60, media=(picture(4),))  # 79 tokens; the last block begins at 64
    async with torch_engine(mm_cache_bytes=0) as engine:
        [first] = await option_logprobs(engine, request, OPTIONS[:1])
        assert (sum(computed), sum(rows)) == (79, 1)
        rest = await option_logprobs(engine, request, OPTIONS[1:])
        # The picture (positions 60 to 75) reaches into the block that is computed again.
        lengths = [len(option) for option in OPTIONS[1:]]
        assert sum(computed) == 79 + sum(15 + length - 1 for length in lengths)
        assert sum(rows) == 1 + sum(lengths)
        early = make_request(media=(picture(4),))
        early = dataclasses.replace(
            early, prompt_token_ids=early.prompt_token_ids + request.prompt_token_ids[1:30]
        )
        await option_logprobs(engine, early, OPTIONS[:1])
        queries = engine.stats().mm_cache_queries_total
        again = await option_logprobs(engine, early, OPTIONS)
        assert engine.stats().mm_cache_queries_total == queries
    assert close([first, *rest], expected(oracle.model, request))
    assert close(again, expected(oracle.model, early))


async def test_each_model_scores_with_its_own_adapter(
    torch_engine: EngineMaker, checkpoint: Path, tmp_path: Path, make_request: RequestMaker
) -> None:
    adapter = make_adapter(checkpoint, tmp_path / "red", seed=1)
    oracles = {
        "red": merged_oracle(checkpoint, adapter, tmp_path / "merged"),
        "bare": merged_oracle(checkpoint, None, tmp_path),
    }
    models = (source("red", checkpoint, adapter), source("bare", checkpoint, None))
    base = make_request(14, media=(picture(1),))
    requests = {name: dataclasses.replace(base, model=name) for name in oracles}
    async with torch_engine(models=models) as engine:
        scoring = [option_logprobs(engine, request, OPTIONS) for request in requests.values()]
        found, said = await asyncio.gather(
            asyncio.gather(*scoring), tokens_of(engine, requests["red"])
        )
    wanted = [expected(oracles[name].model, request) for name, request in requests.items()]
    assert close(found[0], wanted[0])
    assert close(found[1], wanted[1])
    assert not close(wanted[0], wanted[1])
    assert said == oracles["red"](base)


async def test_cancelling_aborts(torch_engine: EngineMaker, make_request: RequestMaker) -> None:
    options = [(7 + i,) * 150 for i in range(12)]
    async with torch_engine(max_num_batched_tokens=8, enable_prefix_caching=False) as engine:
        task = asyncio.create_task(option_logprobs(engine, make_request(60), options))
        # The first one is scored, the others are there.
        await until(lambda: engine.stats().waiting > 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until(lambda: engine.stats().running == engine.stats().waiting == 0)
        assert engine.stats().prompt_tokens_total < 12 * 60


async def test_scores_that_cannot_be_read_fail_alone(
    torch_engine: EngineMaker, make_request: RequestMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    score = SequenceOutput.score

    def fragile(self: Any) -> Any:
        if self.sequence.request.continuation_token_ids == (7, 8):
            raise ValueError("no such piece")
        return score(self)

    monkeypatch.setattr(SequenceOutput, "score", fragile)
    good, bad = make_request(20), make_request(25)
    async with torch_engine() as engine, asyncio.timeout(60):
        found, refusal = await asyncio.gather(
            option_logprobs(engine, good, OPTIONS),
            option_logprobs(engine, bad, [(7, 8)]),
            return_exceptions=True,
        )
        assert isinstance(refusal, RequestFailedError)
        assert str(refusal) == "the engine failed in this request's scores"
        assert not isinstance(found, BaseException)
        assert len(found) == len(OPTIONS)
        await until(lambda: engine.stats().kv_cache_usage == 0)


async def test_what_cannot_be_scored(torch_engine: EngineMaker, make_request: RequestMaker) -> None:
    request = make_request(20)
    async with torch_engine(max_model_len=64) as engine:
        assert await option_logprobs(engine, request, []) == []
        with pytest.raises(ValueError, match="option 1 of 2 has 0 tokens"):
            await option_logprobs(engine, request, [(5,), ()])
        with pytest.raises(RequestFailedError, match="the continuation has token id 99999"):
            await option_logprobs(engine, request, [(5,), (6,), (99999,)])
        with pytest.raises(PromptTooLongError):
            await option_logprobs(engine, request, [(5,) * 45])
        [whole] = await option_logprobs(engine, request, [(5,) * 44])
        assert whole.num_tokens == 44
        await until(lambda: engine.stats().kv_cache_usage == 0)


async def test_the_scripted_engine_scores_alike_each_time(make_request: RequestMaker) -> None:
    engine = EchoEngine(EngineConfig(max_num_seqs=2))
    await engine.start()
    request = make_request(9)
    first = await option_logprobs(engine, request, OPTIONS)
    assert await option_logprobs(engine, request, OPTIONS) == first
    assert len({score.logprob for score in first}) == len(OPTIONS)
    assert len(await collect(engine, request)) > 1
    await engine.stop()


def test_an_answers_ids_are_those_of_its_chunk_in_training() -> None:
    tokenizer = LammTokenizer(build_tokenizer())
    turn = Turn("what is in the picture?")
    asked = tokenizer.encode_prompt(render([turn]), 1, [])
    answered = render([dataclasses.replace(turn, assistant="the brown fox")])
    whole = tokenizer.encode_prompt(answered, 1, [])
    assert asked + list(continuation_ids(tokenizer, "the brown fox\n###")) == whole
