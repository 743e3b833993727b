"""Several adapters over one base in one running batch: each request gets its own model's tokens."""

from __future__ import annotations

import asyncio
import dataclasses
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from lamm_model.config import LammConfig
from lamm_model.decoder.lora import LoraStack
from lamm_model.modeling import LammForConditionalGeneration
from lamm_model.processing import write_processor_config
from lamm_model.spec import CheckpointError
from service.engine.base import GenerationRequest, RequestFailedError
from service.engine.config import DeviceKind, EngineConfig, MemoryShare
from service.engine.loading.model_source import ModelSource
from service.engine.torch_engine import TorchEngine
from tests.service.engine.adapters import REST, make_adapter, merged_oracle, source
from tests.service.engine.harness import (
    NUM_POINTS,
    EngineMaker,
    Oracle,
    RequestMaker,
    cloud,
    collect,
    picture,
    tokens_of,
)

Family = dict[str, tuple[ModelSource, Oracle]]


@pytest.fixture(scope="module")
def family(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Family:
    """Two adapters of other ranks, scales and targets, and the base: sources and oracles."""
    root = tmp_path_factory.mktemp("family")
    adapters = {
        "red": make_adapter(checkpoint, root / "red", seed=1),
        "blue": make_adapter(checkpoint, root / "blue", seed=2, r=7, alpha=4, targets=REST),
        "bare": None,
    }
    return {
        name: (
            source(name, checkpoint, adapter),
            merged_oracle(checkpoint, adapter, root / f"{name}-merged"),
        )
        for name, adapter in adapters.items()
    }


@pytest.fixture
def models(family: Family) -> tuple[ModelSource, ...]:
    return tuple(model for model, _ in family.values())


def to(model: str, request: GenerationRequest) -> GenerationRequest:
    return dataclasses.replace(request, model=model, request_id=f"{model}-{request.request_id}")


def expected(family: Family, request: GenerationRequest) -> list[int]:
    assert request.model is not None
    return family[request.model][1](request)


def for_all(family: Family, request: GenerationRequest) -> list[GenerationRequest]:
    return [to(name, request) for name in family]


async def test_each_model_alone_gives_its_own_answer(
    torch_engine: EngineMaker,
    family: Family,
    models: tuple[ModelSource, ...],
    make_request: RequestMaker,
) -> None:
    requests = for_all(family, make_request(20))
    async with torch_engine(models=models) as engine:
        found = [await tokens_of(engine, request) for request in requests]
    assert found == [expected(family, request) for request in requests]
    assert len({tuple(tokens) for tokens in found}) == 3


@pytest.mark.parametrize("prefix_caching", [True, False])
async def test_a_mixed_batch_gives_each_request_its_own_models_tokens(
    torch_engine: EngineMaker,
    family: Family,
    models: tuple[ModelSource, ...],
    make_request: RequestMaker,
    prefix_caching: bool,
) -> None:
    media = [(), (picture(5),), (cloud(6), picture(7))]
    requests = [
        asked
        for i in range(5)
        for asked in for_all(family, make_request(5 + 9 * i, media=media[i % 3], max_tokens=8 + i))
    ]
    random.Random(1).shuffle(requests)
    async with torch_engine(models=models, enable_prefix_caching=prefix_caching) as engine:
        together = await asyncio.gather(*(tokens_of(engine, r) for r in requests))
        alone = [await tokens_of(engine, r) for r in requests]
        hits = engine.stats().prefix_cache_hits_total
    assert together == alone == [expected(family, request) for request in requests]
    assert (hits > 0) is prefix_caching


async def test_preempted_requests_keep_their_adapter(
    torch_engine: EngineMaker,
    family: Family,
    models: tuple[ModelSource, ...],
    make_request: RequestMaker,
) -> None:
    requests = [
        asked
        for _ in range(2)
        for asked in for_all(family, make_request(30, media=(picture(1),), max_tokens=60))
    ]
    for prefix_caching in (True, False):
        budget = {"kv_cache_bytes": 24 * 16 * 512, "enable_prefix_caching": prefix_caching}
        async with torch_engine(models=models, **budget) as engine:
            found = await asyncio.gather(*(tokens_of(engine, r) for r in requests))
            assert engine.stats().preemptions_total > 0
        assert found == [expected(family, request) for request in requests]


async def test_models_share_neither_prefixes_nor_projected_media(
    torch_engine: EngineMaker,
    family: Family,
    models: tuple[ModelSource, ...],
    make_request: RequestMaker,
) -> None:
    request = make_request(40, media=(picture(3),))
    async with torch_engine(models=models) as engine:
        for name in ("red", "blue", "red"):
            asked = to(name, request)
            chunks = await collect(engine, asked)
            assert [t for c in chunks for t in c.token_ids] == expected(family, asked)
        assert chunks[-1].cached_tokens == 48
        first = await collect(engine, to("bare", request))
    assert first[-1].cached_tokens == 0


async def test_without_a_name_the_first_model_answers(
    torch_engine: EngineMaker,
    family: Family,
    models: tuple[ModelSource, ...],
    make_request: RequestMaker,
) -> None:
    request = make_request(12)
    async with torch_engine(models=models) as engine:
        assert await tokens_of(engine, request) == expected(family, to("red", request))
        with pytest.raises(RequestFailedError, match="no model 'green'; it has red, blue"):
            await tokens_of(engine, to("green", request))


async def test_the_base_is_held_once(models: tuple[ModelSource, ...]) -> None:
    sizes = []
    for count in (1, 2, 3):
        config = EngineConfig(device=DeviceKind.CPU, kv_cache_bytes=1 << 20, max_num_seqs=4)
        engine = TorchEngine(models[-count:], config)
        sizes.append((await engine.start()).weights_bytes)
        await engine.stop()
    base = sizes[0]
    assert base < sizes[1] < sizes[2] < 1.5 * base


async def test_bases_with_other_encoders_share_the_language_model(
    torch_engine: EngineMaker,
    checkpoint: Path,
    family: Family,
    models: tuple[ModelSource, ...],
    make_request: RequestMaker,
    tmp_path: Path,
) -> None:
    clouds = clouds_only(checkpoint, tmp_path / "clouds-base")
    adapter = make_adapter(clouds, tmp_path / "clouds", seed=5)
    oracle = merged_oracle(clouds, adapter, tmp_path / "merged")
    seer = dataclasses.replace(source("clouds", clouds, adapter), name="clouds")
    request = to("clouds", make_request(20, media=(cloud(1),)))
    other = to("red", make_request(20, media=(picture(1), cloud(1))))
    async with torch_engine(models=(*models, seer)) as engine:
        found = await asyncio.gather(tokens_of(engine, request), tokens_of(engine, other))
        with pytest.raises(RequestFailedError, match="could not be encoded"):
            await tokens_of(engine, to("clouds", make_request(media=(picture(1),))))
    assert found == [oracle(request), expected(family, other)]


def clouds_only(checkpoint: Path, directory: Path) -> Path:
    """A base with the checkpoint's language model and a point encoder of its own."""
    shutil.copytree(checkpoint, directory)
    config = LammConfig.from_pretrained(checkpoint)
    config.vision_config = None
    torch.manual_seed(11)
    model = LammForConditionalGeneration(config).eval()  # type: ignore[no-untyped-call]
    whole = LammForConditionalGeneration.from_pretrained(checkpoint)
    model.language_model.load_state_dict(whole.language_model.state_dict())
    model.save_pretrained(directory)
    write_processor_config(directory, config, num_points=NUM_POINTS, system_prompts={"normal": ""})
    return directory


async def test_a_step_without_adapted_rows_makes_no_plan(
    torch_engine: EngineMaker,
    models: tuple[ModelSource, ...],
    make_request: RequestMaker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plans = []
    plan = LoraStack.plan

    def noted(self: Any, *rows: Any) -> Any:
        plans.append(plan(self, *rows))
        return plans[-1]

    monkeypatch.setattr(LoraStack, "plan", noted)
    async with torch_engine(models=models[-1:]) as engine:
        await tokens_of(engine, make_request(9))
    assert plans == []
    async with torch_engine(models=models) as engine:
        await tokens_of(engine, to("bare", make_request(9)))
    assert plans
    assert set(plans) == {None}


async def test_half_precision_runs(
    torch_engine: EngineMaker, models: tuple[ModelSource, ...], make_request: RequestMaker
) -> None:
    async with torch_engine(models=models, dtype="bfloat16") as engine:
        requests = [to(m.name, make_request(20, media=(picture(1),))) for m in models]
        found = await asyncio.gather(*(tokens_of(engine, r) for r in requests))
    assert [len(tokens) for tokens in found] == [16, 16, 16]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("missing", "1 missing from the adapter"),
        ("shape", r"\[4, 63\] in the adapter, \[4, 64\] in the base"),
        ("stranger", "1 not in the base"),
        ("head", "LoRA on lm_head cannot be served without merging"),
    ],
)
async def test_an_adapter_that_does_not_fit_stops_the_start(
    checkpoint: Path, family: Family, tmp_path: Path, change: Any, message: str
) -> None:
    red = family["red"][0]
    adapter = tmp_path / "adapter"
    if change == "head":
        make_adapter(checkpoint, adapter, seed=1, targets=("q_proj", "lm_head"))
    else:
        assert red.adapter is not None
        shutil.copytree(red.adapter, adapter)
        weights = load_file(adapter / "adapter_model.safetensors")
        key = next(iter(weights))
        if change == "missing":
            del weights[key]
        elif change == "shape":
            weights[key] = weights[key][:, :-1].contiguous()
        else:
            weights["stranger"] = torch.zeros(1)
        save_file(weights, adapter / "adapter_model.safetensors")
    engine = TorchEngine(
        (source("broken", checkpoint, adapter),), EngineConfig(device=DeviceKind.CPU)
    )
    with pytest.raises(CheckpointError, match=message):
        await engine.start()


async def test_engines_share_what_memory_is_free(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.engine.kv.tensors.available_host_bytes", lambda: 4 << 20)
    tokens = []
    for memory in (MemoryShare(), MemoryShare(2), MemoryShare(2, (checkpoint,))):
        engine = TorchEngine(
            (source("a", checkpoint, None),), EngineConfig(device=DeviceKind.CPU), memory
        )
        tokens.append((await engine.start()).kv_cache_tokens)
        await engine.stop()
    # 0.4 of 4 MiB, three quarters of it for what runs, 512 bytes a token; then half of it; then
    # half of what the other engine's weights leave.
    assert tokens[:2] == [2448, 1216]
    assert 0 < tokens[2] < 1216
