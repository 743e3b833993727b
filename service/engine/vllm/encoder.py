"""Encodes media for vLLM on a thread of its own: encoders, projectors, and the cache of results.

The encoders run in this process as they do for the torch engine; only features cross to vLLM.
Requests that arrive while the thread is busy are encoded together afterwards.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor

from service.engine.base import EncodedMedium, MediaSpan, RequestFailedError
from service.engine.config import EngineConfig
from service.engine.device import choose_device, choose_dtype
from service.engine.loading.model_loader import load_encoders
from service.engine.loading.model_source import ModelSource
from service.engine.media_encoder import EncoderOutput, MediaEncoder
from service.engine.threads import use_threads
from service.engine.vllm.features import EncodedFeatures, encode_features

_FAILED = "a medium of this request could not be encoded"
# The most media that are encoded together; more take memory and save no time.
_MAX_BATCH = 16


@dataclass(frozen=True, slots=True)
class EncodedRequest:
    """The features of one request's media, and what encoding them took."""

    features: tuple[EncodedFeatures, ...] = ()
    seconds: float = 0.0
    encoded: tuple[EncodedMedium, ...] = ()


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A request whose media wait; `index` is that of its model."""

    media: tuple[MediaSpan, ...]
    index: int
    result: Future[EncodedRequest]


class RequestEncoder:
    """The encoders of all models of one engine."""

    def __init__(self, models: Sequence[ModelSource], config: EngineConfig) -> None:
        self._models, self._config = tuple(models), config
        self._index: dict[str | None, int] = {m.name: i for i, m in enumerate(models)} | {None: 0}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="encoder")
        self._encoder: MediaEncoder | None = None
        # Appended to on the event loop, emptied on the thread: both are atomic.
        self._waiting: deque[_Waiting] = deque()
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
        waiting = _Waiting(tuple(media), self._index[model], Future())
        self._waiting.append(waiting)
        self._thread.submit(self._encode_waiting)
        return await asyncio.wrap_future(waiting.result)

    def close(self) -> None:
        """Ends the thread after what it encodes now; idempotent."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _load(self) -> None:
        device = choose_device(self._config.device)
        dtype = choose_dtype(self._config.dtype, device)
        media, self.weights_bytes = load_encoders(self._models, device, dtype)
        if device.type == "cpu":
            use_threads(self._config.num_threads, self.weights_bytes)
        self._encoder = MediaEncoder(media, device, self._config.mm_cache_bytes)
        self.device, self.dtype = str(device), _name(dtype)

    def _encode_waiting(self) -> None:
        """Encodes what waits for the model of the first request, in one batch.

        There is one call per request, so nothing waits for ever; most calls find nothing to do.
        """
        batch = self._next_batch()
        if not batch:
            return
        assert self._encoder is not None, "the encoders are not loaded"
        index = batch[0].index
        try:
            media = [span.media for waiting in batch for span in waiting.media]
            output = self._encoder.encode(media, index)
        except Exception as error:
            for waiting in batch:
                waiting.result.set_exception(error)
            return
        for waiting in batch:
            try:
                waiting.result.set_result(self._result(waiting, output))
            except Exception as error:
                waiting.result.set_exception(error)

    def _next_batch(self) -> list[_Waiting]:
        """The first requests in the queue that are still wanted and have the same model."""
        batch: list[_Waiting] = []
        count = 0
        while self._waiting:
            first = self._waiting[0]
            fits = not batch or (
                first.index == batch[0].index and count + len(first.media) <= _MAX_BATCH
            )
            if not fits:
                break
            self._waiting.popleft()
            # False: its reader has gone.
            if first.result.set_running_or_notify_cancel():
                batch.append(first)
                count += len(first.media)
        return batch

    def _result(self, waiting: _Waiting, output: EncoderOutput) -> EncodedRequest:
        digests = {span.media.digest: span.media.modality for span in waiting.media}
        for digest in digests:
            if (error := output.failures.get(digest)) is not None:
                raise RequestFailedError(_FAILED) from error
        took = {digest: output.seconds[digest] for digest in digests if digest in output.seconds}
        return EncodedRequest(
            tuple(
                self._features(span, output.features[span.media.digest], waiting.index)
                for span in waiting.media
            ),
            sum(took.values()),
            tuple(EncodedMedium(digests[digest], seconds) for digest, seconds in took.items()),
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
