"""`adapter_config.json` in PEFT's format: options that are applied, ignored or refused.

The service, `lamm model merge` and the trainer read the file here, so that an adapter means the
same to all of them. Torch-free.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lamm_model.spec import ADAPTER_CONFIG, PROVENANCE, CheckpointError, read_json

ALL_LINEAR = "all-linear"

_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_Rank = Annotated[int, Field(gt=0)]
_Names = list[str] | str | None

_EXPECTED: Mapping[str, str] = {
    "peft_type": "'LORA'",
    "r": "a positive integer",
    "lora_alpha": "a positive number",
    "rank_pattern": "an object of positive integers",
    "alpha_pattern": "an object of positive numbers",
    "target_modules": "a list of names or one pattern",
    "exclude_modules": "a list of names or one pattern",
    "layers_to_transform": "a layer number or a list of them",
    "layers_pattern": "a name or a list of names",
    "use_rslora": "true or false",
    "use_dora": "true or false",
}
# Options about training, files and other layer types: the trained weights say the same without
# them. The `*_config` of an initialisation take effect only through `init_lora_weights`. PEFT
# itself sets `fan_in_fan_out` to false for linear layers. `lora_dtype` and `lorap_*` are of
# ms-swift.
_WITHOUT_EFFECT = frozenset(
    {
        "task_type", "auto_mapping", "peft_version", "base_model_name_or_path", "revision",
        "inference_mode", "lora_dropout", "megatron_core", "qalora_group_size",
        "ensure_weight_tying", "runtime_config", "fan_in_fan_out", "eva_config", "corda_config",
        "loftq_config", "lora_ga_config", "lora_dtype", "lorap_lr_ratio", "lorap_emb_lr",
    }
)  # fmt: skip
# Initialisations that leave the base's weights as they are. The others (PiSSA, OLoRA, CorDA, LoftQ,
# LoRA-GA) change them, so their adapters are wrong on the original base.
_PLAIN_STARTS = (None, True, False, "gaussian", "orthogonal", "eva", "mica")
_CONVERT = (
    "; this initialisation changes the base's weights. Save the adapter for the original base: "
    "save_pretrained(..., path_initial_model_for_weight_conversion=...)"
)
# Values of any other option that switch it off.
_OFF: tuple[object, ...] = (None, False, "", "none", [], {})
_SHOWN = 120


class LoraOptions(BaseModel):
    """What an adapter's configuration asks for; `extra` options have been checked."""

    model_config = ConfigDict(frozen=True, strict=True, extra="allow")

    peft_type: Literal["LORA"]
    r: _Rank
    lora_alpha: _Positive
    target_modules: list[str] | str
    rank_pattern: dict[str, _Rank] | None = None
    alpha_pattern: dict[str, _Positive] | None = None
    exclude_modules: _Names = None
    layers_to_transform: list[int] | int | None = None
    layers_pattern: _Names = None
    use_rslora: bool | None = None
    use_dora: bool | None = None


def read_options(directory: Path) -> LoraOptions:
    """The options of an adapter directory.

    Raises:
        CheckpointError: the file is missing or broken, or an option has a wrong value or is not
            supported; the message names options and values.
    """
    config = read_json(directory, ADAPTER_CONFIG, "an adapter")
    try:
        options = LoraOptions.model_validate(config)
    except ValidationError as error:
        raise CheckpointError(
            f"{directory}: {ADAPTER_CONFIG} {_first_fault(error, config)}"
        ) from None
    strange = sorted(_refused(options.model_extra or {}))
    if strange:
        raise CheckpointError(
            f"{directory}: {ADAPTER_CONFIG} has {', '.join(strange)}; such an adapter can be "
            "neither served nor merged"
        )
    if fault := _contradiction(options):
        raise CheckpointError(f"{directory}: {ADAPTER_CONFIG} has {fault}")
    return options


def read_provenance(directory: Path) -> dict[str, Any]:
    """The provenance of an adapter directory, which has the digest of its base.

    Raises:
        CheckpointError: the file is missing or broken, or does not name the base.
    """
    value = read_json(directory, PROVENANCE, "an adapter")
    base = value.get("base")
    if not isinstance(base, dict) or not isinstance(base.get("digest"), str):
        raise CheckpointError(
            f"{directory}: {PROVENANCE} does not name the base; expected its digest as base.digest"
        )
    return value


def base_digest(provenance: Mapping[str, Any]) -> str:
    """Digest of the base that an adapter was trained on (of `read_provenance`)."""
    return str(provenance["base"]["digest"])


def _refused(extra: Mapping[str, Any]) -> Iterator[str]:
    for name, value in extra.items():
        if name == "init_lora_weights":
            # 0 and 1 are equal to False and True, but PEFT writes neither.
            if value not in _PLAIN_STARTS:
                yield f"{name}={_shown(value)}{_CONVERT}"
        elif name not in _WITHOUT_EFFECT and value not in _OFF:
            yield f"{name}={_shown(value)}"


def _contradiction(options: LoraOptions) -> str | None:
    """What PEFT itself refuses, and patterns that are none."""
    by_pattern = isinstance(options.target_modules, str)
    if by_pattern and options.layers_to_transform not in (None, []):
        shown = _shown(options.layers_to_transform)
        return f"layers_to_transform {shown}, which needs target_modules as a list of names"
    if options.layers_pattern and options.layers_to_transform in (None, []):
        shown = _shown(options.layers_pattern)
        return f"layers_pattern {shown} without layers_to_transform"
    for name, pattern in _patterns(options):
        try:
            re.compile(pattern)
        except re.error as error:
            return f"an invalid pattern {_shown(pattern)} in {name}: {error}"
    return None


def _patterns(options: LoraOptions) -> Iterator[tuple[str, str]]:
    for name in ("target_modules", "exclude_modules", "layers_pattern"):
        value = getattr(options, name)
        if isinstance(value, str):
            yield name, value
    for name in ("rank_pattern", "alpha_pattern"):
        for pattern in getattr(options, name) or {}:
            yield name, pattern
    if isinstance(options.layers_pattern, list):
        for pattern in options.layers_pattern:
            yield "layers_pattern", pattern


def _first_fault(error: ValidationError, config: Mapping[str, Any]) -> str:
    name = str(error.errors(include_url=False)[0]["loc"][0])
    if name not in config:
        return f"has no {name}"
    return f"has {name}={_shown(config[name])}; expected {_EXPECTED[name]}"


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
