"""Loads the weights of all models of one engine: language model, encoders, projectors and LoRA.

The models share a language model, bit for bit (see `service.startup.model_groups`). The rest is
loaded for each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from transformers import LlamaConfig

from lamm_model.checkpoint.adapters.fitted import BaseShapes
from lamm_model.checkpoint.load import load_model
from lamm_model.config import LammConfig
from lamm_model.decoder.lora import FUSED, LoraWeights
from lamm_model.modeling import LammForConditionalGeneration
from lamm_model.spec import CheckpointError
from service.engine.loading.adapter_reader import read_adapter
from service.engine.loading.model_source import ModelSource
from service.engine.media_encoder import EncodesMedia

_LANGUAGE_MODEL = "language_model."
_TARGETS = frozenset(part for parts in FUSED.values() for part in parts)


@dataclass(frozen=True, slots=True)
class LoadedModels:
    """The loaded weights; lists have one entry per model, in the engine's order.

    The decoder takes its entries out of `language_weights`.
    """

    text_config: LlamaConfig
    language_weights: dict[str, Tensor]
    media: tuple[EncodesMedia, ...]
    adapters: tuple[LoraWeights | None, ...]
    media_bytes: int


def load_models(
    models: Sequence[ModelSource], device: torch.device, dtype: torch.dtype
) -> LoadedModels:
    """Loads everything strictly; the language model stays on the CPU, the rest goes to `device`.

    Raises:
        CheckpointError: weights are missing, unexpected or have wrong shapes; the message lists
            them.
    """
    first = load_model(models[0].base, dtype)
    text_config = first.config.text_config
    weights = dict(first.language_model.state_dict())
    # The decoder takes the language model's weights; encoders and projectors stay.
    del first.language_model
    bases = {models[0].base: first}
    media, adapters, own_bytes = _load_media(models, bases, device, dtype)
    return LoadedModels(text_config, weights, media, adapters, own_bytes)


def load_encoders(
    models: Sequence[ModelSource], device: torch.device, dtype: torch.dtype
) -> tuple[tuple[EncodesMedia, ...], int]:
    """Encoders and projectors of each model and their size in bytes, for a language model that
    runs elsewhere.

    Raises:
        CheckpointError: as `load_models`.
    """
    media, _, own_bytes = _load_media(models, {}, device, dtype)
    return media, own_bytes


def _load_media(
    models: Sequence[ModelSource],
    bases: dict[Path, LammForConditionalGeneration],
    device: torch.device,
    dtype: torch.dtype,
) -> tuple[tuple[EncodesMedia, ...], tuple[LoraWeights | None, ...], int]:
    """Encoders, LoRA and bytes on `device`; `bases` has the bases that are loaded already."""
    for source in models:
        if source.base not in bases:
            bases[source.base] = _load_encoders(source.base, dtype)
    for loaded in bases.values():
        nn.Module.to(loaded, device)
    media: list[EncodesMedia] = []
    adapters: list[LoraWeights | None] = []
    own_bytes = sum(p.nbytes for loaded in bases.values() for p in loaded.parameters())
    for source in models:
        base = bases[source.base]
        if source.adapter is None:
            media.append(base)
            adapters.append(None)
            continue
        lora, projectors = load_adapter(source.base, source.adapter)
        moved = {key: t.to(device=device, dtype=dtype) for key, t in projectors.items()}
        own_bytes += sum(tensor.nbytes for tensor in moved.values())
        media.append(_AdapterMedia(base, moved))
        adapters.append(lora)
    return tuple(media), tuple(adapters), own_bytes


class _AdapterMedia:
    """The base's frozen encoders with one adapter's projectors."""

    def __init__(
        self, base: LammForConditionalGeneration, projectors: Mapping[str, Tensor]
    ) -> None:
        self._base, self._projectors = base, projectors

    def encode_images(self, pixel_values: Tensor) -> Tensor:
        """Projected features [M, N, H] of pictures [M, 3, S, S]."""
        return self._project("image_projector", self._base.encode_image_features(pixel_values))

    def encode_points(self, points: Tensor) -> Tensor:
        """Projected features [M, N, H] of clouds [M, P, 3 or 6]."""
        return self._project("point_projector", self._base.encode_point_features(points))

    def _project(self, name: str, features: Tensor) -> Tensor:
        if f"{name}.weight" not in self._projectors:
            raise ValueError(f"the adapter has no {name}")
        weight, bias = self._projectors[f"{name}.weight"], self._projectors[f"{name}.bias"]
        return F.linear(features.to(weight.dtype), weight, bias)


def _load_encoders(base: Path, dtype: torch.dtype) -> LammForConditionalGeneration:
    """A checkpoint without its language model, which another checkpoint of the engine provides."""
    config = LammConfig.from_pretrained(base)
    text = config.text_config
    assert isinstance(text, LlamaConfig)
    # A language model with one token and no layer, so that nothing large is allocated.
    text.num_hidden_layers, text.vocab_size, text.pad_token_id = 0, 1, None
    model = LammForConditionalGeneration(config)
    del model.language_model
    tensors: dict[str, Tensor] = {}
    try:
        for file in sorted(base.glob("*.safetensors")):
            with safe_open(file, framework="pt") as stored:
                for key in stored.keys():  # noqa: SIM118 - not a mapping
                    if not key.startswith(_LANGUAGE_MODEL):
                        tensors[key] = stored.get_tensor(key)
        model.load_state_dict(tensors, strict=True)
    except (OSError, SafetensorError, RuntimeError) as error:
        raise CheckpointError(f"{base}: the encoders do not match config.json: {error}") from error
    nn.Module.to(model, dtype)
    nn.Module.eval(model)
    return model


def load_adapter(base: Path, adapter: Path) -> tuple[LoraWeights, Mapping[str, Tensor]]:
    """An adapter's LoRA and projectors, checked against the shapes of the base.

    Raises:
        CheckpointError: as `read_adapter`, or a layer cannot be served without merging.
    """
    loaded = read_adapter(adapter, BaseShapes.of(LammConfig.from_pretrained(base)))
    lora = {_place(name, adapter): pair for name, pair in sorted(loaded.lora.items())}
    return lora, loaded.projectors


def _place(name: str, adapter: Path) -> tuple[int, str]:
    """(3, "q_proj") of "model.layers.3.self_attn.q_proj"."""
    parts = name.split(".")
    if parts[:2] != ["model", "layers"] or parts[-1] not in _TARGETS:
        raise CheckpointError(
            f"{adapter}: LoRA on {name} cannot be served without merging; merge it (lamm "
            f"model merge), or train {', '.join(sorted(_TARGETS))}"
        )
    return int(parts[2]), parts[-1]
