"""A base whose head is its embedding: trained, merged and loaded like any other."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from lamm_model.checkpoint.adapters.injection import inject_lora, lora_config
from lamm_model.checkpoint.adapters.trained import save_adapter
from lamm_model.checkpoint.load import load_model
from lamm_model.checkpoint.merge import merge
from lamm_model.config import LammConfig
from lamm_model.modeling import LammForConditionalGeneration
from lamm_model.spec import CheckpointError, CheckpointSpec
from tests.lamm_model.checkpoint.attached import attach
from training.tiny import make_tiny_base


@pytest.fixture(scope="module")
def tied_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("tied") / "base"
    make_tiny_base(directory)
    config = json.loads((directory / "config.json").read_text())
    config["text_config"]["tie_word_embeddings"] = True
    torch.manual_seed(0)
    LammForConditionalGeneration(LammConfig.from_dict(config)).save_pretrained(directory)
    return directory


@torch.no_grad()
def test_a_tied_base_is_merged(tied_base: Path, tmp_path: Path) -> None:
    model = load_model(tied_base, torch.float32)
    config = lora_config(4, 8, 0.0, ["q_proj", "down_proj"])
    inject_lora(model, config)
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            parameter.normal_(std=0.05)
    digest = CheckpointSpec.from_pretrained(tied_base).digest
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    save_adapter(adapter, model, config, {"base": {"digest": digest}})
    merge(tied_base, adapter, tmp_path / "merged", torch.float32)
    merged, ids = load_model(tmp_path / "merged"), torch.tensor([[1, 5, 6, 7]])
    expected = attach(tied_base, adapter)(input_ids=ids).logits
    assert (merged(input_ids=ids).logits - expected).abs().max() < 1e-4
    assert (load_model(tied_base)(input_ids=ids).logits - expected).abs().max() > 1e-3
    assert merged.language_model.lm_head.weight is merged.get_input_embeddings().weight


def test_a_tied_head_takes_no_lora(tied_base: Path) -> None:
    config = lora_config(4, 8, 0.0, ["q_proj", "lm_head"])
    with pytest.raises(CheckpointError, match="LoRA target lm_head is tied to the embedding"):
        inject_lora(load_model(tied_base), config)
