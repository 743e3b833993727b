"""Reads an adapter directory, LoRA and projectors, without PEFT.

`adapter_config.json` and `adapter_model.safetensors` have PEFT's format: the first lists the linear
layers with an update and its scale, the second has the matrices. Anything else that PEFT can train
(DoRA, biases, tokens) is refused; such adapters must be merged.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from lamm_model.checkpoint.load import listed
from lamm_model.decoder.lora import LoraPair
from lamm_model.spec import ADAPTER_CONFIG, ADAPTER_WEIGHTS, PROJECTORS, CheckpointError, read_json

# PEFT's prefix for the wrapped language model.
_PREFIX = "base_model.model."
_DOWN, _UP = ".lora_A.weight", ".lora_B.weight"

# Options of PEFT's configuration that are read here, or do not affect the trained layers.
_READ = frozenset(
    {"r", "lora_alpha", "target_modules", "rank_pattern", "alpha_pattern", "use_rslora"}
)
_WITHOUT_EFFECT = frozenset(
    {
        "task_type", "auto_mapping", "peft_version", "base_model_name_or_path", "revision",
        "inference_mode", "lora_dropout", "megatron_core", "qalora_group_size",
        "ensure_weight_tying", "runtime_config", "eva_config",
    }
)  # fmt: skip
# Any other option that is on changes what a layer computes. Some initialisations change the base's
# weights too: those that do not are listed.
_OFF: tuple[object, ...] = (None, False, "none", [], {})
_ALLOWED: Mapping[str, tuple[object, ...]] = {
    "peft_type": ("LORA",),
    "init_lora_weights": (True, "gaussian", "orthogonal", "eva"),
}


@dataclass(frozen=True, slots=True)
class ServedAdapter:
    """One adapter in memory: updates by layer name, and the projectors' tensors."""

    lora: Mapping[str, LoraPair]
    projectors: Mapping[str, Tensor]


def read_adapter(
    directory: Path,
    linears: Mapping[str, tuple[int, int]],
    projectors: Mapping[str, tuple[int, ...]],
) -> ServedAdapter:
    """Reads an adapter and checks that it fits its base.

    Args:
        linears: (inputs, outputs) of the language model's linear layers, by name.
        projectors: shapes of the base's projectors; the adapter may lack a whole projector.

    Raises:
        CheckpointError: a file is missing or broken, the adapter is not plain LoRA, or its tensors
            do not fit the base; the message lists all of them.
    """
    config = _read_config(directory)
    try:
        lora, own = load_file(directory / ADAPTER_WEIGHTS), load_file(directory / PROJECTORS)
    except FileNotFoundError as error:
        raise CheckpointError(f"{directory}: {error}; is this an adapter?") from None
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{directory}: cannot read the adapter: {error}") from error
    targets = _targets(directory, config, linears)
    ranks = {name: int(_of_layer(directory, config, "rank_pattern", "r", name)) for name in targets}
    wanted = {
        key: shape for key, shape in projectors.items() if f"{key.partition('.')[0]}.weight" in own
    }
    for name in targets:
        inputs, outputs = linears[name]
        wanted[f"{_PREFIX}{name}{_DOWN}"] = (ranks[name], inputs)
        wanted[f"{_PREFIX}{name}{_UP}"] = (outputs, ranks[name])
    _check(directory, {**lora, **own}, wanted)
    pairs = {}
    for name in targets:
        alpha = _of_layer(directory, config, "alpha_pattern", "lora_alpha", name)
        divisor = math.sqrt(ranks[name]) if config.get("use_rslora") else ranks[name]
        down, up = (lora[f"{_PREFIX}{name}{suffix}"] for suffix in (_DOWN, _UP))
        pairs[name] = LoraPair(down, up, alpha / divisor)
    return ServedAdapter(pairs, own)


def _read_config(directory: Path) -> dict[str, Any]:
    config = read_json(directory, ADAPTER_CONFIG, "an adapter")
    strange = [
        f"{name}={value!r}"
        for name, value in sorted(config.items())
        if name not in _READ | _WITHOUT_EFFECT
        and value not in _OFF
        and value not in _ALLOWED.get(name, ())
    ]
    if strange:
        raise CheckpointError(
            f"{directory}: only plain LoRA can be served without merging; this adapter "
            f"has {', '.join(strange)}. Merge it (lamm model merge)"
        )
    return config


def _targets(
    directory: Path, config: Mapping[str, Any], linears: Mapping[str, tuple[int, int]]
) -> list[str]:
    """Names of the layers with an update: a list of name suffixes, or one pattern for whole
    names.
    """
    modules = config.get("target_modules")
    if isinstance(modules, str):
        found = [name for name in linears if _matches(directory, modules, name)]
        unmatched = [] if found else [modules]
    elif isinstance(modules, list) and all(isinstance(part, str) for part in modules):
        ends = [(part, "." + part) for part in sorted(modules)]
        found = [n for n in linears if any(n == part or n.endswith(end) for part, end in ends)]
        unmatched = [
            part for part, end in ends if not any(n == part or n.endswith(end) for n in linears)
        ]
    else:
        raise CheckpointError(f"{directory}: {ADAPTER_CONFIG} has target_modules {modules!r}")
    if unmatched:
        raise CheckpointError(
            f"{directory}: LoRA targets {', '.join(unmatched)} match no linear layer of the "
            "language model"
        )
    return found


def _of_layer(
    directory: Path, config: Mapping[str, Any], patterns: str, default: str, name: str
) -> float:
    """A layer's rank or alpha: that of the first pattern which its name ends in, or the default."""
    own = config.get(patterns) or {}
    if not isinstance(own, dict):
        raise CheckpointError(
            f"{directory}: {ADAPTER_CONFIG} has {patterns} {own!r}; expected an object"
        )
    matching = (v for key, v in own.items() if _matches(directory, rf"(?:.*\.)?(?:{key})", name))
    value = next(matching, config.get(default))
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
        raise CheckpointError(
            f"{directory}: {ADAPTER_CONFIG} has {default} {value!r} for {name}; expected "
            "a positive number"
        )
    return value


def _matches(directory: Path, pattern: str, name: str) -> bool:
    try:
        return re.fullmatch(pattern, name) is not None
    except re.error as error:
        raise CheckpointError(
            f"{directory}: {ADAPTER_CONFIG} has an invalid pattern {pattern!r}: {error}"
        ) from None


def _check(
    directory: Path, given: Mapping[str, Tensor], wanted: Mapping[str, tuple[int, ...]]
) -> None:
    """Checks the names and shapes of the adapter's tensors against the base."""
    problems = [
        *listed("missing from the adapter", sorted(wanted.keys() - given.keys())),
        *listed("unknown to the base", sorted(given.keys() - wanted.keys())),
        *listed(
            "with another shape",
            [
                f"{key}: {list(tensor.shape)} in the adapter, {list(wanted[key])} in the base"
                for key, tensor in sorted(given.items())
                if key in wanted and tuple(tensor.shape) != wanted[key]
            ],
        ),
    ]
    if problems:
        raise CheckpointError(
            f"{directory}: the adapter does not fit the base\n" + "\n".join(problems)
        )
