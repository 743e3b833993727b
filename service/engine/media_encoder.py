"""Pictures and clouds become projected features, each once a model: an LRU cache by content digest.

Called by the model runner with the media that a step first needs.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from cachetools import LRUCache
from torch import Tensor

from lamm_model.conversation import Modality
from lamm_model.media import PreparedMedia
from service.engine.device import recover
from service.engine.isolation import run_isolated

# (which of the models, modality, content digest): projectors differ from model to model.
_Key = tuple[int, Modality, str]


class EncodesMedia(Protocol):
    """What of a model is needed here."""

    def encode_images(self, pixel_values: Tensor) -> Tensor:
        """Projected features [M, N, H] of pictures [M, 3, S, S]."""

    def encode_points(self, points: Tensor) -> Tensor:
        """Projected features [M, N, H] of clouds [M, P, 3 or 6]."""


@dataclass(frozen=True, slots=True)
class EncoderOutput:
    """What came of some media, by digest.

    `features` `[N, C]` of what could be encoded, the `failures` of the rest, and the `seconds` that
    encoding took of those that no cache had: a batch's time in equal parts.
    """

    features: dict[str, Tensor] = field(default_factory=dict)
    failures: dict[str, Exception] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)


class MediaEncoder:
    """Runs each model's frozen encoders and projectors; keeps `max_bytes` of results in all."""

    def __init__(
        self, models: Sequence[EncodesMedia], device: torch.device, max_bytes: int
    ) -> None:
        self._models, self._device, self._max_bytes = tuple(models), device, max_bytes
        self._cache: LRUCache[_Key, Tensor] = LRUCache(max_bytes, lambda features: features.nbytes)
        self.queries_total = 0
        self.hits_total = 0

    @property
    def cached_bytes(self) -> int:
        """What the kept results take."""
        return int(self._cache.currsize)

    @torch.inference_mode()
    def rehearse(self, modality: Modality, shape: tuple[int, ...], count: int, model: int) -> None:
        """Encodes `count` blank media of this shape, and keeps nothing."""
        blank = PreparedMedia(modality, "", np.zeros(shape, dtype=np.float32), {})
        self._run([blank] * count, model)

    @torch.inference_mode()
    def encode(self, media: Sequence[PreparedMedia], model: int = 0) -> EncoderOutput:
        """Each medium once; `model` is the index of the model whose projectors are wanted."""
        output = EncoderOutput()
        missing: dict[str, PreparedMedia] = {}
        for medium in media:
            self.queries_total += 1
            key = (model, medium.modality, medium.digest)
            found = self._cache.get(key)
            if found is not None:
                self.hits_total += 1
                output.features[medium.digest] = found
            elif medium.digest in missing:
                self.hits_total += 1
            else:
                missing[medium.digest] = medium
        encode = functools.partial(self._encode_group, model, output)
        for group in _same_shape(list(missing.values())):
            failed = run_isolated(group, encode, functools.partial(recover, self._device))
            output.failures.update((medium.digest, error) for medium, error in failed)
        return output

    def _encode_group(
        self, model: int, output: EncoderOutput, group: Sequence[PreparedMedia]
    ) -> None:
        started = time.monotonic()
        encoded = self._run(group, model)
        # Looking at the values waits for the device, so the time is that of the work.
        if not bool(encoded.isfinite().all()):
            # Attention multiplies masked positions too: one NaN would reach its neighbours.
            raise ValueError("the features are not finite")
        seconds = (time.monotonic() - started) / len(group)
        for medium, result in zip(group, encoded, strict=True):
            output.features[medium.digest], output.seconds[medium.digest] = result, seconds
            self._keep((model, medium.modality, medium.digest), result)

    def _run(self, group: Sequence[PreparedMedia], model: int) -> Tensor:
        batch = torch.from_numpy(np.stack([medium.array for medium in group])).to(self._device)
        if group[0].modality is Modality.IMAGE:
            return self._models[model].encode_images(batch)
        return self._models[model].encode_points(batch)

    def _keep(self, key: _Key, result: Tensor) -> None:
        # A copy of its own: a view would keep the whole batch alive.
        result = result.clone()
        if result.nbytes <= self._max_bytes:
            self._cache[key] = result


def _same_shape(media: Sequence[PreparedMedia]) -> list[list[PreparedMedia]]:
    groups: dict[tuple[Modality, tuple[int, ...]], list[PreparedMedia]] = {}
    for medium in media:
        groups.setdefault((medium.modality, medium.array.shape), []).append(medium)
    return list(groups.values())
