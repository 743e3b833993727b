"""The tiny checkpoint and ways to drive an engine with it; see `harness.py`."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
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
from service.engine.vllm.adapters import write_adapter
from service.engine.vllm.engine import VllmEngine
from service.engine.vllm.options import VllmOptions
from tests.service.engine.adapters import ATTENTION, REST, make_adapter
from tests.service.engine.harness import (
    NUM_POINTS,
    EngineMaker,
    Oracle,
    RequestMaker,
    build_config,
    build_tokenizer,
)
from tests.service.engine.vllm_server import VllmServer, export, serving, vllm_environment

# A budget of some 2,000 tokens and chunks of 32: prompts are cut up, and sequences batch.
SMALL = {
    "kv_cache_bytes": 2 << 20,
    "max_num_seqs": 8,
    "max_num_batched_tokens": 32,
    "chunk_interval_s": 0.0,  # tests look at single tokens
}


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _save_checkpoint(tmp_path_factory.mktemp("engine-lamm"))


@pytest.fixture(scope="session")
def vllm_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As `checkpoint`, with heads that vLLM's attention supports."""
    return _save_checkpoint(tmp_path_factory.mktemp("engine-vllm"), heads=2)


def _save_checkpoint(path: Path, heads: int = 4) -> Path:
    tokenizer = build_tokenizer()
    tokenizer.save(str(path / "tokenizer.json"))
    torch.manual_seed(7)
    config = build_config(tokenizer.get_vocab_size(), heads)
    LammForConditionalGeneration(config).eval().save_pretrained(path)  # type: ignore[no-untyped-call]
    write_processor_config(path, config, num_points=NUM_POINTS, system_prompts={"normal": ""})
    return path


@pytest.fixture(scope="session")
def vllm_server(
    vllm_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[VllmServer]:
    """A vLLM server with the tiny checkpoint and two adapters, `red` and `blue`."""
    vllm_environment()
    files = tmp_path_factory.mktemp("vllm-server")
    lora = []
    for seed, (name, targets) in enumerate({"red": ATTENTION, "blue": REST}.items(), 1):
        adapter = make_adapter(vllm_checkpoint, files / name, seed=seed, targets=targets)
        write_adapter(vllm_checkpoint, adapter, files / f"{name}-lora")
        lora.append(f"{name}={files / f'{name}-lora'}")
    model = export(vllm_checkpoint, files / "model")
    flags = ("--enable-lora", "--max-loras", "3", "--max-lora-rank", "8", "--lora-modules", *lora)
    with serving(model, [vllm_checkpoint.name], files / "log", *flags) as server:
        yield server


@pytest.fixture
def vllm_engine(vllm_checkpoint: Path, vllm_server: VllmServer) -> EngineMaker:
    """As `torch_engine`, with the vLLM server of this session."""

    @asynccontextmanager
    async def running(**overrides: Any) -> AsyncIterator[VllmEngine]:
        models = overrides.pop("models", (ModelSource.from_pretrained(vllm_checkpoint),))
        config = EngineConfig(**{"device": "cpu", **SMALL, **overrides})
        engine = VllmEngine(models, config, VllmOptions(url=vllm_server.url))
        await engine.start()
        try:
            yield engine
        finally:
            await engine.stop()

    return running


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
