"""An adapter checked against its base: the update of every layer, for serving and for merging."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from lamm_model.checkpoint.adapters.layers import HEAD, LoraLayer, lora_layers
from lamm_model.checkpoint.adapters.stored import DOWN, MAGNITUDE, PREFIX, UP, StoredAdapter
from lamm_model.checkpoint.load import refuse
from lamm_model.config import LammConfig
from lamm_model.modeling import LammForConditionalGeneration
from lamm_model.spec import ADAPTER_CONFIG, CheckpointError

_UNGATHERED = "tensors without values: DeepSpeed ZeRO-3 saves them so if it does not gather them"
_EMBEDDINGS = "if these layers were not trained: save_pretrained(..., save_embedding_layers=False)"
_WHOLE_LAYERS = ("embed_tokens.weight", "lm_head.weight", "base_layer.weight")
_PROJECTORS = ("image_projector.", "point_projector.")


@dataclass(frozen=True, slots=True)
class LoraUpdate:
    """Update of one linear layer: `weight_OI + scale * up_OR @ down_RI`.

    With `dora` (arXiv:2402.09353) each row of the sum then gets the length `magnitude_O`, or where
    that is None the length of the base's row, at which PEFT starts.
    """

    down_RI: Tensor
    up_OR: Tensor
    scale: float
    dora: bool = False
    magnitude_O: Tensor | None = None

    def applied(self, weight_OI: Tensor) -> Tensor:
        """The updated weight in float32."""
        down, up = self.down_RI.to(torch.float32), self.up_OR.to(torch.float32)
        base_OI = weight_OI.to(torch.float32)
        merged_OI: Tensor = torch.addmm(base_OI, up, down, alpha=self.scale)
        if not self.dora:
            return merged_OI
        magnitude_O = self.magnitude_O
        if magnitude_O is None:
            magnitude_O = torch.linalg.norm(base_OI, dim=1)
        factors_O: Tensor = magnitude_O.to(torch.float32) / torch.linalg.norm(merged_OI, dim=1)
        return factors_O[:, None] * merged_OI


@dataclass(frozen=True, slots=True)
class BaseShapes:
    """What an adapter must fit.

    `linears` has (inputs, outputs) of the language model's linear layers, `projectors` the shapes
    of the projectors' tensors. `tied_head` says that the head's weight is the embedding's.
    """

    linears: Mapping[str, tuple[int, int]]
    projectors: Mapping[str, tuple[int, ...]]
    tied_head: bool

    @classmethod
    def of(cls, config: LammConfig) -> BaseShapes:
        """The shapes of a model of that configuration; nothing is allocated."""
        with torch.device("meta"):
            skeleton = LammForConditionalGeneration(copy.deepcopy(config))
        linears = {
            name: (module.in_features, module.out_features)
            for name, module in skeleton.language_model.named_modules()
            if isinstance(module, nn.Linear)
        }
        projectors = {
            key: tuple(tensor.shape)
            for key, tensor in skeleton.state_dict().items()
            if key.startswith(_PROJECTORS)
        }
        return cls(linears, projectors, has_tied_head(skeleton))


def has_tied_head(model: LammForConditionalGeneration) -> bool:
    """Whether the language model's head is tied to its embedding."""
    return bool(model.language_model.config.tie_word_embeddings)


def fit_adapter(adapter: StoredAdapter, base: BaseShapes, where: Path) -> dict[str, LoraUpdate]:
    """The updates by layer, after checking that the adapter fits the base.

    The adapter has exactly the tensors that its options ask for, except that it may lack a whole
    projector, and the magnitudes of all layers; these are then None.

    Raises:
        CheckpointError: the targets match no layer, or names or shapes differ; all are listed.
    """
    layers = lora_layers(adapter.options, base.linears, adapter.inside)
    if not layers:
        shown = adapter.options.target_modules
        raise CheckpointError(
            f"{where}: {ADAPTER_CONFIG} has target_modules={shown!r}, which match no linear layer "
            f"of the language model; it has {', '.join(_last_names(base))}"
        )
    if HEAD in layers and base.tied_head:
        raise CheckpointError(
            f"{where}: LoRA target {HEAD} is tied to the embedding of the base, so an update of it "
            "alone can be neither served nor merged"
        )
    dora = bool(adapter.options.use_dora)
    wanted = _wanted(layers, base, with_magnitudes=dora and has_magnitudes(adapter))
    own = {name.partition(".")[0] for name in adapter.projectors}
    wanted |= {n: s for n, s in base.projectors.items() if n.partition(".")[0] in own}
    check_shapes(adapter, wanted, str(where))
    return {
        name: LoraUpdate(
            adapter.lora[f"{PREFIX}{name}{DOWN}"],
            adapter.lora[f"{PREFIX}{name}{UP}"],
            layer.scale,
            dora,
            adapter.lora.get(f"{PREFIX}{name}{MAGNITUDE}"),
        )
        for name, layer in layers.items()
    }


def has_magnitudes(adapter: StoredAdapter) -> bool:
    """Whether the adapter has a magnitude of DoRA for any layer."""
    return any(name.endswith(MAGNITUDE) for name in adapter.lora)


def check_shapes(adapter: StoredAdapter, wanted: Mapping[str, tuple[int, ...]], where: str) -> None:
    """Checks that the adapter has exactly the tensors `wanted`, by name and shape.

    Raises:
        CheckpointError: names or shapes differ; all are listed.
    """
    given = {**adapter.lora, **adapter.projectors}
    misshapen = [
        f"{key}: {list(value.shape)} in the adapter, {list(wanted[key])} in the base"
        for key, value in sorted(given.items())
        if key in wanted and tuple(value.shape) != wanted[key]
    ]
    strangers = given.keys() - wanted.keys()
    whole = {n for n in strangers if n.endswith(_WHOLE_LAYERS) and ".lora_" not in n}
    advice = [_UNGATHERED] if any(not value.numel() for value in given.values()) else []
    refuse(
        f"{where}: the adapter does not match the base",
        {
            "missing from the adapter": sorted(wanted.keys() - given.keys()),
            "whole layers, not updates": sorted(whole),
            "not in the base": sorted(strangers - whole),
            "of another shape": misshapen,
        },
        advice + ([_EMBEDDINGS] if whole else []),
    )


def _wanted(
    layers: Mapping[str, LoraLayer], base: BaseShapes, *, with_magnitudes: bool
) -> dict[str, tuple[int, ...]]:
    wanted: dict[str, tuple[int, ...]] = {}
    for name, layer in layers.items():
        inputs, outputs = base.linears[name]
        wanted[f"{PREFIX}{name}{DOWN}"] = (layer.rank, inputs)
        wanted[f"{PREFIX}{name}{UP}"] = (outputs, layer.rank)
        if with_magnitudes:
            wanted[f"{PREFIX}{name}{MAGNITUDE}"] = (outputs,)
    return wanted


def _last_names(base: BaseShapes) -> list[str]:
    return sorted({name.rpartition(".")[2] for name in base.linears})
