"""Writes an adapter's LoRA as vLLM loads it for a LLaVA.

vLLM knows one rank and one scale per adapter, and LLaVA's names of layers. The projectors are not
written: they are applied here.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from lamm_model.decoder.lora import FUSED
from lamm_model.spec import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from service.engine.loading.model_loader import load_adapter

# Ranks that vLLM allocates (0.32).
RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
_ATTENTION = frozenset((*FUSED["qkv"], *FUSED["o"]))


def write_adapter(base: Path, adapter: Path, directory: Path) -> int:
    """Writes a PEFT directory; returns its rank.

    Layers of a lower rank are padded with zeros, and scales are multiplied into the matrices.

    Raises:
        CheckpointError: the adapter cannot be read or does not fit the base.
    """
    lora, _ = load_adapter(base, adapter)
    rank = max((pair.down_RI.shape[0] for pair in lora.values()), default=1)
    tensors: dict[str, Tensor] = {}
    for (layer, name), pair in lora.items():
        part = "self_attn" if name in _ATTENTION else "mlp"
        key = f"base_model.model.language_model.model.layers.{layer}.{part}.{name}"
        down_RI = torch.zeros(rank, pair.down_RI.shape[1])
        up_OR = torch.zeros(pair.up_OR.shape[0], rank)
        own = pair.down_RI.shape[0]
        down_RI[:own] = pair.down_RI.float()
        up_OR[:, :own] = pair.up_OR.float() * pair.scale
        tensors[f"{key}.lora_A.weight"], tensors[f"{key}.lora_B.weight"] = down_RI, up_OR
    directory.mkdir(parents=True)
    save_file(tensors, directory / ADAPTER_WEIGHTS)
    config = {
        "peft_type": "LORA",
        "r": rank,
        "lora_alpha": rank,
        "bias": "none",
        "target_modules": sorted({name for _, name in lora}),
    }
    (directory / ADAPTER_CONFIG).write_text(json.dumps(config, indent=2), encoding="utf8")
    return rank
