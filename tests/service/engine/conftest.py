"""The tiny checkpoint and ways to drive an engine with it; see `harness.py`."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from lamm_model.modeling import LammForConditionalGeneration
from lamm_model.processing import write_processor_config
from service.engine.config import EngineConfig
from service.engine.loading.model_source import ModelSource
from service.engine.torch_engine import TorchEngine
from tests.service.engine.harness import (
    NUM_POINTS,
    EngineMaker,
    Oracle,
    RequestMaker,
    build_config,
    build_tokenizer,
)

# A budget of some 2,000 tokens and chunks of 32: prompts are cut up, and sequences batch.
SMALL = {
    "kv_cache_bytes": 2 << 20,
    "max_num_seqs": 8,
    "max_num_batched_tokens": 32,
    "chunk_interval_s": 0.0,  # tests look at single tokens
}


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("engine-lamm")
    tokenizer = build_tokenizer()
    tokenizer.save(str(path / "tokenizer.json"))
    torch.manual_seed(7)
    config = build_config(tokenizer.get_vocab_size())
    LammForConditionalGeneration(config).eval().save_pretrained(path)  # type: ignore[no-untyped-call]
    write_processor_config(path, config, num_points=NUM_POINTS, system_prompts={"normal": ""})
    return path


@pytest.fixture(scope="session")
def oracle(checkpoint: Path) -> Oracle:
    return Oracle(LammForConditionalGeneration.from_pretrained(checkpoint).eval())  # type: ignore[no-untyped-call]


@pytest.fixture
def make_request(checkpoint: Path) -> RequestMaker:
    config = json.loads((checkpoint / "config.json").read_text())
    return RequestMaker(config["text_config"]["vocab_size"])


@pytest.fixture
def torch_engine(checkpoint: Path) -> EngineMaker:
    """`async with torch_engine(**config) as engine`: a started engine, stopped afterwards.

    `models` are its `ModelSource`s; without, the tiny checkpoint is its one model. `grammars` has
    the compilers that it shares.
    """

    @asynccontextmanager
    async def running(**overrides: Any) -> AsyncIterator[TorchEngine]:
        models = overrides.pop("models", (ModelSource.from_pretrained(checkpoint),))
        grammars = overrides.pop("grammars", None)
        config = EngineConfig(**{"device": "cpu", **SMALL, **overrides})
        engine = TorchEngine(models, config, grammars=grammars)
        await engine.start()
        try:
            yield engine
        finally:
            await engine.stop()

    return running
