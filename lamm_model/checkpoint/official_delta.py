"""LAMM's published deltas: LoRA with the names of peft 0.3 and one projector, in a torch pickle.

`pytorch_model.pt` has only the weights that upstream trained (OpenLAMM `model/agent.py` @ d5ca246):
four projections per layer,
`llama_model.base_model.model.model.layers.{i}.self_attn.{q,k,v,o}_proj.lora_{A,B}.default.weight`,
and `llama_proj.{weight,bias}`. A leading `module.` and names without `.default` are also read.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lamm_model.checkpoint.load import refuse
from lamm_model.checkpoint.torch_files import load_torch_file, named_tensors
from lamm_model.checkpoint.workspace import file_sha256
from lamm_model.spec import CheckpointError

TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj")
# From upstream's `config/train.yaml` (r 32, alpha 32); the delta does not contain alpha.
LORA_ALPHA = 32
LORA_DROPOUT = 0.1

_LORA = re.compile(
    r"(?:module\.)?llama_model\.(?P<module>base_model\.model\.model\.layers\.(?P<layer>\d+)"
    r"\.self_attn\.(?P<target>[qkvo]_proj))\.lora_(?P<half>[AB])(?:\.default)?\.weight$"
)
_PROJECTOR = re.compile(r"(?:module\.)?llama_proj\.(?P<part>weight|bias)$")


@dataclass(frozen=True, slots=True)
class OfficialDelta:
    """A delta. `lora` has PEFT's current names (`base_model.model.model.layers...`).

    `projector` has `weight` and `bias`.
    """

    path: Path
    lora: Mapping[str, Tensor]
    projector: Mapping[str, Tensor]
    rank: int
    num_layers: int
    hidden_size: int
    encoder_width: int
    dtype: torch.dtype
    sha256: str
    sibling_config: Mapping[str, Any]

    @property
    def num_keys(self) -> int:
        """Number of tensors in the file."""
        return len(self.lora) + 2


def is_official_delta(names: object) -> bool:
    """Whether any key has a delta's name; the delta may be incomplete."""
    return isinstance(names, Mapping) and any(
        _LORA.match(str(name)) or _PROJECTOR.match(str(name)) for name in names
    )


def open_delta(path: Path) -> OfficialDelta:
    """Reads a delta and checks that all layers up to the highest one are complete.

    Raises:
        CheckpointError: the file cannot be read, or keys are missing, unexpected, of another shape
            or not finite; all are listed.
    """
    value = load_torch_file(path)
    if not isinstance(value, Mapping):
        raise CheckpointError(f"{path}: holds a {type(value).__name__}; expected named tensors")
    lora, projector, unexpected = _sort(named_tensors(path, value))
    layers = 1 + max((int(m[1]) for n in lora if (m := re.search(r"layers\.(\d+)", n))), default=-1)
    if layers > len(lora):
        raise CheckpointError(f"{path}: {layers} layers have only {len(lora)} LoRA tensors")
    expected = [
        f"base_model.model.model.layers.{layer}.self_attn.{target}.lora_{half}.weight"
        for layer in range(layers)
        for target in TARGETS
        for half in "AB"
    ]
    missing = [n for n in expected if n not in lora]
    missing += [f"llama_proj.{part}" for part in ("weight", "bias") if part not in projector]
    refuse(
        f"{path}: not a complete LAMM delta",
        {"missing": missing, "unexpected": sorted(unexpected)},
    )
    rank, hidden = _common_sizes(lora)
    unusable = [
        name
        for name, tensor in (*lora.items(), *projector.items())
        if not tensor.is_floating_point() or not bool(tensor.isfinite().all())
    ]
    refuse(
        f"{path}: the delta is inconsistent",
        {
            "of another shape": _misshapen(lora, projector, rank, hidden),
            "not finite floating-point numbers": unusable,
        },
    )
    return OfficialDelta(
        path=path,
        lora=lora,
        projector=projector,
        rank=rank,
        num_layers=layers,
        hidden_size=hidden,
        encoder_width=projector["weight"].shape[1],
        dtype=projector["weight"].dtype,
        sha256=file_sha256(path),
        sibling_config=_sibling_config(path),
    )


def _sort(
    tensors: Mapping[str, Tensor],
) -> tuple[dict[str, Tensor], dict[str, Tensor], list[str]]:
    lora: dict[str, Tensor] = {}
    projector: dict[str, Tensor] = {}
    unexpected: list[str] = []
    for name, tensor in tensors.items():
        if match := _LORA.match(name):
            key, into = f"{match['module']}.lora_{match['half']}.weight", lora
        elif match := _PROJECTOR.match(name):
            key, into = match["part"], projector
        else:
            unexpected.append(name)
            continue
        if key in into:
            unexpected.append(f"{name} (duplicates a key under another name)")
        into[key] = tensor.detach()
    return lora, projector, unexpected


def _common_sizes(lora: Mapping[str, Tensor]) -> tuple[int, int]:
    # The most frequent sizes; matrices that differ from them are reported.
    shapes = Counter(tuple(t.shape) for n, t in lora.items() if ".lora_A." in n and t.dim() == 2)
    [((rank, hidden), _)] = shapes.most_common(1) or [((0, 0), 0)]
    return rank, hidden


def _misshapen(
    lora: Mapping[str, Tensor], projector: Mapping[str, Tensor], rank: int, hidden: int
) -> list[str]:
    wanted = {n: (rank, hidden) if ".lora_A." in n else (hidden, rank) for n in lora}
    odd = [
        f"{name}: {list(tensor.shape)}, expected {list(wanted[name])} as in the others"
        for name, tensor in lora.items()
        if tuple(tensor.shape) != wanted[name]
    ]
    weight, bias = projector["weight"], projector["bias"]
    if weight.dim() != 2 or weight.shape[0] != hidden:
        odd.append(f"llama_proj.weight: {list(weight.shape)}, expected [{hidden}, encoder width]")
    if tuple(bias.shape) != (hidden,):
        odd.append(f"llama_proj.bias: {list(bias.shape)}, expected [{hidden}]")
    return odd


def _sibling_config(path: Path) -> dict[str, Any]:
    """The language model's config.json that upstream saved with the delta, else {}."""
    try:
        value = json.loads((path.parent / "config.json").read_text(encoding="utf8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) and value.get("model_type") == "llama" else {}
