"""Encodes pictures and clouds to projected features, with an LRU cache by model and content
digest.
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
from lamm_model.decoder.upload import upload
from lamm_model.media import PreparedMedia
from service.engine.device import recover
from service.engine.isolation import run_isolated

# (index of the model, modality, content digest): projectors differ between models.
_Key = tuple[int, Modality, str]


class EncodesMedia(Protocol):
    """The part of a model that is needed here."""

    def encode_images(self, pixel_values: Tensor) -> Tensor:
        """Projected features [M, N, H] of pictures [M, 3, S, S]."""

    def encode_points(self, points: Tensor) -> Tensor:
        """Projected features [M, N, H] of clouds [M, P, 3 or 6]."""


@dataclass(frozen=True, slots=True)
class EncoderOutput:
    """Results of some media, by digest.

    `features` `[N, C]` of those that could be encoded, `failures` of the others, and `seconds` of
    those that were not cached: equal shares of their batch's time.
    """

    features: dict[str, Tensor] = field(default_factory=dict)
    failures: dict[str, Exception] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)


class MediaEncoder:
    """Runs each model's frozen encoders and projectors; caches up to `max_bytes` of results."""

    def __init__(
        self, models: Sequence[EncodesMedia], device: torch.device, max_bytes: int
    ) -> None:
        self._models, self._device, self._max_bytes = tuple(models), device, max_bytes
        self._cache: LRUCache[_Key, Tensor] = LRUCache(max_bytes, lambda features: features.nbytes)
        self.queries_total = 0
        self.hits_total = 0

    @property
    def cached_bytes(self) -> int:
        """Bytes in the cache."""
        return int(self._cache.currsize)

    @torch.inference_mode()
    def rehearse(self, modality: Modality, shape: tuple[int, ...], count: int, model: int) -> None:
        """Encodes `count` blank media of this shape, and caches nothing."""
        blank = PreparedMedia(modality, "", np.zeros(shape, dtype=np.float32), {})
        self._run([blank] * count, model)

    @torch.inference_mode()
    def encode(self, media: Sequence[PreparedMedia], model: int = 0) -> EncoderOutput:
        """Encodes each medium once; `model` is the index of the model whose projectors are used."""
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
        # Reading the values waits for the device, so the time includes the work.
        if not bool(encoded.isfinite().all()):
            # Attention also multiplies masked positions: one NaN would spread to its neighbours.
            raise ValueError("the features are not finite")
        seconds = (time.monotonic() - started) / len(group)
        for medium, result in zip(group, encoded, strict=True):
            output.features[medium.digest], output.seconds[medium.digest] = result, seconds
            self._keep((model, medium.modality, medium.digest), result)

    def _run(self, group: Sequence[PreparedMedia], model: int) -> Tensor:
        stacked = np.stack([medium.array for medium in group])
        batch = upload(stacked, self._device, torch.float32)
        if group[0].modality is Modality.IMAGE:
            return self._models[model].encode_images(batch)
        return self._models[model].encode_points(batch)

    def _keep(self, key: _Key, result: Tensor) -> None:
        # A copy: a view would keep the whole batch alive.
        result = result.clone()
        if result.nbytes <= self._max_bytes:
            self._cache[key] = result


def _same_shape(media: Sequence[PreparedMedia]) -> list[list[PreparedMedia]]:
    groups: dict[tuple[Modality, tuple[int, ...]], list[PreparedMedia]] = {}
    for medium in media:
        groups.setdefault((medium.modality, medium.array.shape), []).append(medium)
    return list(groups.values())
