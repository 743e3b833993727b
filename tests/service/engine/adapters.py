"""Adapters over the tiny checkpoint for tests: random LoRA and projectors, as if trained."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from lamm_model.checkpoint.adapters.injection import inject_lora, lora_config
from lamm_model.checkpoint.adapters.trained import save_adapter
from lamm_model.checkpoint.load import load_model
from lamm_model.checkpoint.merge import merge
from lamm_model.modeling import LammForConditionalGeneration
from lamm_model.spec import CheckpointSpec
from service.engine.loading.model_source import ModelSource
from tests.service.engine.harness import Oracle

ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
REST = ("q_proj", "v_proj", "gate_proj", "up_proj", "down_proj")


def make_adapter(
    base: Path,
    directory: Path,
    *,
    seed: int,
    r: int = 4,
    alpha: float = 8,
    targets: Sequence[str] = ATTENTION,
) -> Path:
    """Writes an adapter directory that changes the base's answers."""
    torch.manual_seed(seed)
    model = load_model(base, torch.float32)
    config = lora_config(r, alpha, 0.1, targets)
    inject_lora(model, config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name or "projector" in name:
                parameter.normal_(std=0.2)
    directory.mkdir(parents=True)
    digest = CheckpointSpec.from_pretrained(base).digest
    save_adapter(directory, model, config, {"base": {"digest": digest}})
    return directory


def merged_oracle(base: Path, adapter: Path | None, out: Path) -> Oracle:
    """The oracle over the merged checkpoint of an adapter, or over the base itself."""
    if adapter is None:
        return Oracle(LammForConditionalGeneration.from_pretrained(base).eval())  # type: ignore[no-untyped-call]
    merge(base, adapter, out, torch.float32)
    return Oracle(LammForConditionalGeneration.from_pretrained(out).eval())  # type: ignore[no-untyped-call]


def source(name: str, base: Path, adapter: Path | None) -> ModelSource:
    """A model of an engine; what it takes is what its base takes."""
    return ModelSource(name, CheckpointSpec.from_pretrained(base), base, adapter)
