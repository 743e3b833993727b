"""Adapters read without PEFT: PEFT's own scales, and plain words for what is not served."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig
from safetensors.torch import load_file, save_file

from lamm_model.checkpoint.lora import inject_lora
from lamm_model.config import LammConfig
from lamm_model.modeling import LammForConditionalGeneration
from lamm_model.spec import CheckpointError
from service.engine.loading.model_loader import load_models
from tests.service.engine.adapters import REST, make_adapter, source

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def written(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_adapter(checkpoint, tmp_path_factory.mktemp("adapters") / "red", seed=1)


@pytest.fixture
def changed(written: Path, tmp_path: Path) -> Callable[..., Path]:
    """A copy of the adapter whose configuration has other values."""

    def change(**values: Any) -> Path:
        copy = tmp_path / "adapter"
        shutil.copytree(written, copy)
        path = copy / "adapter_config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | values))
        return copy

    return change


def load(checkpoint: Path, adapter: Path) -> Any:
    return load_models([source("a", checkpoint, adapter)], CPU, torch.float32)


@pytest.mark.parametrize(
    "options",
    [
        {"target_modules": ["q_proj", "down_proj"], "lora_alpha": 6},
        {"target_modules": list(REST), "use_rslora": True, "lora_alpha": 5},
        {"target_modules": r"model\.layers\.1\.self_attn\.[qv]_proj"},
        {
            "target_modules": ["q_proj", "v_proj"],
            "rank_pattern": {"layers.1.self_attn.q_proj": 2, "v_proj": 5},
            "alpha_pattern": {r"layers\.0\.self_attn\..*": 3, "q_proj": 9},
        },
    ],
    ids=["plain", "rslora", "one pattern", "patterns"],
)
def test_layers_ranks_and_scales_are_pefts(
    checkpoint: Path, tmp_path: Path, options: dict[str, Any]
) -> None:
    config = LoraConfig(r=4, bias="none", task_type="CAUSAL_LM", **options)
    model = LammForConditionalGeneration(LammConfig.from_pretrained(checkpoint))
    if isinstance(options["target_modules"], str):
        from peft import inject_adapter_in_model

        inject_adapter_in_model(config, model.language_model)
    else:
        inject_lora(model, config)
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    config.save_pretrained(str(adapter))
    lora = {
        "base_model.model." + name.replace(".default.", "."): torch.randn_like(parameter)
        for name, parameter in model.language_model.named_parameters()
        if ".lora_" in name
    }
    save_file(lora, adapter / "adapter_model.safetensors")
    projectors = {k: v for k, v in model.state_dict().items() if k.startswith("image_projector")}
    save_file(projectors, adapter / "projectors.safetensors")
    [pairs] = load(checkpoint, adapter).adapters
    layers = {
        (int(parts[2]), parts[-1]): module
        for name, module in model.language_model.named_modules()
        if hasattr(module, "lora_A") and (parts := name.split("."))
    }
    assert pairs.keys() == layers.keys()
    for place, pair in pairs.items():
        layer: Any = layers[place]
        assert pair.scale == pytest.approx(layer.scaling["default"])
        assert len(pair.down_RI) == layer.r["default"]


def test_peft_is_not_imported(
    checkpoint: Path, written: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    monkeypatch.delitem(sys.modules, "lamm_model.checkpoint.adapter", raising=False)
    loaded = load(checkpoint, written)
    weights = load_file(written / "adapter_model.safetensors")
    assert len(loaded.adapters[0]) == len(weights) // 2


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"use_dora": True}, "only plain LoRA can be served .* has use_dora=True"),
        ({"bias": "all", "modules_to_save": ["x"]}, r"bias='all', modules_to_save=\['x'\]"),
        ({"peft_type": "VERA"}, "peft_type='VERA'"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights='pissa'"),
        ({"some_new_variant": {"on": 1}}, "some_new_variant="),
        ({"target_modules": ["query"]}, "LoRA targets query match no linear layer"),
        ({"target_modules": "query"}, "LoRA targets query match no linear layer"),
        ({"target_modules": "["}, r"an invalid pattern '\['"),
        ({"target_modules": None}, "target_modules None"),
        ({"r": 0}, "r 0 for model.layers.0.* expected a positive number"),
        ({"lora_alpha": "8"}, "lora_alpha '8' for model.layers.0"),
        ({"rank_pattern": [1]}, r"rank_pattern \[1\]; expected an object"),
        ({"r": 3}, r"\[4, 64\] in the adapter, \[3, 64\] in the base"),
    ],
)
def test_what_is_not_served_is_told(
    checkpoint: Path, changed: Callable[..., Path], values: dict[str, Any], message: str
) -> None:
    with pytest.raises(CheckpointError, match=message):
        load(checkpoint, changed(**values))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("adapter_config.json", None, r"adapter_config\.json is missing; is this an adapter"),
        ("adapter_config.json", b"{", r"adapter_config\.json is not valid JSON"),
        ("adapter_config.json", b"[]", "expected a JSON object"),
        ("adapter_model.safetensors", None, r"adapter_model\.safetensors.*is this an adapter"),
        ("adapter_model.safetensors", b"rubbish", "cannot read the adapter"),
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
