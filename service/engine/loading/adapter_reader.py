"""Reads an adapter directory for serving without merging: LoRA by layer, and projectors.

What the options mean is decided in `lamm_model.checkpoint.adapters`, for merging too. DoRA alone is
merged and not served: it scales the outputs of a layer, which the batched update cannot.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from lamm_model.checkpoint.adapters.fitted import BaseShapes, fit_adapter
from lamm_model.checkpoint.adapters.stored import load_adapter
from lamm_model.decoder.lora import LoraPair
from lamm_model.spec import ADAPTER_CONFIG, CheckpointError


@dataclass(frozen=True, slots=True)
class ServedAdapter:
    """One adapter in memory: updates by layer name, and the projectors' tensors."""

    lora: Mapping[str, LoraPair]
    projectors: Mapping[str, Tensor]


def read_adapter(directory: Path, base: BaseShapes) -> ServedAdapter:
    """Reads an adapter and checks that it fits its base.

    Raises:
        CheckpointError: a file is missing or broken, the adapter has an option that cannot be
            served, or its tensors do not fit the base; the message lists all of them.
    """
    adapter = load_adapter(directory)
    if adapter.options.use_dora:
        raise CheckpointError(
            f"{directory}: {ADAPTER_CONFIG} has use_dora=True; DoRA cannot be served without "
            "merging. Merge it (lamm model merge)"
        )
    updates = fit_adapter(adapter, base, directory)
    pairs = {name: LoraPair(one.down_RI, one.up_OR, one.scale) for name, one in updates.items()}
    return ServedAdapter(pairs, adapter.projectors)
