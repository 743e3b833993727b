"""Reading and writing of adapter directories.

Files: `adapter_config.json` and `adapter_model.safetensors` in PEFT's format for the language
model, `projectors.safetensors` and `provenance.json`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peft import LoraConfig
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from lamm_model.checkpoint.load import refuse
from lamm_model.checkpoint.workspace import write_json
from lamm_model.modeling import LammForConditionalGeneration
from lamm_model.spec import (
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    PROJECTORS,
    PROVENANCE,
    CheckpointError,
)

# PEFT's prefix of the wrapped language model in its files.
_PREFIX = "base_model.model."


@dataclass(frozen=True, slots=True)
class Adapter:
    """An adapter in memory; `lora` has PEFT's names, `projectors` the names of the model."""

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


def load_adapter(directory: Path) -> Adapter:
    """Reads an adapter directory.

    Raises:
        CheckpointError: a file is missing or broken, or the adapter is not LoRA.
    """
    try:
        provenance = json.loads((directory / PROVENANCE).read_text(encoding="utf8"))
        if not isinstance(provenance, dict) or not isinstance(provenance.get("base", {}), dict):
            raise TypeError(f"{PROVENANCE} is not a JSON object, or its base is not one")
        config = LoraConfig.from_pretrained(str(directory))
        if type(config) is not LoraConfig or not isinstance(config.lora_alpha, int | float):
            raise TypeError(f"{ADAPTER_CONFIG} has peft_type {config.peft_type}; expected LoRA")
        return Adapter(
            config,
            load_file(directory / ADAPTER_WEIGHTS),
            load_file(directory / PROJECTORS),
            provenance,
        )
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{directory}: {error.filename} is missing; is this an adapter?"
        ) from None
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise CheckpointError(f"{directory}: the adapter cannot be read: {error}") from error


def copy_adapter(adapter: Adapter, model: LammForConditionalGeneration, where: str) -> None:
    """Copies an adapter's weights into a model with injected LoRA of the same configuration.

    Raises:
        CheckpointError: keys or shapes differ; all are listed.
    """
    lora, projectors = _trained_tensors(model)
    targets = {**lora, **projectors}
    check_adapter(adapter, {name: tuple(value.shape) for name, value in targets.items()}, where)
    for key, tensor in {**adapter.lora, **adapter.projectors}.items():
        targets[key].copy_(tensor)


def _trained_tensors(
    model: LammForConditionalGeneration,
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The LoRA matrices by PEFT's names and the projectors' tensors, sharing the model's memory."""
    lora = {
        _PREFIX + name.replace(".default.", "."): parameter.data
        for name, parameter in model.language_model.named_parameters()
        if ".lora_" in name
    }
    projectors = {
        f"{name}.{part}": tensor
        for name, module in projector_modules(model).items()
        for part, tensor in module.state_dict().items()
    }
    return lora, projectors


def check_adapter(adapter: Adapter, wanted: Mapping[str, tuple[int, ...]], where: str) -> None:
    """Checks that the adapter has exactly the tensors `wanted`, by name and shape.

    Raises:
        CheckpointError: keys or shapes differ; all are listed.
    """
    given = {**adapter.lora, **adapter.projectors}
    misshapen = [
        f"{key}: {list(value.shape)} in the adapter, {list(wanted[key])} in the base"
        for key, value in sorted(given.items())
        if key in wanted and tuple(value.shape) != wanted[key]
    ]
    refuse(
        f"{where}: the adapter does not match the base",
        {
            "missing from the adapter": sorted(wanted.keys() - given.keys()),
            "not in the base": sorted(given.keys() - wanted.keys()),
            "of another shape": misshapen,
        },
    )
