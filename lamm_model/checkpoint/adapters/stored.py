"""The files of an adapter directory, with the tensors under PEFT's present names.

Older PEFT, DeepSpeed and wrappers write other names (`module.`, `.default.`, none of PEFT's
prefix). They are translated, so that the rest of the code knows one spelling:
`base_model.model.LAYER.lora_A.weight`, `.lora_B.weight` and, of DoRA, `.lora_magnitude_vector`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from lamm_model.checkpoint.adapters.options import LoraOptions, read_options, read_provenance
from lamm_model.checkpoint.load import refuse
from lamm_model.checkpoint.torch_files import load_torch_file, named_tensors
from lamm_model.spec import (
    ADAPTER_CONFIG,
    ADAPTER_PICKLE,
    ADAPTER_WEIGHTS,
    PROJECTORS,
    PROVENANCE,
    CheckpointError,
)

# PEFT's prefix of the wrapped language model.
PREFIX = "base_model.model."
DOWN, UP, MAGNITUDE = ".lora_A.weight", ".lora_B.weight", ".lora_magnitude_vector"

_NAME = re.compile(
    r"(?P<wrappers>(?:module\.|_orig_mod\.|_fsdp_wrapped_module\.|base_model\.model\.|"
    r"language_model\.|llama_model\.)*)"
    r"(?P<layer>.+)\.(?P<part>lora_A|lora_B|lora_magnitude_vector)"
    r"(?:\.(?P<adapter>(?!weight$|bias$)[^.]+))?(?P<weight>\.weight)?"
)
_WRAPPER_OF_LLM = re.compile(r"(?:language_model\.|llama_model\.)")
_BARE = "lora_magnitude_vector"
_PARTS = {"lora_A": DOWN, "lora_B": UP, _BARE: MAGNITUDE}
# A safetensors file begins with the length of its header, which is a JSON object.
_HEADER_OFFSET = 8


@dataclass(frozen=True, slots=True)
class StoredAdapter:
    """An adapter as its directory has it.

    `lora` has PEFT's present names, `projectors` the names of the model. `inside` precedes the
    layer's names in the model that PEFT wrapped; empty if that was the language model.
    """

    options: LoraOptions
    lora: Mapping[str, Tensor]
    projectors: Mapping[str, Tensor]
    provenance: Mapping[str, Any]
    inside: str = ""


def load_adapter(directory: Path) -> StoredAdapter:
    """Reads an adapter directory.

    Raises:
        CheckpointError: a file is missing or broken, an option is not supported, or a tensor has
            two entries or is not finite.
    """
    options, provenance = read_options(directory), read_provenance(directory)
    lora, inside = _by_present_name(directory, _read_lora(directory))
    projectors = _read_safetensors(directory, PROJECTORS)
    unusable = [
        f"{name} ({str(tensor.dtype).removeprefix('torch.')})"
        for name, tensor in sorted({**lora, **projectors}.items())
        if not tensor.is_floating_point() or not bool(tensor.to(torch.float32).isfinite().all())
    ]
    refuse(
        f"{directory}: the adapter's tensors cannot be used",
        {"not finite floating-point numbers": unusable},
    )
    return StoredAdapter(options, lora, projectors, provenance, inside)


def _read_lora(directory: Path) -> dict[str, Tensor]:
    if (directory / ADAPTER_WEIGHTS).is_file() or not (directory / ADAPTER_PICKLE).is_file():
        return _read_safetensors(directory, ADAPTER_WEIGHTS)
    path = directory / ADAPTER_PICKLE
    with path.open("rb") as stream:
        if stream.read(_HEADER_OFFSET + 1)[_HEADER_OFFSET:] == b"{":
            raise CheckpointError(
                f"{directory}: {ADAPTER_WEIGHTS} is missing; {ADAPTER_PICKLE} looks like a "
                "safetensors file under the name of a pickle; rename it"
            )
    try:
        value = load_torch_file(path)
        if not isinstance(value, Mapping):
            raise CheckpointError(f"{path}: holds a {type(value).__name__}; expected named tensors")
        return named_tensors(path, value)
    except CheckpointError as error:
        raise CheckpointError(
            f"{directory}: {ADAPTER_WEIGHTS} is missing, and {ADAPTER_PICKLE} cannot be read in "
            f"its place: {error}"
        ) from None


def _read_safetensors(directory: Path, name: str) -> dict[str, Tensor]:
    if not (directory / name).is_file():
        files = ", ".join((ADAPTER_CONFIG, ADAPTER_WEIGHTS, PROJECTORS))
        raise CheckpointError(
            f"{directory}: {name} is missing; is this an adapter? It has {files} and {PROVENANCE}"
        )
    try:
        return load_file(directory / name)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{directory}: {name} cannot be read: {error}") from error


def _by_present_name(
    directory: Path, tensors: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], str]:
    """The tensors by PEFT's present names, and what preceded the layers' names.

    Names that are none of LoRA stay, so that the comparison with the base lists them.
    """
    named: dict[str, Tensor] = {}
    origins: dict[str, str] = {}
    inside, adapters = set[str](), set[str]()
    for name, tensor in tensors.items():
        present = name
        # A magnitude has no `.weight` of its own in PEFT's files; a matrix always has.
        if (found := _NAME.fullmatch(name)) and (found["weight"] or found["part"] == _BARE):
            present = f"{PREFIX}{found['layer']}{_PARTS[found['part']]}"
            inner = found["wrappers"].rpartition(PREFIX)[2]
            inside.add("".join(_WRAPPER_OF_LLM.findall(inner)))
            adapters.add(found["adapter"] or "")
        if present in named:
            twice = f"{origins[present]} and {name}"
            raise CheckpointError(f"{directory}: two tensors of one layer: {twice}")
        named[present], origins[present] = tensor, name
    for what, found_ones in (("adapters", adapters), ("prefixes", inside)):
        if len(found_ones) > 1:
            shown = ", ".join(repr(one) for one in sorted(found_ones))
            raise CheckpointError(f"{directory}: tensors of several {what}: {shown}")
    return named, inside.pop() if inside else ""
