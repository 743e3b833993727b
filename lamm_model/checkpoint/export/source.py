"""The checkpoint to be exported: its tensors in float32, with an adapter merged on the way.

Only headers are read here. Each tensor is read when it is written.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from lamm_model.checkpoint.adapters.fitted import LoraUpdate
from lamm_model.checkpoint.inspection_parts import licence_of
from lamm_model.checkpoint.merge import plan_merge
from lamm_model.checkpoint.planning import check_recipes, plan_tensors
from lamm_model.checkpoint.shards import PlannedTensor
from lamm_model.checkpoint.tensor_sources import TensorRecipe, open_weights
from lamm_model.checkpoint.workspace import MANIFEST, verify_manifest
from lamm_model.config import LammConfig
from lamm_model.spec import CheckpointSpec
from lamm_model.tokenizer import LammTokenizer


@dataclass(frozen=True, slots=True)
class ExportSource:
    """A LAMM: `tensors` by LAMM's names, read from `files`; `provenance` says what they are."""

    spec: CheckpointSpec
    config: LammConfig
    tokenizer: LammTokenizer
    dtype: torch.dtype
    tensors: Mapping[str, PlannedTensor]
    files: tuple[Path, ...]
    licence: str
    provenance: Mapping[str, Any]


def open_source(checkpoint: Path, adapter: Path | None, dtype: str | None) -> ExportSource:
    """Opens a checkpoint, with an adapter that was trained on it or without.

    The weights are compared with `manifest.json` if the checkpoint has one.

    Raises:
        CheckpointError: a file is missing or broken, a digest differs, the weights do not fit
            config.json, or the adapter does not fit the checkpoint.
    """
    spec = CheckpointSpec.from_pretrained(checkpoint)
    if (checkpoint / MANIFEST).is_file():
        verify_manifest(checkpoint)
    provenance: dict[str, Any] = {"checkpoint": spec.digest}
    origins: dict[str, Any] = {"base": spec.provenance}
    if adapter is None:
        config = LammConfig.from_pretrained(checkpoint)
        weights = open_weights(checkpoint)
        recipes: Mapping[str, TensorRecipe] = {
            name: TensorRecipe.of(weights, name) for name in weights.shapes
        }
        check_recipes(config, recipes, f"{checkpoint}: the weights do not fit config.json", {})
        updates: Mapping[str, LoraUpdate] = {}
        files = weights.files
    else:
        planned = plan_merge(checkpoint, adapter)
        config, recipes, updates = planned.config, planned.recipes, planned.updates
        files = planned.files
        origins["adapter"] = provenance["adapter"] = dict(planned.adapter.provenance)
    stored = config.dtype if isinstance(config.dtype, torch.dtype) else torch.float16
    wanted = stored if dtype is None else getattr(torch, dtype)
    tensors = {tensor.name: tensor for tensor in plan_tensors(config, recipes, wanted, updates)}
    tokenizer = LammTokenizer.from_pretrained(checkpoint)
    licence = licence_of(checkpoint, origins)
    return ExportSource(spec, config, tokenizer, wanted, tensors, files, licence, provenance)
