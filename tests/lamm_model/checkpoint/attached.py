"""A base with an unmerged adapter, to which merged weights are compared."""

from __future__ import annotations

from pathlib import Path

import torch
from peft import LoraConfig
from torch import nn

from lamm_model.checkpoint.adapters.injection import inject_lora
from lamm_model.checkpoint.adapters.stored import load_adapter
from lamm_model.checkpoint.adapters.trained import copy_adapter
from lamm_model.checkpoint.load import load_model
from lamm_model.modeling import LammForConditionalGeneration


def attach(base: Path, adapter: Path) -> LammForConditionalGeneration:
    """The base in float32 with the adapter's LoRA and projectors."""
    loaded = load_adapter(adapter)
    model = load_model(base, torch.float32)
    inject_lora(model, LoraConfig.from_pretrained(str(adapter)))
    copy_adapter(loaded, model, str(adapter))
    nn.Module.eval(model)  # fresh LoRA layers are in training mode, with dropout
    return model
