"""LAMM's tensors under LLaVA's names, the vocabulary with rows for the placeholder.

LLaVA's projector is two linear layers with an activation between them; LAMM's is one linear layer.
`ProjectorForm` says how one becomes the other without changing a value.

Shapes: D encoder width, H hidden size, V vocabulary, R rows of the padded vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

import torch
from torch import Tensor

from lamm_model.checkpoint.planning import HEAD_WEIGHT
from lamm_model.checkpoint.shards import PlannedTensor

# Encoder blocks are called so in the files of all versions of transformers.
_TOWER, _LLAVA_TOWER = "vision_tower.", "vision_tower.vision_model."
_PROJECTOR, _LLAVA_PROJECTOR = "image_projector", "multi_modal_projector"
_EMBEDDING_WEIGHT = "language_model.model.embed_tokens.weight"
# Parts that LLaVA has no place for.
POINT_PARTS = ("point_tower.", "point_projector.")


class ProjectorForm(StrEnum):
    """How LAMM's projector `W x + b` is spelled as LLaVA's two layers; the value is its activation.

    LINEAR: `I (W x + b)`, with transformers' name for no activation.
    IDENTITY: the same, with vLLM's name for no activation.
    RELU: `[W, -W] relu([x; -x]) + b`. It requires H >= 2 D, since LLaVA's middle layer has H
        channels; every program has the activation. Each product of W is computed once, the other
        is zero, so no precision is lost.
    """

    LINEAR = "linear"
    IDENTITY = "torch.nn.modules.linear.Identity"
    RELU = "relu"


@dataclass(frozen=True, slots=True)
class PaddedVocabulary:
    """The vocabulary gets `rows` rows; new ones copy row `filler`, so none beats that token."""

    rows: int
    filler: int


def llava_tensors(
    tensors: Mapping[str, PlannedTensor], form: ProjectorForm, vocabulary: PaddedVocabulary
) -> list[PlannedTensor]:
    """The tensors of a LLaVA, in the layout of the hub's `llava-hf` models."""
    renamed = []
    for name, tensor in tensors.items():
        if name.startswith((*POINT_PARTS, f"{_PROJECTOR}.")):
            continue
        if name in (_EMBEDDING_WEIGHT, HEAD_WEIGHT):
            renamed.append(_padded(tensor, vocabulary))
        elif name.startswith(_TOWER):
            renamed.append(replace(tensor, name=_LLAVA_TOWER + name.removeprefix(_TOWER)))
        else:
            renamed.append(tensor)
    weight, bias = (tensors[f"{_PROJECTOR}.{part}"] for part in ("weight", "bias"))
    return [*renamed, *_projector(weight, bias, form)]


def _padded(tensor: PlannedTensor, vocabulary: PaddedVocabulary) -> PlannedTensor:
    rows, width = tensor.shape

    def read() -> Tensor:
        value_VH = tensor.read()
        filler_RH = value_VH[vocabulary.filler].expand(vocabulary.rows - rows, width)
        return torch.cat([value_VH, filler_RH])

    return replace(tensor, shape=(vocabulary.rows, width), read=read)


def _projector(
    weight: PlannedTensor, bias: PlannedTensor, form: ProjectorForm
) -> Iterator[PlannedTensor]:
    hidden, width = weight.shape

    def zeros() -> Tensor:
        return torch.zeros(hidden)

    def signs() -> Tensor:
        """[I; -I; 0], [H, D]."""
        value_HD = torch.zeros(hidden, width)
        value_HD[:width] = torch.eye(width)
        value_HD[width : 2 * width] = -torch.eye(width)
        return value_HD

    def both() -> Tensor:
        """[W, -W, 0], [H, H]."""
        value_HH = torch.zeros(hidden, hidden)
        value_HH[:, :width] = weight.read()
        value_HH[:, width : 2 * width] = -weight.read()
        return value_HH

    reads: tuple[Callable[[], Tensor], ...]
    if form is ProjectorForm.RELU:
        reads = (signs, zeros, both, bias.read)
    else:
        reads = (weight.read, bias.read, lambda: torch.eye(hidden), zeros)
    shapes = ((hidden, width), (hidden,), (hidden, hidden), (hidden,))
    names = ("linear_1.weight", "linear_1.bias", "linear_2.weight", "linear_2.bias")
    for name, shape, read in zip(names, shapes, reads, strict=True):
        yield PlannedTensor(f"{_LLAVA_PROJECTOR}.{name}", shape, weight.dtype, read)
