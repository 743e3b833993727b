"""Adapter directories that PEFT itself writes, for tests: random values, as if trained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import save_file
from torch import Tensor

from lamm_model.checkpoint.load import load_model
from lamm_model.spec import CheckpointSpec

LAYER = "base_model.model.model.layers.0.self_attn.q_proj"


def write_with_peft(base: Path, directory: Path, **options: Any) -> Path:
    """An adapter of the language model in `base`; `options` are those of PEFT's `LoraConfig`."""
    torch.manual_seed(3)
    model = load_model(base, torch.float32)
    config = LoraConfig(**({"r": 4, "lora_alpha": 6, "task_type": "CAUSAL_LM"} | options))
    wrapped = get_peft_model(model.language_model, config)
    with torch.no_grad():
        for name, parameter in wrapped.named_parameters():
            if "magnitude" in name:
                parameter.mul_(0.5 + torch.rand_like(parameter))
            elif ".lora_" in name:
                parameter.normal_(std=0.2)
    wrapped.save_pretrained(str(directory), save_embedding_layers=False)
    projectors = {
        name: torch.randn_like(tensor) * 0.1
        for name, tensor in model.state_dict().items()
        if name.partition(".")[0].endswith("_projector")
    }
    save_file(projectors, directory / "projectors.safetensors")
    digest = CheckpointSpec.from_pretrained(base).digest
    (directory / "provenance.json").write_text(json.dumps({"base": {"digest": digest}}))
    return directory


def attached_by_peft(base: Path, adapter: Path) -> Any:
    """The language model with the adapter as PEFT loads it, unmerged, in eval mode."""
    return PeftModel.from_pretrained(
        load_model(base, torch.float32).language_model, str(adapter)
    ).eval()


def merged_by_peft(base: Path, adapter: Path) -> dict[str, Tensor]:
    """The language model's weights after PEFT's own merge."""
    merged: dict[str, Tensor] = attached_by_peft(base, adapter).merge_and_unload().state_dict()
    return merged


def change_config(adapter: Path, **values: Any) -> Path:
    """Other values of options in an adapter's configuration."""
    path = adapter / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))
    return adapter
