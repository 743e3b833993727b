"""Planning of a checkpoint's tensors: recipes are checked against the model, LoRA is merged."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor
from transformers import GenerationConfig

from lamm_model.checkpoint.adapters.fitted import LoraUpdate, has_tied_head
from lamm_model.checkpoint.adapters.layers import HEAD
from lamm_model.checkpoint.load import refuse
from lamm_model.checkpoint.shards import PlannedTensor
from lamm_model.checkpoint.tensor_sources import TensorRecipe
from lamm_model.config import LammConfig
from lamm_model.modeling import LammForConditionalGeneration

_MODEL_PREFIX = "language_model."
HEAD_WEIGHT = f"{_MODEL_PREFIX}{HEAD}.weight"


def model_tensors(config: LammConfig) -> dict[str, tuple[tuple[int, ...], bool]]:
    """(shape, whether it is floating-point) of every tensor of the model, without allocating it.

    A head that is tied to the embedding is not stored and not included.
    """
    with torch.device("meta"):
        model = LammForConditionalGeneration(copy.deepcopy(config))
    return {
        name: (tuple(tensor.shape), tensor.is_floating_point())
        for name, tensor in model.state_dict().items()
        if name != HEAD_WEIGHT or not has_tied_head(model)
    }


def check_recipes(
    config: LammConfig,
    recipes: Mapping[str, TensorRecipe],
    where: str,
    unexpected: Mapping[str, tuple[str, ...]],
) -> None:
    """Checks that every tensor of the model has one recipe of its shape, and no other exists.

    `unexpected` lists the unknown keys of each source.

    Raises:
        CheckpointError: tensors are missing, unexpected or of another shape; all are listed.
    """
    expected = model_tensors(config)
    strangers = [f"{name} in {source}" for source, names in unexpected.items() for name in names]
    misshapen = [
        f"{name}: {list(recipe.shape)} in {recipe.source.files[0].name} "
        f"({recipe.name}), expected {list(expected[name][0])}"
        for name, recipe in sorted(recipes.items())
        if name in expected and recipe.shape != expected[name][0]
    ]
    refuse(
        where,
        {
            "missing": sorted(expected.keys() - recipes.keys()),
            "unexpected": sorted({*(recipes.keys() - expected.keys()), *strangers}),
            "of another shape": misshapen,
        },
    )


def plan_tensors(
    config: LammConfig,
    recipes: Mapping[str, TensorRecipe],
    dtype: torch.dtype,
    updates: Mapping[str, LoraUpdate],
) -> list[PlannedTensor]:
    """Tensors in the order of the recipes; `updates` of layers are applied in float32."""
    expected = model_tensors(config)
    update_of = {f"{_MODEL_PREFIX}{layer}.weight": one for layer, one in updates.items()}
    return [
        PlannedTensor(
            name,
            recipe.shape,
            dtype if expected[name][1] else torch.int64,
            _reader(recipe, expected[name][1], update_of.get(name)),
        )
        for name, recipe in recipes.items()
    ]


def write_config(folder: Path, config: LammConfig, dtype: torch.dtype) -> None:
    """Writes `config.json` and `generation_config.json` as the model's `save_pretrained` does."""
    config = copy.deepcopy(config)
    config.architectures = ["LammForConditionalGeneration"]
    config.dtype = dtype
    config.save_pretrained(str(folder))
    GenerationConfig.from_model_config(config).save_pretrained(str(folder))


def _reader(
    recipe: TensorRecipe, floating: bool, update: LoraUpdate | None
) -> Callable[[], Tensor]:
    def read() -> Tensor:
        value = recipe.read()
        if not floating:
            return value.to(torch.int64)
        return value.to(torch.float32) if update is None else update.applied(value)

    return read
