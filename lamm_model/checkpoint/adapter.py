"""What an adapter directory is: PEFT's two files, the projectors, and where it came from.

Written by the trainer, read by `merge`. Files: `adapter_config.json` and
`adapter_model.safetensors` (PEFT's own format, for the language model alone),
`projectors.safetensors`, `provenance.json`.
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

from lamm_model.checkpoint.load import listed
from lamm_model.modeling import LammForConditionalGeneration
from lamm_model.spec import (
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    PROJECTORS,
    PROVENANCE,
    CheckpointError,
)

# PEFT names the wrapped language model so in the files that it reads.
_PREFIX = "base_model.model."


@dataclass(frozen=True, slots=True)
class Adapter:
    """One adapter in memory; `lora` has PEFT's names, `projectors` the model's."""

    config: LoraConfig
    lora: Mapping[str, Tensor]
    projectors: Mapping[str, Tensor]
    provenance: Mapping[str, Any]


def projector_modules(model: LammForConditionalGeneration) -> dict[str, nn.Linear]:
    """The projectors that the model has, by attribute name."""
    pairs = {"image_projector": model.image_projector, "point_projector": model.point_projector}
    return {name: module for name, module in pairs.items() if module is not None}


def save_adapter(
    directory: Path,
    model: LammForConditionalGeneration,
    config: LoraConfig,
    provenance: Mapping[str, Any],
) -> None:
    """Writes the four files of a model that carries LoRA; the caller makes it atomic."""
    lora = {
        _PREFIX + name.replace(".default.", "."): parameter.detach().cpu().contiguous()
        for name, parameter in model.language_model.named_parameters()
        if ".lora_" in name
    }
    projectors = {
        f"{name}.{part}": tensor.detach().cpu().contiguous()
        for name, module in projector_modules(model).items()
        for part, tensor in module.state_dict().items()
    }
    save_file(lora, directory / ADAPTER_WEIGHTS, metadata={"format": "pt"})
    save_file(projectors, directory / PROJECTORS, metadata={"format": "pt"})
    config.save_pretrained(str(directory))
    text = json.dumps(provenance, indent=2, ensure_ascii=False) + "\n"
    (directory / PROVENANCE).write_text(text, encoding="utf8")


def load_adapter(directory: Path) -> Adapter:
    """Reads an adapter directory.

    Raises:
        CheckpointError: a file is missing or broken, or it is no LoRA.
    """
    try:
        provenance = json.loads((directory / PROVENANCE).read_text(encoding="utf8"))
        if not isinstance(provenance, dict) or not isinstance(provenance.get("base", {}), dict):
            raise TypeError(f"{PROVENANCE} holds no JSON object, or names no object as its base")
        config = LoraConfig.from_pretrained(str(directory))
        if type(config) is not LoraConfig or not isinstance(config.lora_alpha, int | float):
            raise TypeError(f"{ADAPTER_CONFIG} is not LoRA's: {config.peft_type}")
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
    """Copies an adapter's weights into a model that carries LoRA of the same configuration.

    Raises:
        CheckpointError: keys or shapes differ; all are listed.
    """
    targets: dict[str, Tensor] = {
        _PREFIX + name.replace(".default.", "."): parameter.data
        for name, parameter in model.language_model.named_parameters()
        if ".lora_" in name
    }
    for name, module in projector_modules(model).items():
        targets.update({f"{name}.{part}": value for part, value in module.state_dict().items()})
    check_adapter(adapter, {name: tuple(value.shape) for name, value in targets.items()}, where)
    for key, tensor in {**adapter.lora, **adapter.projectors}.items():
        targets[key].copy_(tensor)


def check_adapter(adapter: Adapter, wanted: Mapping[str, tuple[int, ...]], where: str) -> None:
    """The adapter's tensors are those that the base wants, by name and shape.

    Raises:
        CheckpointError: keys or shapes differ; all are listed.
    """
    given = {**adapter.lora, **adapter.projectors}
    problems = [
        *listed("missing from the adapter", sorted(wanted.keys() - given.keys())),
        *listed("unknown to the base", sorted(given.keys() - wanted.keys())),
        *listed(
            "of another shape",
            [
                f"{key}: {list(value.shape)} in the adapter, {list(wanted[key])} in the base"
                for key, value in sorted(given.items())
                if key in wanted and tuple(value.shape) != wanted[key]
            ],
        ),
    ]
    if problems:
        raise CheckpointError(f"{where}: the adapter does not fit the base\n" + "\n".join(problems))
