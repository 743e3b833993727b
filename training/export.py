"""Preparation of the model (LoRA injected, the rest frozen) and provenance of the adapter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from peft import LoraConfig
from torch import nn

from lamm_model.checkpoint.adapters.injection import inject_lora, lora_config
from lamm_model.checkpoint.adapters.trained import projector_modules
from lamm_model.modeling import LammForConditionalGeneration
from training.config import LoraRecipe, Recipe
from training.loss import LOW_PRECISIONS, TrainingError

_LAST_LOSSES = 50
_PACKAGES = ("torch", "transformers", "peft", "tokenizers", "numpy")


def prepare_model(
    model: LammForConditionalGeneration, recipe: LoraRecipe, precision: str, checkpointing: bool
) -> LoraConfig:
    """Injects LoRA, freezes all but LoRA and projectors, casts frozen LLM weights to `precision`.

    Trained weights stay float32, as do the encoders, whose outputs may be cached.

    Raises:
        CheckpointError: a LoRA target matches no layer.
    """
    config = lora_config(recipe.r, recipe.alpha, recipe.dropout, recipe.target_modules)
    inject_lora(model, config)
    model.requires_grad_(False)
    for parameter in trainable_parameters(model).values():
        parameter.requires_grad_(True)
    dtype = LOW_PRECISIONS.get(precision)
    if dtype is not None:
        for parameter in model.language_model.parameters():
            if not parameter.requires_grad:
                parameter.data = parameter.data.to(dtype)
    if checkpointing:
        model.language_model.activation_checkpointing_enable({"use_reentrant": False})
    return config


def trainable_parameters(model: LammForConditionalGeneration) -> dict[str, nn.Parameter]:
    """LoRA and projector weights by the model's names, in the model's order."""
    projectors = tuple(f"{name}." for name in projector_modules(model))
    return {
        name: parameter
        for name, parameter in model.named_parameters()
        if ".lora_" in name or name.startswith(projectors)
    }


def check_origin(provenance: Mapping[str, Any], origin: Mapping[str, Any], where: Path) -> None:
    """Checks that a checkpoint was trained on the present base and data.

    A recipe names them by path, and the files may have changed since.

    Raises:
        TrainingError: the contents differ; the message names the digests.
    """
    for what, digest in (("base", "digest"), ("data", "sha256")):
        there, here = (one.get(what, {}).get(digest) for one in (provenance, origin))
        if there != here:
            raise TrainingError(
                f"{where} was trained on another {what} ({digest} {there}, now {here}); "
                "restore it, use another output folder, or start over with --restart"
            )


def adapter_provenance(
    recipe: Recipe,
    origin: Mapping[str, Any],
    step: int,
    total_steps: int,
    losses: Sequence[float],
    validation_loss: float | None,
) -> dict[str, Any]:
    """Provenance of an adapter as JSON; `origin` holds the digests of base and data."""
    last = losses[-_LAST_LOSSES:]
    return {
        "format": "lamm-adapter/1",
        **origin,
        "recipe": recipe.as_json(),
        "seed": recipe.seed,
        "step": step,
        "total_steps": total_steps,
        "losses": {
            "first": losses[0] if losses else None,
            "last": losses[-1] if losses else None,
            f"mean_of_last_{_LAST_LOSSES}": sum(last) / len(last) if last else None,
            "validation": validation_loss,
        },
        "versions": {name: version(name) for name in _PACKAGES},
    }
