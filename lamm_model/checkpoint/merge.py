"""Base + adapter -> the directory that the service loads. Called by `lamm model merge`."""

from __future__ import annotations

import json
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn

from lamm_model.checkpoint.adapter import PROVENANCE, copy_adapter, load_adapter
from lamm_model.checkpoint.atomic import atomic_directory
from lamm_model.checkpoint.load import load_model
from lamm_model.checkpoint.lora import inject_lora
from lamm_model.modeling import LammForConditionalGeneration
from lamm_model.processing import LammProcessor
from lamm_model.spec import CheckpointError, CheckpointSpec, weights_digest

_LICENCE_FILES = ("LICENSE", "NOTICE", "README.md")


def attach(base: Path, adapter: Path) -> LammForConditionalGeneration:
    """The base in float32 with the adapter's LoRA and projectors, not merged.

    Raises:
        CheckpointError: the adapter was trained on another base, or keys or shapes differ.
    """
    loaded = load_adapter(adapter)
    spec = CheckpointSpec.from_pretrained(base)
    trained_on = loaded.provenance.get("base", {}).get("digest")
    if trained_on != spec.digest:
        raise CheckpointError(
            f"{adapter}: trained on the base with digest {trained_on}; {base} has {spec.digest}"
        )
    model = load_model(base, torch.float32)
    inject_lora(model, loaded.config)
    copy_adapter(loaded, model, str(adapter))
    nn.Module.eval(model)  # fresh LoRA layers come with their dropout awake
    return model


def merge(
    base: Path, adapter: Path, out: Path, dtype: torch.dtype, *, replace: bool = False
) -> dict[str, Any]:
    """Merges in float32, stores as `dtype`; `out` appears whole. Returns its provenance.

    Raises:
        CheckpointError: as `attach`; or a merged weight is not finite in `dtype`.
        FileExistsError: `out` exists and `replace` is false.
    """
    spec = CheckpointSpec.from_pretrained(base)
    with atomic_directory(out, replace=replace) as folder:
        model = attach(base, adapter)
        _merge_layers(model.language_model)
        nn.Module.to(model, dtype)
        _check_finite(model, dtype)
        model.save_pretrained(folder)
        LammProcessor.from_pretrained(base).save_pretrained(folder)
        for name in _LICENCE_FILES:
            if (base / name).is_file():
                shutil.copyfile(base / name, folder / name)
        adapter_provenance = json.loads((adapter / PROVENANCE).read_text(encoding="utf8"))
        provenance = {
            "format": "lamm-checkpoint/1",
            "digest": weights_digest(folder),
            "dtype": str(dtype).removeprefix("torch."),
            "base": {"digest": spec.digest, "provenance": dict(spec.provenance)},
            "adapter": adapter_provenance,
            "versions": {name: version(name) for name in ("torch", "transformers", "peft")},
        }
        text = json.dumps(provenance, indent=2, ensure_ascii=False) + "\n"
        (folder / PROVENANCE).write_text(text, encoding="utf8")
        # What was written is what will be served: it must load strictly before it gets its name.
        load_model(folder)
    return provenance


def _merge_layers(language_model: nn.Module) -> None:
    for name, module in list(language_model.named_modules()):
        if isinstance(module, BaseTunerLayer):
            module.merge(safe_merge=True)
            language_model.set_submodule(name, module.get_base_layer())


def _check_finite(model: LammForConditionalGeneration, dtype: torch.dtype) -> None:
    broken = [name for name, weight in model.state_dict().items() if not weight.isfinite().all()]
    if broken:
        limit = torch.finfo(dtype).max
        raise CheckpointError(
            f"weights are not finite in {dtype} (largest: {limit:g}): {', '.join(broken[:20])}"
        )
