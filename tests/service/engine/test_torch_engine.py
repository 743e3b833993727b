"""Sampling parameters, failures and recovery of the real engine, on the tiny checkpoint."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from lamm_model.spec import CheckpointError
from service.engine.base import (
    EngineStoppedError,
    FinishReason,
    GenerationRequest,
    MediaSpan,
    RequestFailedError,
)
from service.engine.config import DeviceKind, EngineConfig, EngineConfigError
from service.engine.echo_engine import EchoEngine
from service.engine.factory import create_engine
from service.engine.loading.model_source import ModelSource
from service.engine.model_runner import ModelRunner
from service.engine.readout import Readout
from service.engine.torch_engine import TorchEngine
from service.engine.vllm.engine import VllmEngine
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

SAMPLED: dict[str, Any] = {"temperature": 1.5, "max_tokens": 12}


async def test_a_seed_gives_the_same_answer_alone_and_in_a_batch(
    torch_engine: EngineMaker, make_request: RequestMaker
) -> None:
    variants: list[dict[str, Any]] = [
        {},
        {"top_p": 0.8},
        {"top_k": 20},
        {"min_p": 0.02, "repetition_penalty": 1.3},
    ]
    requests = [make_request(10 + i, seed=i, **SAMPLED, **variants[i % 4]) for i in range(8)]
    seeded = [
        dataclasses.replace(r, sampling_params=dataclasses.replace(r.sampling_params, seed=i // 2))
        for i, r in enumerate(requests)
    ]
    async with torch_engine() as engine:
        together = await asyncio.gather(*(tokens_of(engine, r) for r in seeded))
        alone = [await tokens_of(engine, r) for r in seeded]
        unseeded = [await tokens_of(engine, requests[0]) for _ in range(4)]
    assert together == alone
    assert len({tuple(tokens) for tokens in unseeded}) > 1


async def test_logprobs_follow_the_tokens(
    torch_engine: EngineMaker, make_request: RequestMaker
) -> None:
    request = make_request(10, logprobs=3, max_tokens=5)
    async with torch_engine() as engine:
        chunks = await collect(engine, request)
    entries = [entry for chunk in chunks for entry in chunk.logprobs]
    tokens = [token for chunk in chunks for token in chunk.token_ids]
    assert [entry.token_id for entry in entries] == tokens
    for entry in entries:
        assert len(entry.top) == 3
        # Greedy: the chosen token is the best alternative.
        assert entry.top[0] == (entry.token_id, entry.text, entry.logprob)
        assert entry.logprob <= 0


async def test_ends_of_text(
    torch_engine: EngineMaker, make_request: RequestMaker, oracle: Oracle
) -> None:
    request = make_request(10, max_tokens=12)
    tokens = oracle(request)
    cut = next(i for i in range(3, 12) if tokens[i] not in tokens[:i])

    def variant(**changes: Any) -> Any:
        params = dataclasses.replace(request.sampling_params, **changes)
        return dataclasses.replace(request, sampling_params=params)

    async with torch_engine() as engine:
        stopped = await collect(engine, variant(stop_token_ids=(tokens[cut],)))
        kept = await collect(engine, variant(stop_token_ids=(tokens[cut],), min_tokens=12))
        biased = await collect(engine, variant(logit_bias={2: 100.0}, ignore_eos=False))
        ignored = await collect(engine, variant(logit_bias={2: 100.0}))
        late = await collect(engine, variant(logit_bias={2: 100.0}, ignore_eos=False, min_tokens=4))
    assert [t for c in stopped for t in c.token_ids] == tokens[: cut + 1]
    assert (stopped[-1].finish_reason, stopped[-1].stop_reason) == (FinishReason.STOP, tokens[cut])
    assert tokens[cut] not in [t for c in kept for t in c.token_ids]
    assert (biased[-1].finish_reason, biased[-1].stop_reason) == (FinishReason.STOP, None)
    assert (biased[-1].token_ids, biased[-1].text) == ((2,), "")
    assert ignored[-1].finish_reason is FinishReason.LENGTH
    # A reader that falls behind gets several tokens in one chunk.
    assert late[-1].completion_tokens == 5
    assert [t for c in late for t in c.token_ids].index(2) == 4


async def test_a_medium_that_breaks_its_encoder_fails_alone(
    torch_engine: EngineMaker, make_request: RequestMaker, oracle: Oracle
) -> None:
    broken = dataclasses.replace(picture(1), digest="broken", array=np.zeros((3, 5, 5), np.float32))
    good = make_request(12, media=(picture(1),))
    bad = make_request(12, media=(broken,))
    async with torch_engine() as engine:
        found, refusal, again = await asyncio.gather(
            tokens_of(engine, good),
            collect(engine, bad),
            tokens_of(engine, make_request(9)),
            return_exceptions=True,
        )
        assert isinstance(refusal, RequestFailedError)
        assert str(refusal) == "a medium of this request could not be encoded"
        assert found == oracle(good)
        assert not isinstance(again, BaseException)
        assert len(again) == 16
        await until(lambda: engine.stats().kv_cache_usage == 0)


async def test_features_must_fit_their_placeholders(
    torch_engine: EngineMaker, make_request: RequestMaker
) -> None:
    request = make_request(12, media=(cloud(1),))
    span = request.media[0]
    short = GenerationRequest(
        "short",
        request.prompt_token_ids[: span.offset + 5],
        request.sampling_params,
        (MediaSpan(span.offset, 5, span.media),),
    )
    async with torch_engine() as engine:
        with pytest.raises(RequestFailedError, match="5 placeholders but 8 features"):
            await collect(engine, short)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prompt_token_ids": ()}, "the prompt has 0 tokens"),
        ({"prompt_token_ids": (1, 10**6)}, "1 prompt tokens outside media spans"),
        ({"media": (MediaSpan(3, 99, picture(1)),)}, "spans 99 tokens from 3"),
    ],
)
async def test_malformed_requests_are_refused(
    torch_engine: EngineMaker, make_request: RequestMaker, changes: Any, message: str
) -> None:
    request = dataclasses.replace(make_request(9), **changes)
    async with torch_engine() as engine:
        with pytest.raises(RequestFailedError, match=message):
            await collect(engine, request)
        with pytest.raises(RequestFailedError, match="logit_bias has token id 99999"):
            await collect(engine, make_request(9, logit_bias={99999: 1.0}))


async def test_a_failed_step_fails_what_runs_and_the_engine_goes_on(
    torch_engine: EngineMaker,
    make_request: RequestMaker,
    oracle: Oracle,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    request, run, calls = make_request(9), ModelRunner.run, []

    def flaky(self: Any, output: Any) -> Any:
        calls.append(1)
        if len(calls) == 3:
            raise RuntimeError("a kernel failed")
        return run(self, output)

    monkeypatch.setattr(ModelRunner, "run", flaky)
    async with torch_engine() as engine:
        with pytest.raises(RequestFailedError, match="the engine failed in this step"):
            await collect(engine, request)
        assert "a step failed" in caplog.text
        assert engine.stats().running == 0
        assert engine.stats().alive
        assert await tokens_of(engine, request) == oracle(request)


async def test_an_engine_that_fails_every_step_says_that_it_is_dead(
    torch_engine: EngineMaker, make_request: RequestMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dead(self: Any, output: Any) -> None:
        raise RuntimeError("the device is gone")

    monkeypatch.setattr(ModelRunner, "run", dead)
    async with torch_engine() as engine:
        # Giving the first one's slot back is a step, too, and fails as well.
        for _ in range(2):
            with pytest.raises(RequestFailedError):
                await collect(engine, make_request(9))
            # That its reader is gone is no step.
            await asyncio.sleep(0.05)
        await until(lambda: not engine.stats().alive)
        with pytest.raises(EngineStoppedError):
            await collect(engine, make_request(9))


async def test_facts_at_start(checkpoint: Path) -> None:
    config = EngineConfig(device=DeviceKind.CPU, kv_cache_bytes=1 << 20, max_num_seqs=4)
    engine = TorchEngine((ModelSource.from_pretrained(checkpoint),), config)
    info = await engine.start()
    await engine.stop()
    assert (info.engine, info.device, info.dtype) == ("torch", "cpu", "float32")
    # 512 bytes a token; three quarters of a MiB run, one keeps prefixes; 4 seats of 256 tokens.
    assert (info.kv_cache_tokens, info.max_model_len, info.max_num_seqs) == (1024, 256, 4)
    assert info.max_concurrent_full_length == 4
    assert info.weights_bytes > 400_000
    with pytest.raises(EngineStoppedError, match="started only once"):
        await engine.start()


async def test_starting_without_a_device_or_memory_fails(checkpoint: Path) -> None:
    models = (ModelSource.from_pretrained(checkpoint),)
    if not torch.cuda.is_available():
        with pytest.raises(EngineConfigError, match="no CUDA device"):
            await TorchEngine(models, EngineConfig(device=DeviceKind.CUDA)).start()
    config = EngineConfig(device=DeviceKind.CPU, kv_cache_bytes=100)
    with pytest.raises(EngineConfigError, match="kv_cache_bytes is 100"):
        await TorchEngine(models, config).start()


async def test_media_are_encoded_once_within_the_budget(
    torch_engine: EngineMaker, make_request: RequestMaker
) -> None:
    # One picture's features are 16 x 64 floats: 4 KiB.
    requests = [make_request(9, media=(picture(i),), max_tokens=1) for i in (1, 1, 2, 1)]
    hits = []
    for budget in (4096, 8192, 0):
        async with torch_engine(mm_cache_bytes=budget, max_num_batched_tokens=64) as engine:
            for request in requests:
                await collect(engine, request)
            assert engine.stats().mm_cache_queries_total == 4
            hits.append(engine.stats().mm_cache_hits_total)
    assert hits == [1, 2, 0]


def test_factory(checkpoint: Path, tmp_path: Path) -> None:
    config, models = EngineConfig(), (ModelSource.from_pretrained(checkpoint),)
    assert isinstance(create_engine("torch", models, config), TorchEngine)
    assert isinstance(create_engine("echo", models, config), EchoEngine)
    assert isinstance(create_engine("vllm", models, config), VllmEngine)
    with pytest.raises(ValueError, match="engine 'tpu' is unknown"):
        create_engine("tpu", models, config)
    with pytest.raises(CheckpointError, match=r"config\.json is missing"):
        ModelSource.from_pretrained(tmp_path)


async def test_weights_that_do_not_fit_stop_the_start_with_their_names(
    checkpoint: Path, tmp_path: Path
) -> None:
    shutil.copytree(checkpoint, tmp_path, dirs_exist_ok=True)
    weights = load_file(tmp_path / "model.safetensors")
    del weights["image_projector.bias"]
    weights["point_projector.weight"] = weights["point_projector.weight"][:3].contiguous()
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    models = (ModelSource.from_pretrained(tmp_path),)
    with pytest.raises(CheckpointError) as caught:
        await TorchEngine(models, EngineConfig(device=DeviceKind.CPU)).start()
    assert "image_projector.bias" in str(caught.value)
    assert "point_projector.weight: [3, " in str(caught.value)


async def test_tokens_within_the_chunk_interval_go_out_together(
    torch_engine: EngineMaker, make_request: RequestMaker
) -> None:
    request = make_request(9, max_tokens=24, ignore_eos=True)
    async with torch_engine(chunk_interval_s=0.0) as engine:
        alone = await collect(engine, request)
    async with torch_engine(chunk_interval_s=60.0) as engine:
        together = await collect(engine, request)
    assert len(together) == 2
    assert len(together[0].token_ids) == 1
    assert "".join(c.text for c in together) == "".join(c.text for c in alone)
    assert [t for c in together for t in c.token_ids] == [t for c in alone for t in c.token_ids]
    assert together[-1].completion_tokens == 24


async def test_what_is_encoded_is_told_once_and_never_for_cache_hits(
    torch_engine: EngineMaker, make_request: RequestMaker
) -> None:
    shown = (picture(1), cloud(1))
    # Two choices of one request, and another request of the same step.
    requests = [make_request(8, seed=3, media=shown, max_tokens=3) for _ in range(3)]
    async with torch_engine(max_num_batched_tokens=256) as engine:
        answers = await asyncio.gather(*(collect(engine, one) for one in requests))
        [*_, last] = await collect(engine, make_request(9, media=shown, max_tokens=3))
    told = [medium for chunks in answers for medium in chunks[-1].timings.encoded_media]
    assert sorted(medium.modality for medium in told) == ["image", "point_cloud"]
    assert all(0 < medium.seconds < 60 for medium in told)
    # Each has its own time, and together they took no longer than the request waited for both.
    encode = max(chunks[-1].timings.encode for chunks in answers)
    assert sum(medium.seconds for medium in told) <= encode
    assert last.timings.encoded_media == ()


async def test_the_tokens_of_logprobs_spell_the_text(
    torch_engine: EngineMaker, make_request: RequestMaker
) -> None:
    """A prompt and its answer put together are the text that the model saw and wrote."""
    the = 297  # "\u2581the\u2581"
    biases: dict[str, Any] = {"logit_bias": {the: 100.0}, "logprobs": 0, "max_tokens": 2}
    async with torch_engine() as engine:
        chunks = await collect(engine, make_request(9, **biases))
    text = "".join(chunk.text for chunk in chunks)
    assert [t for c in chunks for t in c.token_ids] == [the, the]
    assert text == "".join(entry.text for c in chunks for entry in c.logprobs)
    assert text.startswith(" the")


async def test_logits_that_are_not_finite_fail_their_request_alone(
    torch_engine: EngineMaker,
    make_request: RequestMaker,
    oracle: Oracle,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    good, sick = make_request(9), make_request(10, temperature=1.0)
    read = Readout.read

    def poisoned(self: Any, logits: Any, chunks: Any) -> Any:
        ends = itertools.accumulate(chunk.num_logits for chunk in chunks)
        for end, chunk in zip(ends, chunks, strict=True):
            sequence = chunk.sequence
            if sequence.request.request_id == sick.request_id and sequence.num_output_tokens == 3:
                logits[end - chunk.num_logits : end] = torch.nan
        return read(self, logits, chunks)

    monkeypatch.setattr(Readout, "read", poisoned)
    async with torch_engine() as engine:
        found, failure = await asyncio.gather(
            tokens_of(engine, good), collect(engine, sick), return_exceptions=True
        )
        assert isinstance(failure, RequestFailedError)
        assert str(failure) == "the model's logits for this request are not finite"
        assert found == oracle(good)
        await until(lambda: engine.stats().kv_cache_usage == 0)
