"""The layers that an adapter updates, with the rank and scale of each, by PEFT's rules. Torch-free.

Names are those of the language model's linear layers, as `model.layers.0.self_attn.q_proj`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from lamm_model.checkpoint.adapters.options import ALL_LINEAR, LoraOptions

# Name of the language model's output layer.
HEAD = "lm_head"


@dataclass(frozen=True, slots=True)
class LoraLayer:
    """Rank of a layer's update, and the factor of the product of its two matrices."""

    rank: int
    scale: float


def lora_layers(
    options: LoraOptions, linears: Iterable[str], inside: str = ""
) -> dict[str, LoraLayer]:
    """The updated layers among `linears`, in that order; empty if the targets match none.

    Args:
        inside: what precedes the names in the model that PEFT wrapped, such as `language_model.`.
    """
    return {
        name: _layer(options, inside + name) for name in linears if _targeted(options, inside, name)
    }


def _layer(options: LoraOptions, name: str) -> LoraLayer:
    rank = _of_pattern(options.rank_pattern, name, options.r)
    alpha = _of_pattern(options.alpha_pattern, name, options.lora_alpha)
    return LoraLayer(int(rank), alpha / (math.sqrt(rank) if options.use_rslora else rank))


def _of_pattern(patterns: Mapping[str, float] | None, name: str, default: float) -> float:
    """The value of the first pattern that the name ends in, or the default."""
    for pattern, value in (patterns or {}).items():
        if re.match(rf"(.*\.)?({pattern})$", name):
            return value
    return default


def _targeted(options: LoraOptions, inside: str, name: str) -> bool:
    whole = inside + name
    if options.exclude_modules and _names(options.exclude_modules, whole):
        return False
    targets = options.target_modules
    if isinstance(targets, str) and targets.lower() == ALL_LINEAR:
        return name != HEAD
    return _names(targets, whole) and _in_layers(options, whole)


def _names(wanted: list[str] | str, name: str) -> bool:
    """Whether a pattern matches the whole name, or one of a list is its end."""
    if isinstance(wanted, str):
        return re.fullmatch(wanted, name) is not None
    return any(name == end or name.endswith(f".{end}") for end in wanted)


def _in_layers(options: LoraOptions, name: str) -> bool:
    """Whether the layer's number is among `layers_to_transform`, if that is given."""
    numbers = options.layers_to_transform
    if numbers is None or numbers == []:
        return True
    parts = options.layers_pattern or [r"[^.]*"]
    for part in [parts] if isinstance(parts, str) else parts:
        # Without a pattern PEFT wants a name before the list of layers.
        start = r"(?:^|.*?\.)" if options.layers_pattern else r".*?\."
        if found := re.match(rf"{start}{part}\.(?P<number>\d+)\.", name):
            number = int(found["number"])
            return number == numbers if isinstance(numbers, int) else number in numbers
    return False
