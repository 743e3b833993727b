"""Mapping of an EPCL checkpoint (`model`, `args`) to the names and configuration of `EpclEncoder`.

The file is a 3D detector, whose own weights are dropped by name. The layout follows OpenLAMM
`src/model/EPCL/model_3detr.py` @ d5ca246: radius 0.2 and 64 neighbours in the first set
abstraction, both scaled by `preenc_npoints // vit_num_token` in the second. The flat pre-encoder
has one set abstraction.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lamm_model.checkpoint.clip_keys import HEAD_SIZE, openai_blocks
from lamm_model.checkpoint.tensor_sources import (
    TensorRecipe,
    TensorSource,
)
from lamm_model.checkpoint.torch_files import load_torch_file, named_tensors
from lamm_model.config import EpclConfig
from lamm_model.spec import CheckpointError

_FIRST_RADIUS = 0.2
_NEIGHBOURS = 64

_CLIP = "encoder.clip_vit."
_RENAMED = (
    (re.compile(r"encoder\.pos_embed\.(.+)"), r"pos_embed.\1"),
    (re.compile(r"encoder\.clip_vit\.ln_pre\.(.+)"), r"pre_layrnorm.\1"),
    (re.compile(r"te_encoder\.(embedding\.weight|trans\..+)"), r"task_tokens.\1"),
)
_PRE_ENCODER = re.compile(
    r"pre_encoder\.(?:layers\.(?P<layer>\d+)\.)?mlp_module\.layer(?P<depth>\d+)\."
    r"(?:(?P<conv>conv\.weight)|bn\.bn\.(?P<bn>\w+))$"
)
# The detector, and the parts of CLIP that EPCL's forward pass does not use.
_DROPPED = re.compile(
    r"(encoder_to_decoder_projection|query_projection|decoder|mlp_heads|pos_embedding)\.|"
    r"encoder\.clip_vit\.(conv1\.weight|class_embedding|positional_embedding|proj|ln_post\..+)$"
)


@dataclass(frozen=True, slots=True)
class EpclTower:
    """The point tower: configuration, recipes, unknown keys, number of dropped tensors."""

    config: EpclConfig
    recipes: Mapping[str, TensorRecipe]
    unexpected: tuple[str, ...]
    dropped: int
    layout: str


def open_epcl(path: Path) -> EpclTower:
    """Reads an EPCL file.

    Raises:
        CheckpointError: the file cannot be read, is not an EPCL checkpoint, or its sizes do not
            match its arguments.
    """
    source, args = _contents(path)
    recipes, used, layers = openai_blocks(
        source, f"{_CLIP}transformer.resblocks.", "encoder.layers."
    )
    for name in source.shapes:
        for pattern, replacement in _RENAMED:
            if pattern.fullmatch(name):
                recipes[pattern.sub(replacement, name)] = TensorRecipe.of(source, name)
                used.add(name)
    flat = not _argument(path, args, "pointnet_downsample", bool)
    for name, shape in source.shapes.items():
        match = _PRE_ENCODER.match(name)
        if match is None or (match["layer"] is None) != flat:
            continue
        target = f"pre_encoder.{match['layer'] or 0}.mlp.{match['depth']}."
        # A 1x1 convolution is a linear layer with two extra axes.
        recipes[target + (match["conv"] or f"bn.{match['bn']}")] = TensorRecipe(
            source, name, shape[:2] if match["conv"] else shape
        )
        used.add(name)
    dropped = [k for k in source.shapes if k not in used and _DROPPED.match(k)]
    unexpected = sorted(source.shapes.keys() - used - set(dropped))
    config = _config(path, args, recipes, layers, flat)
    layout = "flat" if flat else "hierarchical"
    return EpclTower(config, recipes, tuple(unexpected), len(dropped), layout)


def _contents(path: Path) -> tuple[TensorSource, Mapping[str, Any]]:
    value = load_torch_file(path)
    if not isinstance(value, dict) or not {"model", "args"} <= value.keys():
        keys = sorted(map(str, value))[:5] if isinstance(value, dict) else type(value).__name__
        raise CheckpointError(
            f"{path}: not an EPCL checkpoint: expected model and args, found {keys}"
        )
    if not isinstance(value["args"], argparse.Namespace) or not isinstance(value["model"], Mapping):
        raise CheckpointError(f"{path}: not an EPCL checkpoint: args is not a Namespace")
    tensors = named_tensors(path, value["model"])
    return (
        TensorSource.of(path, {k.removeprefix("module."): t for k, t in tensors.items()}),
        vars(value["args"]),
    )


def _config(
    path: Path,
    args: Mapping[str, Any],
    recipes: Mapping[str, TensorRecipe],
    layers: int,
    flat: bool,
) -> EpclConfig:
    def size(name: str, axis: int = 0) -> int:
        if name not in recipes or len(recipes[name].shape) <= axis:
            raise CheckpointError(f"{path}: not an EPCL encoder: no tensor maps to {name}")
        return recipes[name].shape[axis]

    width = size("pre_layrnorm.weight")
    if width % HEAD_SIZE:
        raise CheckpointError(f"{path}: width is {width}; expected a multiple of {HEAD_SIZE}")
    points = _argument(path, args, "preenc_npoints", int)
    tokens = points if flat else _argument(path, args, "vit_num_token", int)
    if not 0 < tokens <= points:
        raise CheckpointError(f"{path}: preenc_npoints is {points}, vit_num_token {tokens}")
    ratio = points // tokens
    color = bool(_argument(path, args, "use_color", int))
    count = 1 if flat else 2
    radius = _argument(path, args, "preenc_radius", float) if flat else _FIRST_RADIUS
    mlps = [_channels(recipes, layer) for layer in range(count)]
    columns = size("pre_encoder.0.mlp.0.conv.weight", 1)
    if columns != (6 if color else 3):
        raise CheckpointError(
            f"{path}: use_color is {color}, but the first layer has {columns} inputs"
        )
    try:
        return EpclConfig(
            use_color=color,
            sa_num_points=[points, tokens][:count],
            sa_radius=[radius, radius * ratio][:count],
            sa_num_samples=[_NEIGHBOURS, _NEIGHBOURS * ratio][:count],
            sa_mlp=mlps,
            position_hidden_size=size("pos_embed.0.weight"),
            num_task_tokens=size("task_tokens.embedding.weight"),
            hidden_size=width,
            intermediate_size=size("encoder.layers.0.mlp.fc1.weight"),
            num_hidden_layers=layers,
            num_attention_heads=width // HEAD_SIZE,
            hidden_act="quick_gelu",
        )
    except (ValueError, IndexError) as error:
        raise CheckpointError(f"{path}: not an EPCL encoder: {error}") from error


def _channels(recipes: Mapping[str, TensorRecipe], layer: int) -> list[int]:
    names = re.compile(rf"pre_encoder\.{layer}\.mlp\.(\d+)\.conv\.weight")
    found = {int(m[1]): r.shape[0] for n, r in recipes.items() if (m := names.fullmatch(n))}
    return [found[depth] for depth in sorted(found)]


def _argument(path: Path, args: Mapping[str, Any], name: str, kind: type) -> Any:
    value = args.get(name)
    if value is None or not isinstance(value, (bool, int, float)):
        raise CheckpointError(f"{path}: args.{name} is {value!r}; expected a {kind.__name__}")
    return kind(value)
