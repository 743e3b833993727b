"""Descriptions of adapters, language models, encoders and deltas, and reading of weight headers.

torch is imported only for pickles and TorchScript.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from lamm_model.checkpoint.workspace import file_sha256
from lamm_model.spec import (
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    PROJECTORS,
    PROVENANCE,
    CheckpointError,
    read_json,
)


def describe_adapter(path: Path) -> Iterator[str]:
    """Describes an adapter directory."""
    config = read_json(path, ADAPTER_CONFIG, "an adapter")
    provenance = read_json(path, PROVENANCE, "an adapter")
    # By name: a training checkpoint also has optimizer tensors in the directory.
    shapes, dtypes, size = read_headers(path, (ADAPTER_WEIGHTS, PROJECTORS))
    projectors = sorted({n.split(".")[0] for n in shapes if n.split(".")[0].endswith("_projector")})
    yield f"{path}"
    yield "  kind        adapter; input of `lamm model merge --adapter`"
    yield f"  base        digest {provenance.get('base', {}).get('digest')}"
    targets = config.get("target_modules")
    shown = ", ".join(sorted(map(str, targets))) if isinstance(targets, list) else str(targets)
    yield f"  LoRA        r {config.get('r')}, alpha {config.get('lora_alpha')}, {shown}"
    yield from _restrictions(path)
    yield f"  projectors  {', '.join(projectors)}"
    yield f"  weights     {sum(map(prod, shapes.values())):,} parameters, {size / 1e6:.1f} MB"
    yield f"  dtype       {', '.join(name for name, _ in dtypes.most_common())}"
    yield f"  licence     {licence_of(path, provenance)}"


def _restrictions(path: Path) -> Iterator[str]:
    """What of its configuration keeps an adapter from being served or merged."""
    from lamm_model.checkpoint.adapters.options import read_options  # noqa: PLC0415

    try:
        options = read_options(path)
    except CheckpointError as error:
        yield f"  refused     {error}"
    else:
        if options.use_dora:
            yield "  DoRA        to be merged; not served unmerged"


def describe_base(path: Path) -> Iterator[str]:
    """Describes a LLaMA directory."""
    from lamm_model.checkpoint.base_families import BaseFamily  # noqa: PLC0415
    from lamm_model.checkpoint.base_llm import objections, open_base  # noqa: PLC0415 - torch

    base = open_base(path, 1, 2)
    total = sum(prod(recipe.shape) for recipe in base.recipes.values())
    sizes = ", ".join(f"{name} {value}" for name, value in base.fingerprint.sizes.items())
    yield f"{path}"
    yield "  kind        language model (LLaMA); input of `lamm model convert --llm`"
    yield f"  digest      {base.fingerprint.digest} (sampled; for --expect-base-digest)"
    yield f"  weights     {total:,} parameters"
    yield f"  sizes       {sizes}"
    for family in BaseFamily:
        against = objections(base, {}, family)
        said = "no:" if against else "possible; sizes and name agree"
        yield f"  {family.value:<12}{said}"
        yield from (f"    {reason}" for reason in against)


def describe_clip(path: Path) -> Iterator[str]:
    """Describes CLIP, a directory or a file."""
    from lamm_model.checkpoint.clip_keys import open_clip  # noqa: PLC0415 - torch

    tower = open_clip(path)
    config = tower.config
    grid = int(config.image_size) // int(config.patch_size)  # type: ignore[arg-type]
    yield f"{path}"
    yield f"  kind        CLIP, {tower.layout} names; input of `lamm model convert --vision`"
    yield (
        f"  encoder     {config.num_hidden_layers} layers of {config.hidden_size}, "
        f"{config.image_size} x {config.image_size} pixels -> {grid * grid} tokens"
    )
    yield from _unexpected(tower.unexpected)
    yield from _file_digest(path)


def describe_file(path: Path) -> Iterator[str]:
    """Describes a file: CLIP, EPCL or an official delta."""
    from lamm_model.checkpoint.official_delta import is_official_delta  # noqa: PLC0415 - torch
    from lamm_model.checkpoint.restricted_unpickler import is_torchscript  # noqa: PLC0415
    from lamm_model.checkpoint.torch_files import load_torch_file  # noqa: PLC0415

    if path.suffix == ".safetensors" or is_torchscript(path):
        yield from describe_clip(path)
        return
    value = load_torch_file(path)
    if isinstance(value, dict) and {"model", "args"} <= value.keys():
        yield from _describe_epcl(path)
    elif is_official_delta(value):
        yield from _describe_delta(path)
    else:
        yield from describe_clip(path)


def _describe_epcl(path: Path) -> Iterator[str]:
    from lamm_model.checkpoint.epcl_keys import open_epcl  # noqa: PLC0415 - torch

    tower = open_epcl(path)
    config = tower.config
    yield f"{path}"
    yield f"  kind        EPCL, {tower.layout} pre-encoder; input of `lamm model convert --points`"
    yield (
        f"  encoder     {config.num_hidden_layers} layers of {config.hidden_size} -> "
        f"{config.num_tokens} tokens, {config.num_task_tokens} task tokens, "
        f"{'with colour' if config.use_color else 'coordinates only'}"
    )
    yield f"  ignored     {tower.dropped} tensors of the detector"
    yield from _unexpected(tower.unexpected)
    yield from _file_digest(path)


def _describe_delta(path: Path) -> Iterator[str]:
    from lamm_model.checkpoint.base_families import FAMILIES, family_of  # noqa: PLC0415
    from lamm_model.checkpoint.official_delta import TARGETS, open_delta  # noqa: PLC0415 - torch

    delta = open_delta(path)
    facts = FAMILIES[family_of(path, delta.sibling_config)]
    yield f"{path}"
    yield "  kind        LAMM delta; input of `lamm model convert --delta`"
    yield f"  digest      {delta.sha256}"
    yield (
        f"  LoRA        r {delta.rank}, {', '.join(TARGETS)} in {delta.num_layers} layers of "
        f"{delta.hidden_size}"
    )
    yield (
        f"  projector   {delta.encoder_width} -> {delta.hidden_size} (the file does not state the "
        f"modality)"
    )
    yield f"  weights     {delta.num_keys} tensors, {str(delta.dtype).removeprefix('torch.')}"
    yield f"  base        {facts.title}, unless its directory's name misleads (--base-family)"
    yield f"  licence     {facts.licence}"


def _unexpected(names: tuple[str, ...]) -> Iterator[str]:
    if names:
        yield f"  unknown     {len(names)} tensors: {', '.join(names[:5])}"


def _file_digest(path: Path) -> Iterator[str]:
    if path.is_file():
        yield f"  digest      {file_sha256(path)}"


def licence_of(path: Path, provenance: Mapping[str, Any]) -> str:
    """The licence that the provenance states for the weights or for their sources."""
    if stated := _stated_licence(provenance):
        return stated
    if (path / "LICENSE").is_file():
        return "see LICENSE in the directory"
    return "not stated"


def _stated_licence(provenance: Mapping[str, Any]) -> str | None:
    if provenance.get("licence"):
        return str(provenance["licence"])
    parts = (provenance.get(name) for name in ("base", "provenance", "adapter"))
    within = (_stated_licence(part) for part in parts if isinstance(part, Mapping))
    return next(filter(None, within), None)


def read_headers(
    path: Path, names: Sequence[str] = ("*.safetensors",)
) -> tuple[dict[str, tuple[int, ...]], Counter[str], int]:
    """Shapes by tensor, parameters by dtype, and bytes of the directory's files `names`."""
    shapes: dict[str, tuple[int, ...]] = {}
    dtypes: Counter[str] = Counter()
    size = 0
    for file in sorted(found for name in names for found in path.glob(name)):
        size += file.stat().st_size
        try:
            with safe_open(file, framework="numpy") as tensors:
                for name in tensors.keys():  # noqa: SIM118 - not a mapping
                    header = tensors.get_slice(name)
                    shapes[name] = tuple(header.get_shape())
                    dtypes[header.get_dtype()] += prod(shapes[name])
        except (OSError, SafetensorError) as error:
            raise CheckpointError(f"{file}: the weights cannot be read: {error}") from error
    return shapes, dtypes, size
