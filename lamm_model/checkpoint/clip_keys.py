"""Mapping of CLIP's image tower to the names of `CLIPVisionModel`.

The sources are Hugging Face directories (`vision_model.*`) and OpenAI's `ViT-L-14.pt` (`visual.*`
with fused q/k/v). `openai_blocks` also applies to EPCL, whose transformer is OpenAI's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import isqrt
from pathlib import Path
from typing import Any

from transformers import CLIPVisionConfig

from lamm_model.checkpoint.tensor_sources import TensorRecipe, TensorSource, open_weights
from lamm_model.spec import CheckpointError

# Head size of all of OpenAI's vision transformers.
HEAD_SIZE = 64

_BLOCK_PARTS = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "attn.out_proj": "self_attn.out_proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}
_VISUAL_PARTS = {
    "class_embedding": "embeddings.class_embedding",
    "conv1.weight": "embeddings.patch_embedding.weight",
    "positional_embedding": "embeddings.position_embedding.weight",
    "ln_pre.weight": "pre_layrnorm.weight",
    "ln_pre.bias": "pre_layrnorm.bias",
    "ln_post.weight": "post_layernorm.weight",
    "ln_post.bias": "post_layernorm.bias",
}
# The text tower and the joint projections, which LAMM does not use.
_OPENAI_DROPPED = re.compile(
    r"(transformer|ln_final|token_embedding)\.|"
    r"(positional_embedding|text_projection|logit_scale|visual\.proj|"
    r"input_resolution|context_length|vocab_size)$"
)
_HF_DROPPED = re.compile(
    r"text_model\.|(visual_projection|text_projection)\.weight$|logit_scale$|"
    r"vision_model\.embeddings\.position_ids$"
)
_CONFIG_FIELDS = (
    "hidden_size", "intermediate_size", "projection_dim", "num_hidden_layers",
    "num_attention_heads", "num_channels", "image_size", "patch_size", "hidden_act",
    "layer_norm_eps"
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class ClipTower:
    """The image tower: configuration, recipes by `CLIPVisionModel` name, unknown keys."""

    config: CLIPVisionConfig
    recipes: Mapping[str, TensorRecipe]
    unexpected: tuple[str, ...]
    layout: str


def open_clip(path: Path) -> ClipTower:
    """The image tower in a Hugging Face directory or in a file with OpenAI's names.

    Raises:
        CheckpointError: no CLIP image tower is found.
    """
    source = open_weights(path)
    if "visual.conv1.weight" in source.shapes:
        return _from_openai(path, source)
    if path.is_dir():
        return _from_hugging_face(path, source)
    raise CheckpointError(
        f"{path}: visual.conv1.weight not found; expected OpenAI's CLIP names in a file"
    )


def openai_blocks(
    source: TensorSource, prefix: str, target: str
) -> tuple[dict[str, TensorRecipe], set[str], int]:
    """Recipes of OpenAI's `{prefix}{i}.*` blocks as `{target}{i}.*`, used keys, number of blocks.

    `attn.in_proj_*` is query, key and value stacked in rows, and is split into three.
    """
    recipes: dict[str, TensorRecipe] = {}
    used: set[str] = set()
    pattern = re.compile(re.escape(prefix) + r"(\d+)\.(.+)$")
    layers = 0
    for name, shape in source.shapes.items():
        match = pattern.match(name)
        if match is None:
            continue
        layer, part = int(match[1]), match[2]
        layers = max(layers, layer + 1)
        if part in ("attn.in_proj_weight", "attn.in_proj_bias") and shape and shape[0] % 3 == 0:
            width = shape[0] // 3
            kind = part.rpartition("_")[2]
            for number, letter in enumerate("qkv"):
                recipes[f"{target}{layer}.self_attn.{letter}_proj.{kind}"] = TensorRecipe(
                    source, name, (width, *shape[1:]), (number * width, (number + 1) * width)
                )
            used.add(name)
            continue
        module, _, kind = part.rpartition(".")
        if module in _BLOCK_PARTS and kind in ("weight", "bias"):
            recipes[f"{target}{layer}.{_BLOCK_PARTS[module]}.{kind}"] = TensorRecipe.of(
                source, name
            )
            used.add(name)
    return recipes, used, layers


def _from_openai(path: Path, source: TensorSource) -> ClipTower:
    shapes = source.shapes
    recipes, used, layers = openai_blocks(
        source, "visual.transformer.resblocks.", "encoder.layers."
    )
    for theirs, ours in _VISUAL_PARTS.items():
        name = f"visual.{theirs}"
        if name in shapes:
            recipes[ours] = TensorRecipe.of(source, name)
            used.add(name)
    try:
        width, channels, _, patch = shapes["visual.conv1.weight"]
        positions = shapes["visual.positional_embedding"][0]
        inner = shapes["visual.transformer.resblocks.0.mlp.c_fc.weight"][0]
    except (KeyError, ValueError, IndexError) as error:
        raise CheckpointError(
            f"{path}: not a CLIP vision transformer: {error} is missing or has another shape"
        ) from None
    grid = isqrt(positions - 1)
    if grid * grid != positions - 1 or width % HEAD_SIZE:
        raise CheckpointError(
            f"{path}: {positions} positions and width {width}; expected a square number plus 1, "
            f"and a multiple of {HEAD_SIZE}"
        )
    config = CLIPVisionConfig(
        hidden_size=width,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=width // HEAD_SIZE,
        num_channels=channels,
        image_size=grid * patch,
        patch_size=patch,
        hidden_act="quick_gelu",
    )
    unexpected = [k for k in shapes if k not in used and not _OPENAI_DROPPED.match(k)]
    return ClipTower(config, recipes, tuple(sorted(unexpected)), "OpenAI")


def _from_hugging_face(path: Path, source: TensorSource) -> ClipTower:
    prefix = "vision_model."
    recipes: dict[str, TensorRecipe] = {}
    unexpected: list[str] = []
    for name in source.shapes:
        if _HF_DROPPED.match(name):
            continue
        if name.startswith(prefix):
            recipes[name.removeprefix(prefix)] = TensorRecipe.of(source, name)
        elif name.startswith(("embeddings.", "encoder.", "pre_layrnorm.", "post_layernorm.")):
            # transformers 5 saves a vision model without the prefix.
            recipes[name] = TensorRecipe.of(source, name)
        else:
            unexpected.append(name)
    return ClipTower(_clip_config(path), recipes, tuple(sorted(unexpected)), "Hugging Face")


def _clip_config(path: Path) -> CLIPVisionConfig:
    try:
        value: Any = json.loads((path / "config.json").read_text(encoding="utf8"))
        kind = value["model_type"]
        if kind == "clip":
            value = value["vision_config"]
        elif kind != "clip_vision_model":
            raise ValueError(f"model_type is {kind!r}; expected 'clip' or 'clip_vision_model'")
        return CLIPVisionConfig(**{k: value[k] for k in _CONFIG_FIELDS if k in value})
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}/config.json: not a CLIP configuration: {error}") from error
