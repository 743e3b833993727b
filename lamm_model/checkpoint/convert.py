"""Conversion of a published LAMM delta with its base and CLIP or EPCL into a checkpoint directory.

All inputs are opened and checked against the model's names and shapes before anything is written,
tensor by tensor. With `merge` the result is a checkpoint directory. Otherwise it has `base/`, a
checkpoint with the unchanged language model, and `adapter/`, the inputs of `lamm model merge`.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

from lamm_model.checkpoint.adapters.fitted import LoraUpdate
from lamm_model.checkpoint.adapters.injection import lora_config
from lamm_model.checkpoint.adapters.stored import DOWN, PREFIX, UP
from lamm_model.checkpoint.adapters.trained import Adapter, write_adapter
from lamm_model.checkpoint.base_families import FAMILIES
from lamm_model.checkpoint.clip_keys import ClipTower
from lamm_model.checkpoint.convert_inputs import ConvertOptions, OpenedInputs, open_inputs
from lamm_model.checkpoint.official_delta import LORA_DROPOUT, TARGETS, OfficialDelta
from lamm_model.checkpoint.planning import (
    check_recipes,
    plan_tensors,
    write_config,
)
from lamm_model.checkpoint.shards import check_disk, total_bytes, write_weights
from lamm_model.checkpoint.tensor_sources import TensorRecipe, TensorSource
from lamm_model.checkpoint.workspace import (
    MANIFEST,
    Workspace,
    file_identity,
    file_sha256,
    workspace,
    write_json,
)
from lamm_model.config import LammConfig
from lamm_model.processing import write_processor_config
from lamm_model.spec import PROVENANCE

# Points that upstream's loader samples from every cloud.
_NUM_POINTS = 40_000


def convert(options: ConvertOptions) -> dict[str, Any]:
    """Writes `options.out`, completely or not at all; returns the provenance.

    Raises:
        CheckpointError: an input cannot be read or does not match the others, the language model
            is not the delta's base, or the disk has too little space.
        FileExistsError: `out` exists and `replace` is false.
    """
    opened = open_inputs(options)
    config = _config(opened)
    recipes = _recipes(opened)
    tower = opened.tower
    source = str(options.vision or options.points)
    check_recipes(config, recipes, "the inputs do not match the model", {source: tower.unexpected})
    updates = _updates(opened.delta, options.lora_alpha) if options.merge else {}
    tensors = plan_tensors(config, recipes, options.dtype, updates)
    with workspace(options.out, _plan(options, recipes), replace=options.replace) as work:
        beside = 0 if options.merge else sum(t.nbytes for t in opened.delta.lora.values())
        check_disk(options.out.parent, total_bytes(tensors) + beside - work.finished_bytes)
        folder = work.folder if options.merge else work.folder / "base"
        folder.mkdir(exist_ok=True)
        written = write_weights(folder, tensors, work, options.max_shard_bytes)
        points = None if isinstance(tower, ClipTower) else _NUM_POINTS
        write_config(folder, config, options.dtype)
        facts = FAMILIES[opened.family]
        write_processor_config(
            folder,
            config,
            num_points=points,
            prompt_preset=facts.prompt_preset,
            system_prompts={"normal": facts.normal_system},
        )
        (folder / "tokenizer.json").write_text(opened.tokenizer, encoding="utf8")
        provenance = _provenance(options, opened, written.digest)
        write_json(folder / PROVENANCE, provenance)
        write_json(folder / MANIFEST, {"format": "lamm-manifest/1", "files": written.files})
        if not options.merge:
            _write_adapter(work, options, opened, provenance)
    return provenance


def _config(opened: OpenedInputs) -> LammConfig:
    part = "vision_config" if isinstance(opened.tower, ClipTower) else "point_config"
    text = opened.base.config
    fields: dict[str, Any] = {part: opened.tower.config}
    # `generate` reads the special ids from the top level.
    for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
        fields[name] = getattr(text, name)
    return LammConfig(text_config=text, **fields)


def _recipes(opened: OpenedInputs) -> dict[str, TensorRecipe]:
    tower = "vision_tower" if isinstance(opened.tower, ClipTower) else "point_tower"
    delta = opened.delta
    projector = TensorSource.of(delta.path, delta.projector)
    return {
        **{f"language_model.{name}": recipe for name, recipe in opened.base.recipes.items()},
        **{f"{tower}.{name}": recipe for name, recipe in opened.tower.recipes.items()},
        **{f"{opened.projector}.{p}": TensorRecipe.of(projector, p) for p in delta.projector},
    }


def _updates(delta: OfficialDelta, alpha: float) -> dict[str, LoraUpdate]:
    return {
        name.removeprefix(PREFIX).removesuffix(DOWN): LoraUpdate(
            down, delta.lora[name.removesuffix(DOWN) + UP], alpha / delta.rank
        )
        for name, down in delta.lora.items()
        if name.endswith(DOWN)
    }


def _plan(options: ConvertOptions, recipes: Mapping[str, TensorRecipe]) -> dict[str, Any]:
    files = {file for recipe in recipes.values() for file in recipe.source.files}
    return {
        "inputs": [file_identity(path) for path in sorted({*files, options.delta})],
        "merge": options.merge,
        "dtype": str(options.dtype),
        "lora_alpha": options.lora_alpha,
        "base_family": options.base_family,
        "max_shard_bytes": options.max_shard_bytes,
    }


def _provenance(options: ConvertOptions, opened: OpenedInputs, digest: str) -> dict[str, Any]:
    delta, tower = opened.delta, opened.tower
    encoder = options.vision or options.points
    assert encoder is not None
    return {
        "format": "lamm-checkpoint/1",
        "digest": digest,
        "dtype": str(options.dtype).removeprefix("torch."),
        "licence": FAMILIES[opened.family].licence,
        "base": {
            "family": opened.family.value,
            "language_model": asdict(opened.base.fingerprint),
            "forced_against": list(opened.objections),
        },
        "delta": {
            "name": f"{delta.path.resolve().parent.name}/{delta.path.name}",
            "sha256": delta.sha256,
            "keys": delta.num_keys,
            "lora": {"r": delta.rank, "alpha": options.lora_alpha, "targets": list(TARGETS)},
            "merged": options.merge,
        },
        "encoder": {
            "name": encoder.name,
            "layout": tower.layout,
            **({"sha256": file_sha256(encoder)} if encoder.is_file() else {}),
        },
        "versions": {name: version(name) for name in ("torch", "transformers")},
    }


def _write_adapter(
    work: Workspace, options: ConvertOptions, opened: OpenedInputs, provenance: Mapping[str, Any]
) -> None:
    folder = work.folder / "adapter"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    delta = opened.delta
    projector = {f"{opened.projector}.{part}": value for part, value in delta.projector.items()}
    config = lora_config(delta.rank, options.lora_alpha, LORA_DROPOUT, TARGETS)
    config.inference_mode = True
    config.base_model_name_or_path = opened.base.fingerprint.name
    adapter_provenance = {
        "format": "lamm-adapter/1",
        "licence": FAMILIES[opened.family].licence,
        "base": {
            "name": "base",
            "digest": provenance["digest"],
            "language_model": provenance["base"]["language_model"],
        },
        "delta": provenance["delta"],
    }
    write_adapter(folder, Adapter(config, delta.lora, projector, adapter_provenance))
