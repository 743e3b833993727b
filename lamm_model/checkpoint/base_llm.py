"""The base language model: its configuration, its fingerprint, and whether it is a delta's base.

LAMM's published adapters were trained on Vicuna v0, one on Llama 2 chat. With any other model of
the same sizes they give nonsense without an error. `objections` lists what tells the models apart.
The digests of the right ones are not known; a digest is recorded, and compared if the caller
supplies one.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig

from lamm_model.checkpoint.base_families import FAMILIES, BaseFamily
from lamm_model.checkpoint.tensor_sources import TensorRecipe, TensorSource, open_weights
from lamm_model.spec import CheckpointError, read_json

_REQUIRED_SIZES = (
    "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"
)  # fmt: skip
_SIZES = (*_REQUIRED_SIZES, "max_position_embeddings", "rms_norm_eps")
# Buffers that old versions of transformers saved; they follow from the sizes.
_DROPPED = re.compile(r"model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq$")
_SAMPLED_ROWS = 64


@dataclass(frozen=True, slots=True)
class BaseFingerprint:
    """Identity of a language model's weights that takes about a second to compute.

    `digest` covers the sizes and the first 64 rows of a few matrices in float16, so that a float16
    copy and a float32 copy of it agree.
    """

    name: str
    sizes: Mapping[str, int | float]
    digest: str


@dataclass(frozen=True, slots=True)
class BaseModel:
    """A LLaMA directory, opened: recipes by `LlamaForCausalLM` name."""

    path: Path
    config: LlamaConfig
    raw_config: Mapping[str, Any]
    recipes: Mapping[str, TensorRecipe]
    fingerprint: BaseFingerprint


def open_base(path: Path, bos_token_id: int, eos_token_id: int) -> BaseModel:
    """Opens a Hugging Face LLaMA directory; the weights stay on disk.

    The special ids come from the tokenizer, because those in Vicuna v0's config.json are wrong.

    Raises:
        CheckpointError: not a LLaMA directory, or its weights cannot be read.
    """
    raw = read_json(path, "config.json", "a LLaMA directory")
    if raw.get("model_type") != "llama":
        raise CheckpointError(f"{path}: model_type is {raw.get('model_type')!r}; expected 'llama'")
    config = _llama_config(path, raw, bos_token_id, eos_token_id)
    source = open_weights(path)
    recipes = {
        name: TensorRecipe.of(source, name) for name in source.shapes if not _DROPPED.match(name)
    }
    return BaseModel(path, config, raw, recipes, _fingerprint(path, config, source))


def objections(base: BaseModel, sibling_config: Mapping[str, Any], family: BaseFamily) -> list[str]:
    """Reasons why this is not the base of a delta on `family`; empty if there are none.

    `sibling_config` is the language model's config.json saved with the delta; its values take
    precedence over what is known of the family.
    """
    facts = FAMILIES[family]
    found = []
    for name in _SIZES:
        have = getattr(base.config, name)
        if name in sibling_config:
            if sibling_config[name] != have:
                found.append(
                    f"{name} is {have}; the config.json of the delta has {sibling_config[name]}"
                )
        elif name in facts.config:
            wanted, others = facts.config[name]
            if have != wanted:
                found.append(f"{name} is {have}; {facts.title} has {wanted} ({others})")
    rope = base.config.rope_parameters or {}
    if rope.get("rope_type", "default") != "default" or rope.get("rope_theta", 1e4) != 1e4:
        found.append(f"rope is {rope}; {facts.title} has the default type with theta 10000")
    if base.config.num_key_value_heads != base.config.num_attention_heads:
        found.append(f"key and value heads are grouped; those of {facts.title} are not")
    for name in {str(base.raw_config.get("_name_or_path", "")), base.path.resolve().name}:
        if match := facts.other_names.search(name):
            found.append(f"the name {name!r} contains {match[0]!r}")
    return found


def _fingerprint(path: Path, config: LlamaConfig, source: TensorSource) -> BaseFingerprint:
    sizes = {name: getattr(config, name) for name in _SIZES}
    digest = hashlib.sha256(json.dumps(sizes, sort_keys=True).encode())
    last = config.num_hidden_layers - 1
    for name in (
        "model.embed_tokens.weight",
        "model.layers.0.self_attn.q_proj.weight",
        f"model.layers.{last}.self_attn.v_proj.weight",
        f"model.layers.{last}.mlp.down_proj.weight",
        "model.norm.weight",
        "lm_head.weight",
    ):
        if name not in source.shapes:
            raise CheckpointError(f"{path}: {name} is missing; is this a LLaMA directory?")
        rows = source.read(name)[:_SAMPLED_ROWS].to(torch.float16).contiguous()
        digest.update(f"{name}{list(rows.shape)}".encode())
        digest.update(rows.view(torch.uint8).numpy().tobytes())
    return BaseFingerprint(path.resolve().name, sizes, digest.hexdigest())


def _llama_config(
    path: Path, raw: Mapping[str, Any], bos_token_id: int, eos_token_id: int
) -> LlamaConfig:
    if raw.get("tie_word_embeddings"):
        raise CheckpointError(f"{path}: embedding and head are tied; those of LLaMA are not")
    try:
        fields: dict[str, Any] = {name: int(raw[name]) for name in _REQUIRED_SIZES}
        for name in ("num_key_value_heads", "rope_scaling", "rope_theta", "rope_parameters"):
            if raw.get(name) is not None:
                fields[name] = raw[name]
        return LlamaConfig(
            **fields,
            # The first conversions of LLaMA use the name max_sequence_length.
            max_position_embeddings=int(
                raw.get("max_position_embeddings") or raw.get("max_sequence_length") or 2048
            ),
            rms_norm_eps=float(raw.get("rms_norm_eps", 1e-6)),
            hidden_act=str(raw.get("hidden_act", "silu")),
            bos_token_id=bos_token_id,
            eos_token_id=eos_token_id,
            # Upstream trained with the end-of-sequence token as padding.
            pad_token_id=eos_token_id,
            tie_word_embeddings=False,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}/config.json: {error!r}") from error
