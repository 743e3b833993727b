"""Merging of an adapter into its base.

Tensors are streamed: memory use is that of the largest one, and an interrupted run resumes.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from lamm_model.checkpoint.adapters.fitted import (
    BaseShapes,
    LoraUpdate,
    fit_adapter,
    has_magnitudes,
)
from lamm_model.checkpoint.adapters.options import base_digest
from lamm_model.checkpoint.adapters.stored import StoredAdapter, load_adapter
from lamm_model.checkpoint.load import refuse
from lamm_model.checkpoint.planning import check_recipes, plan_tensors, write_config
from lamm_model.checkpoint.shards import MAX_SHARD_BYTES, check_disk, total_bytes, write_weights
from lamm_model.checkpoint.tensor_sources import TensorRecipe, TensorSource, open_weights
from lamm_model.checkpoint.workspace import MANIFEST, file_identity, workspace, write_json
from lamm_model.config import LammConfig
from lamm_model.processing import LammProcessor
from lamm_model.spec import (
    PROJECTORS,
    PROVENANCE,
    CheckpointError,
    CheckpointSpec,
)

_COPIED_FILES = ("LICENSE", "NOTICE", "README.md")


@dataclass(frozen=True, slots=True)
class MergePlan:
    """Sources of a merged model's tensors; `files` are all files that they are read from."""

    spec: CheckpointSpec
    config: LammConfig
    adapter: StoredAdapter
    recipes: Mapping[str, TensorRecipe]
    updates: Mapping[str, LoraUpdate]
    files: tuple[Path, ...]


def merge(
    base: Path,
    adapter: Path,
    out: Path,
    dtype: torch.dtype,
    *,
    replace: bool = False,
    max_shard_bytes: int = MAX_SHARD_BYTES,
) -> dict[str, Any]:
    """Merges in float32, stores as `dtype`; `out` appears whole. Returns its provenance.

    Raises:
        CheckpointError: the adapter was trained on another base, has an option that cannot be
            merged, keys or shapes differ, a merged weight is not finite in `dtype`, or the disk has
            too little room.
        FileExistsError: `out` exists and `replace` is false.
    """
    planned = plan_merge(base, adapter)
    spec, config = planned.spec, planned.config
    tensors = plan_tensors(config, planned.recipes, dtype, planned.updates)
    plan = {
        "inputs": [file_identity(path) for path in planned.files],
        "base": spec.digest,
        "dtype": str(dtype),
        "max_shard_bytes": max_shard_bytes,
    }
    with workspace(out, plan, replace=replace) as work:
        check_disk(out.parent, total_bytes(tensors) - work.finished_bytes)
        written = write_weights(work.folder, tensors, work, max_shard_bytes)
        write_config(work.folder, config, dtype)
        LammProcessor.from_pretrained(base).save_pretrained(work.folder)
        for name in _COPIED_FILES:
            if (base / name).is_file():
                shutil.copyfile(base / name, work.folder / name)
        provenance = {
            "format": "lamm-checkpoint/1",
            "digest": written.digest,
            "dtype": str(dtype).removeprefix("torch."),
            "base": {"digest": spec.digest, "provenance": dict(spec.provenance)},
            "adapter": dict(planned.adapter.provenance),
            "notes": _notes(planned.adapter),
            "versions": {name: version(name) for name in ("torch", "transformers")},
        }
        write_json(work.folder / PROVENANCE, provenance)
        write_json(work.folder / MANIFEST, {"format": "lamm-manifest/1", "files": written.files})
    return provenance


def plan_merge(base: Path, adapter: Path) -> MergePlan:
    """Checks an adapter against its base; reads the adapter, and of the base only the headers.

    Raises:
        CheckpointError: the adapter was trained on another base, has an option that cannot be
            merged, or keys or shapes differ.
    """
    spec = CheckpointSpec.from_pretrained(base)
    loaded = _load_for(spec, adapter)
    config = LammConfig.from_pretrained(base)
    recipes, updates = _recipes(base, config, loaded, adapter)
    files = {file for recipe in recipes.values() for file in recipe.source.files}
    return MergePlan(
        spec, config, loaded, recipes, updates, tuple(sorted({*files, *adapter.glob("adapter_*")}))
    )


def _load_for(spec: CheckpointSpec, adapter: Path) -> StoredAdapter:
    loaded = load_adapter(adapter)
    trained_on = base_digest(loaded.provenance)
    if trained_on != spec.digest:
        raise CheckpointError(
            f"{adapter}: trained on the base with digest {trained_on}, but {spec.path} has "
            f"{spec.digest}"
        )
    return loaded


def _recipes(
    base: Path, config: LammConfig, adapter: StoredAdapter, where: Path
) -> tuple[Mapping[str, TensorRecipe], Mapping[str, LoraUpdate]]:
    source = open_weights(base)
    recipes = {name: TensorRecipe.of(source, name) for name in source.shapes}
    check_recipes(config, recipes, f"{base}: the weights do not fit config.json", {})
    shapes = BaseShapes.of(config)
    updates = fit_adapter(adapter, shapes, where)
    # The service takes no such media from an adapter; a merged checkpoint would.
    refuse(
        f"{where}: {PROJECTORS} does not have all projectors of the base",
        {"missing from the adapter": sorted(shapes.projectors.keys() - adapter.projectors.keys())},
    )
    projectors = TensorSource.of(where / PROJECTORS, adapter.projectors)
    recipes.update({name: TensorRecipe.of(projectors, name) for name in adapter.projectors})
    return recipes, updates


def _notes(adapter: StoredAdapter) -> list[str]:
    """What the adapter's files leave open, and how it was filled."""
    if adapter.options.use_dora and not has_magnitudes(adapter):
        return [
            "the adapter has use_dora=True but no lora_magnitude_vector; the lengths of the base's "
            "rows are used, as PEFT does"
        ]
    return []
