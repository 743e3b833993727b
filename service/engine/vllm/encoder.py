"""Encodes media for vLLM on a thread of its own: encoders, projectors, and the cache of results.

The encoders run in this process as they do for the torch engine; only features cross to vLLM.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor

from lamm_model.conversation import Modality
from service.engine.base import EncodedMedium, MediaSpan, RequestFailedError
from service.engine.config import EngineConfig
from service.engine.device import choose_device, choose_dtype
from service.engine.loading.model_loader import load_encoders
from service.engine.loading.model_source import ModelSource
from service.engine.media_encoder import MediaEncoder
from service.engine.vllm.features import EncodedFeatures, encode_features

_FAILED = "a medium of this request could not be encoded"


@dataclass(frozen=True, slots=True)
class EncodedRequest:
    """The features of one request's media, and what encoding them took."""

    features: tuple[EncodedFeatures, ...] = ()
    seconds: float = 0.0
    encoded: tuple[EncodedMedium, ...] = ()


class RequestEncoder:
    """The encoders of all models of one engine."""

    def __init__(self, models: Sequence[ModelSource], config: EngineConfig) -> None:
        self._models, self._config = tuple(models), config
        self._index: dict[str | None, int] = {m.name: i for i, m in enumerate(models)} | {None: 0}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="encoder")
        self._encoder: MediaEncoder | None = None
        self.device, self.dtype, self.weights_bytes = "", "", 0

    @property
    def queries_total(self) -> int:
        """Media that were looked up in the cache."""
        return 0 if self._encoder is None else self._encoder.queries_total

    @property
    def hits_total(self) -> int:
        """Media that were found there."""
        return 0 if self._encoder is None else self._encoder.hits_total

    async def load(self) -> None:
        """Loads the encoders and projectors.

        Raises:
            CheckpointError, EngineConfigError: as `TorchEngine.start`.
        """
        await asyncio.get_running_loop().run_in_executor(self._thread, self._load)

    async def encode(self, media: Sequence[MediaSpan], model: str | None) -> EncodedRequest:
        """The features of a request's media.

        Raises:
            RequestFailedError: a medium cannot be encoded.
        """
        if not media:
            return EncodedRequest()
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._encode, tuple(media), model)

    def close(self) -> None:
        """Ends the thread after what it encodes now; idempotent."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _load(self) -> None:
        if self._config.num_threads is not None:
            torch.set_num_threads(self._config.num_threads)
        device = choose_device(self._config.device)
        dtype = choose_dtype(self._config.dtype, device)
        media, self.weights_bytes = load_encoders(self._models, device, dtype)
        self._encoder = MediaEncoder(media, device, self._config.mm_cache_bytes)
        self.device, self.dtype = str(device), _name(dtype)

    def _encode(self, media: tuple[MediaSpan, ...], model: str | None) -> EncodedRequest:
        assert self._encoder is not None, "the encoders are not loaded"
        index = self._index[model]
        output = self._encoder.encode([span.media for span in media], index)
        if output.failures:
            raise RequestFailedError(_FAILED) from next(iter(output.failures.values()))
        kinds: dict[str, Modality] = {span.media.digest: span.media.modality for span in media}
        return EncodedRequest(
            tuple(
                self._features(span, output.features[span.media.digest], index) for span in media
            ),
            sum(output.seconds.values()),
            tuple(EncodedMedium(kinds[key], took) for key, took in output.seconds.items()),
        )

    def _features(self, span: MediaSpan, features_NH: Tensor, index: int) -> EncodedFeatures:
        rows, width = features_NH.shape
        if rows != span.num_tokens:
            raise RequestFailedError(
                f"a medium has {rows} features but {span.num_tokens} placeholders"
            )
        model = self._models[index]
        digest = f"{model.name}|{model.spec.digest}|{span.media.modality}|{span.media.digest}"
        data = features_NH.cpu().contiguous().view(torch.uint8).numpy().tobytes()
        return EncodedFeatures(
            identity=hashlib.sha256(digest.encode()).hexdigest(),
            offset=span.offset,
            num_tokens=rows,
            payload=encode_features(data, _name(features_NH.dtype), (rows, width)),
        )


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
