"""Adapters served unmerged: PEFT's own logits, and plain words for what is not served."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from lamm_model.decoder.attention import Span, plan_attention
from lamm_model.decoder.kv_cache import KVCache, KVCacheShape
from lamm_model.decoder.llama import LlamaDecoder
from lamm_model.decoder.lora import LoraStack
from lamm_model.spec import CheckpointError
from service.engine.loading.model_loader import load_models
from tests.lamm_model.checkpoint.adapters.options import REFUSED
from tests.lamm_model.checkpoint.adapters.peft_adapters import (
    attached_by_peft,
    change_config,
    write_with_peft,
)
from tests.service.engine.adapters import REST, make_adapter, source

CPU = torch.device("cpu")
ROWS = 24
# peft 0.21 reads a property that transformers 5.23 has renamed.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:fan_in_fan_out is set to True"),
]


@pytest.fixture(scope="module")
def written(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_adapter(checkpoint, tmp_path_factory.mktemp("adapters") / "red", seed=1)


@pytest.fixture
def changed(written: Path, tmp_path: Path) -> Callable[..., Path]:
    """A copy of the adapter whose configuration has other values."""

    def change(**values: Any) -> Path:
        shutil.copytree(written, tmp_path / "adapter")
        return change_config(tmp_path / "adapter", **values)

    return change


def load(checkpoint: Path, adapter: Path) -> Any:
    return load_models([source("a", checkpoint, adapter)], CPU, torch.float32)


def served_logits(checkpoint: Path, adapter: Path, ids: Tensor) -> Tensor:
    """Logits [T, vocab] of the serving decoder with the adapter beside its weights."""
    loaded = load(checkpoint, adapter)
    text = loaded.text_config
    decoder = LlamaDecoder(text, loaded.language_weights, 128, CPU, torch.float32)
    layers = text.num_hidden_layers
    shape = KVCacheShape(
        layers, decoder.num_kv_heads, decoder.head_dim, 2, 128, 16, 2, torch.float32
    )
    stack = LoraStack(loaded.adapters, layers, decoder.out_features, CPU, torch.float32)
    rows = len(ids)
    plan = plan_attention([Span(0, 0, rows)], decoder.groups, CPU)
    adapters = stack.plan([(0, rows)], [0] * rows)
    cache = KVCache(shape, CPU)
    return decoder.forward(decoder.embed(ids), plan, cache, torch.arange(rows), adapters)


@pytest.mark.parametrize(
    "options",
    [
        {"target_modules": ["q_proj", "down_proj"], "lora_alpha": 6},
        {"target_modules": list(REST), "use_rslora": True, "lora_alpha": 5},
        {"target_modules": r"model\.layers\.1\.self_attn\.[qv]_proj"},
        {"target_modules": "all-linear", "exclude_modules": r".*\.o_proj"},
        {"target_modules": ["q_proj", "up_proj"], "layers_to_transform": 1, "fan_in_fan_out": True},
        {
            "target_modules": ["q_proj", "v_proj"],
            "rank_pattern": {"layers.1.self_attn.q_proj": 2, "v_proj": 5},
            "alpha_pattern": {r"layers\.0\.self_attn\..*": 3, "q_proj": 9},
        },
    ],
    ids=["plain", "rslora", "one pattern", "all but some", "one layer", "patterns"],
)
@torch.inference_mode()
def test_logits_are_pefts(checkpoint: Path, tmp_path: Path, options: dict[str, Any]) -> None:
    adapter = write_with_peft(checkpoint, tmp_path / "adapter", **options)
    ids = torch.randint(3, 200, (ROWS,), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode(mode=False), torch.no_grad():
        attached = attached_by_peft(checkpoint, adapter)
        expected = attached(ids[None].clone()).logits[0]
        with attached.disable_adapter():
            bare = attached(ids[None].clone()).logits[0]
    found = served_logits(checkpoint, adapter, ids)
    torch.testing.assert_close(found, expected, atol=2e-4, rtol=1e-3)
    assert (bare - expected).abs().max() > 0.01


def test_peft_is_not_imported(
    checkpoint: Path, written: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    for part in ("fitted", "layers", "options", "stored"):
        monkeypatch.delitem(sys.modules, f"lamm_model.checkpoint.adapters.{part}", raising=False)
    loaded = load(checkpoint, written)
    weights = load_file(written / "adapter_model.safetensors")
    assert len(loaded.adapters[0]) == len(weights) // 2


@pytest.mark.parametrize(
    ("values", "message"),
    [
        *REFUSED,
        ({"use_dora": True}, r"use_dora=True; DoRA cannot be served .*lamm model merge"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_is_not_served_is_told(
    checkpoint: Path, changed: Callable[..., Path], values: dict[str, Any], message: str
) -> None:
    with pytest.raises(CheckpointError, match=message):
        load(checkpoint, changed(**values))


def test_the_head_is_merged_not_served(checkpoint: Path, tmp_path: Path) -> None:
    adapter = write_with_peft(checkpoint, tmp_path / "a", target_modules=["q_proj", "lm_head"])
    with pytest.raises(CheckpointError, match="LoRA on lm_head cannot be served without merging"):
        load(checkpoint, adapter)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("adapter_config.json", None, r"adapter_config\.json is missing; is this an adapter"),
        ("adapter_config.json", b"{", r"adapter_config\.json is not valid JSON"),
        ("adapter_config.json", b"[]", "expected a JSON object"),
        ("adapter_model.safetensors", None, r"adapter_model\.safetensors.*is this an adapter"),
        ("adapter_model.safetensors", b"rubbish", r"adapter_model\.safetensors cannot be read"),
        ("projectors.safetensors", None, r"projectors\.safetensors is missing"),
        ("projectors.safetensors", b"rubbish", r"projectors\.safetensors cannot be read"),
    ],
)
def test_broken_files_are_told(
    checkpoint: Path, changed: Callable[..., Path], name: str, content: bytes | None, message: str
) -> None:
    adapter = changed()
    (adapter / name).unlink()
    if content is not None:
        (adapter / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        load(checkpoint, adapter)
