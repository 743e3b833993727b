"""Writes an adapter's LoRA as vLLM loads it for a LLaVA.

vLLM knows one rank and one scale per adapter, and LLaVA's names of layers. The projectors are not
written: they are applied here.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from lamm_model.checkpoint.atomic import atomic_directory
from lamm_model.decoder.lora import FUSED
from lamm_model.spec import ADAPTER_CONFIG, ADAPTER_WEIGHTS, CheckpointError
from service.engine.loading.model_loader import load_adapter

# Ranks that vLLM allocates (0.32).
RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
_ATTENTION = frozenset((*FUSED["qkv"], *FUSED["o"]))


def write_adapter(base: Path, adapter: Path, directory: Path, *, replace: bool = False) -> int:
    """Writes a PEFT directory, completely or not at all; returns its rank.

    Layers of a lower rank are padded with zeros, and scales are multiplied into the matrices.

    Raises:
        CheckpointError: the adapter cannot be read, does not fit the base, or has a rank that vLLM
            does not serve.
        FileExistsError: `directory` exists, and `replace` is false.
    """
    lora, _ = load_adapter(base, adapter)
    rank = max((pair.down_RI.shape[0] for pair in lora.values()), default=1)
    if rank > RANKS[-1]:
        raise CheckpointError(
            f"{adapter}: the LoRA has rank {rank}; vLLM serves ranks up to {RANKS[-1]}. Merge it "
            "(lamm model merge)"
        )
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
    config = {
        "peft_type": "LORA",
        "r": rank,
        "lora_alpha": rank,
        "bias": "none",
        "target_modules": sorted({name for _, name in lora}),
    }
    with atomic_directory(directory, replace=replace) as temporary:
        save_file(tensors, temporary / ADAPTER_WEIGHTS)
        (temporary / ADAPTER_CONFIG).write_text(json.dumps(config, indent=2), encoding="utf8")
    return rank


def lora_flags(adapters: Sequence[tuple[str, Path]], ranks: Sequence[int]) -> list[str]:
    """The arguments of `vllm serve` for adapters, given as (name, directory), of those ranks.

    vLLM 0.32 on CPUs applies the last slot's adapter to requests without one, so it stays empty.
    """
    rank = next(size for size in RANKS if size >= max(ranks))
    return [
        "--enable-lora",
        *("--max-loras", str(len(adapters) + 1)),
        *("--max-lora-rank", str(rank)),
        *("--lora-modules", *(f"{name}={directory}" for name, directory in adapters)),
    ]
