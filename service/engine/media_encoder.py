"""Pictures and clouds become projected features, each once: an LRU cache by content digest.

Called by the model runner with the media that a step first needs.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from lamm_model.conversation import Modality
from lamm_model.media import PreparedMedia
from lamm_model.modeling import LammForConditionalGeneration

_log = logging.getLogger(__name__)


class MediaEncoder:
    """Runs the frozen encoders and their projectors; keeps `max_bytes` of results."""

    def __init__(
        self, model: LammForConditionalGeneration, device: torch.device, max_bytes: int
    ) -> None:
        self._model, self._device, self._max_bytes = model, device, max_bytes
        self._cache: OrderedDict[tuple[Modality, str], Tensor] = OrderedDict()
        self._cached_bytes = 0
        self.queries_total = 0
        self.hits_total = 0

    @torch.inference_mode()
    def encode(
        self, media: Sequence[PreparedMedia]
    ) -> tuple[dict[str, Tensor], dict[str, Exception]]:
        """Features `[N, C]` by digest of what could be encoded, and the errors of the rest."""
        features: dict[str, Tensor] = {}
        missing: dict[str, PreparedMedia] = {}
        for medium in media:
            self.queries_total += 1
            found = self._cache.get((medium.modality, medium.digest))
            if found is not None:
                self._cache.move_to_end((medium.modality, medium.digest))
                self.hits_total += 1
                features[medium.digest] = found
            elif medium.digest in missing:
                self.hits_total += 1
            else:
                missing[medium.digest] = medium
        failures: dict[str, Exception] = {}
        for group in _same_shape(list(missing.values())):
            self._encode_group(group, features, failures)
        return features, failures

    def _encode_group(
        self,
        group: Sequence[PreparedMedia],
        features: dict[str, Tensor],
        failures: dict[str, Exception],
    ) -> None:
        try:
            encoded = self._run(group)
            if not bool(encoded.isfinite().all()):
                # Attention multiplies masked positions too: one NaN would reach its neighbours.
                raise ValueError("the features are not finite")
        except Exception as error:
            if len(group) == 1:
                _log.exception("encoding %s %s failed", group[0].modality, group[0].digest)
                failures[group[0].digest] = error
                return
            # One of them spoilt the batch: alone, only the guilty one fails.
            for medium in group:
                self._encode_group([medium], features, failures)
            return
        for medium, result in zip(group, encoded, strict=True):
            features[medium.digest] = result
            self._keep((medium.modality, medium.digest), result)

    def _run(self, group: Sequence[PreparedMedia]) -> Tensor:
        batch = torch.from_numpy(np.stack([medium.array for medium in group])).to(self._device)
        if group[0].modality is Modality.IMAGE:
            return self._model.encode_images(batch)
        return self._model.encode_points(batch)

    def _keep(self, key: tuple[Modality, str], result: Tensor) -> None:
        # A copy of its own: a view would keep the whole batch alive.
        result = result.clone()
        size = result.numel() * result.element_size()
        if size > self._max_bytes:
            return
        self._cache[key] = result
        self._cached_bytes += size
        while self._cached_bytes > self._max_bytes:
            _, oldest = self._cache.popitem(last=False)
            self._cached_bytes -= oldest.numel() * oldest.element_size()


def _same_shape(media: Sequence[PreparedMedia]) -> list[list[PreparedMedia]]:
    groups: dict[tuple[Modality, tuple[int, ...]], list[PreparedMedia]] = {}
    for medium in media:
        groups.setdefault((medium.modality, medium.array.shape), []).append(medium)
    return list(groups.values())
