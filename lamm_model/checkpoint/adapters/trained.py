"""Adapters of a model in training: written, and copied back when a run resumes.

Files: `adapter_config.json` and `adapter_model.safetensors` in PEFT's format for the language
model, `projectors.safetensors` and `provenance.json`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peft import LoraConfig
from safetensors.torch import save_file
from torch import Tensor, nn

from lamm_model.checkpoint.adapters.fitted import check_shapes
from lamm_model.checkpoint.adapters.stored import PREFIX, StoredAdapter
from lamm_model.checkpoint.workspace import write_json
from lamm_model.modeling import LammForConditionalGeneration
from lamm_model.spec import ADAPTER_WEIGHTS, PROJECTORS, PROVENANCE


@dataclass(frozen=True, slots=True)
class Adapter:
    """An adapter to write; `lora` has PEFT's names, `projectors` the names of the model."""

    config: LoraConfig
    lora: Mapping[str, Tensor]
    projectors: Mapping[str, Tensor]
    provenance: Mapping[str, Any]


def projector_modules(model: LammForConditionalGeneration) -> dict[str, nn.Linear]:
    """The model's projectors by attribute name."""
    pairs = {"image_projector": model.image_projector, "point_projector": model.point_projector}
    return {name: module for name, module in pairs.items() if module is not None}


def save_adapter(
    directory: Path,
    model: LammForConditionalGeneration,
    config: LoraConfig,
    provenance: Mapping[str, Any],
) -> None:
    """Writes an adapter directory of a model with injected LoRA. Not atomic."""
    write_adapter(directory, Adapter(config, *_trained_tensors(model), provenance))


def write_adapter(directory: Path, adapter: Adapter) -> None:
    """Writes the four files. Not atomic."""
    for name, tensors in ((ADAPTER_WEIGHTS, adapter.lora), (PROJECTORS, adapter.projectors)):
        stored = {key: tensor.cpu().contiguous() for key, tensor in tensors.items()}
        save_file(stored, directory / name, metadata={"format": "pt"})
    adapter.config.save_pretrained(str(directory))
    write_json(directory / PROVENANCE, adapter.provenance)


def copy_adapter(adapter: StoredAdapter, model: LammForConditionalGeneration, where: str) -> None:
    """Copies an adapter's weights into a model with injected LoRA of the same configuration.

    Raises:
        CheckpointError: keys or shapes differ; all are listed.
    """
    lora, projectors = _trained_tensors(model)
    targets = {**lora, **projectors}
    check_shapes(adapter, {name: tuple(value.shape) for name, value in targets.items()}, where)
    for key, tensor in {**adapter.lora, **adapter.projectors}.items():
        targets[key].copy_(tensor)


def _trained_tensors(
    model: LammForConditionalGeneration,
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The LoRA matrices by PEFT's names and the projectors' tensors, sharing the model's memory."""
    lora = {
        PREFIX + name.replace(".default.", "."): parameter.data
        for name, parameter in model.language_model.named_parameters()
        if ".lora_" in name
    }
    projectors = {
        f"{name}.{part}": tensor
        for name, module in projector_modules(model).items()
        for part, tensor in module.state_dict().items()
    }
    return lora, projectors
