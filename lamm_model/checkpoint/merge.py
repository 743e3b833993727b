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
from peft import LoraConfig

from lamm_model.checkpoint.adapter import (
    Adapter,
    check_adapter,
    load_adapter,
)
from lamm_model.checkpoint.planning import (
    LoraWeights,
    check_recipes,
    model_tensors,
    plan_tensors,
    write_config,
)
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
# Extensions of LoRA in PEFT that change the computation; the trainer does not use them.
_PLAIN = {
    "use_dora": False,
    "use_rslora": False,
    "fan_in_fan_out": False,
    "bias": "none",
    "rank_pattern": {},
    "alpha_pattern": {},
    "modules_to_save": None,
}


@dataclass(frozen=True, slots=True)
class MergePlan:
    """Sources of a merged model's tensors; `files` are all files that they are read from."""

    spec: CheckpointSpec
    config: LammConfig
    adapter: Adapter
    recipes: Mapping[str, TensorRecipe]
    lora: LoraWeights
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
        CheckpointError: the adapter was trained on another base, keys or shapes differ, a merged
            weight is not finite in `dtype`, or the disk has too little room.
        FileExistsError: `out` exists and `replace` is false.
    """
    planned = plan_merge(base, adapter)
    spec, config = planned.spec, planned.config
    tensors = plan_tensors(config, planned.recipes, dtype, planned.lora)
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
            "versions": {name: version(name) for name in ("torch", "transformers", "peft")},
        }
        write_json(work.folder / PROVENANCE, provenance)
        write_json(work.folder / MANIFEST, {"format": "lamm-manifest/1", "files": written.files})
    return provenance


def plan_merge(base: Path, adapter: Path) -> MergePlan:
    """Checks an adapter against its base; reads the adapter, and of the base only the headers.

    Raises:
        CheckpointError: the adapter was trained on another base, or keys or shapes differ.
    """
    spec = CheckpointSpec.from_pretrained(base)
    loaded = _load_for(spec, adapter)
    config = LammConfig.from_pretrained(base)
    recipes, lora = _recipes(base, config, loaded, adapter)
    files = {file for recipe in recipes.values() for file in recipe.source.files}
    return MergePlan(
        spec, config, loaded, recipes, lora, tuple(sorted({*files, *adapter.glob("adapter_*")}))
    )


def _load_for(spec: CheckpointSpec, adapter: Path) -> Adapter:
    loaded = load_adapter(adapter)
    trained_on = loaded.provenance.get("base", {}).get("digest")
    if trained_on != spec.digest:
        raise CheckpointError(
            f"{adapter}: trained on the base with digest {trained_on}, but {spec.path} has "
            f"{spec.digest}"
        )
    return loaded


def _recipes(
    base: Path, config: LammConfig, adapter: Adapter, where: Path
) -> tuple[Mapping[str, TensorRecipe], LoraWeights]:
    source = open_weights(base)
    recipes = {name: TensorRecipe.of(source, name) for name in source.shapes}
    check_recipes(config, recipes, f"{base}: the weights do not fit config.json", {})
    shapes = {name: shape for name, (shape, _) in model_tensors(config).items()}
    lora = _plain_lora(adapter, where)
    wanted = _lora_shapes(shapes, adapter.config, where)
    wanted.update({n: s for n, s in shapes.items() if n.split(".")[0].endswith("_projector")})
    check_adapter(adapter, wanted, str(where))
    projectors = TensorSource.of(where / PROJECTORS, adapter.projectors)
    recipes.update({name: TensorRecipe.of(projectors, name) for name in adapter.projectors})
    return recipes, lora


def _plain_lora(adapter: Adapter, where: Path) -> LoraWeights:
    config = adapter.config
    fancy = [n for n, plain in _PLAIN.items() if (getattr(config, n, None) or plain) != plain]
    if fancy or config.r < 1:
        raise CheckpointError(f"{where}: not plain LoRA: {', '.join(fancy) or f'r = {config.r}'}")
    return LoraWeights(adapter.lora, config.lora_alpha / config.r)


def _lora_shapes(
    shapes: Mapping[str, tuple[int, ...]], config: LoraConfig, where: Path
) -> dict[str, tuple[int, ...]]:
    """Shapes of the LoRA halves that the configuration asks for, by PEFT name."""
    targets = config.target_modules
    if not isinstance(targets, (set, list)) or not targets:
        raise CheckpointError(f"{where}: target_modules is {targets!r}; expected a list of names")
    wanted: dict[str, tuple[int, ...]] = {}
    unmatched = set(targets)
    for name, shape in shapes.items():
        module = name.removeprefix("language_model.").removesuffix(".weight")
        hit = {t for t in targets if module == t or module.endswith(f".{t}")}
        if not hit or not name.startswith("language_model.") or len(shape) != 2:
            continue
        unmatched -= hit
        wanted[f"base_model.model.{module}.lora_A.weight"] = (config.r, shape[1])
        wanted[f"base_model.model.{module}.lora_B.weight"] = (shape[0], config.r)
    if unmatched:
        raise CheckpointError(f"{where}: targets match no layer: {', '.join(sorted(unmatched))}")
    return wanted
