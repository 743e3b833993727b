"""Runs the largest steps on blank inputs on CUDA, before the first request.

The first run measures the memory of a step, which the KV cache must leave free; the second one, on
the KV cache, loads the kernels of prefill, decoding and sampling.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence as Seq

import torch
import torch.nn.functional as F

from lamm_model.checkpoint.serving_memory import BLOCK_SIZE
from lamm_model.conversation import Modality
from lamm_model.decoder.attention import Span, plan_attention
from lamm_model.decoder.kv_cache import KVCache, KVCacheShape
from lamm_model.decoder.llama import LlamaDecoder
from lamm_model.decoder.sampler import Sampler, SamplingRow
from lamm_model.decoder.upload import upload
from lamm_model.sampling_params import SamplingParams
from lamm_model.spec import CheckpointSpec
from service.engine.config import EngineConfig, EngineConfigError
from service.engine.device import peak_bytes
from service.engine.media_encoder import MediaEncoder

_log = logging.getLogger(__name__)

_MIB = 1 << 20
_ROW = SamplingRow(SamplingParams(temperature=1.0, top_p=0.9, logprobs=1), 0, 0, (), ())


class Rehearsal:
    """The largest steps of one engine."""

    def __init__(
        self,
        decoder: LlamaDecoder,
        encoder: MediaEncoder,
        specs: Seq[CheckpointSpec],
        config: EngineConfig,
        max_len: int,
    ) -> None:
        """`max_len` is the longest context in tokens."""
        self._decoder, self._encoder, self._specs = decoder, encoder, specs
        self._max_seqs, self._max_tokens = config.max_num_seqs, config.max_num_batched_tokens
        self._max_len = max_len

    def peak_bytes(self) -> int:
        """Bytes that a step takes beside the weights and the KV cache.

        Raises:
            EngineConfigError: the device's memory does not suffice for one step.
        """
        started = time.monotonic()
        try:
            cache = self._small_cache()
            peak = peak_bytes(self._decoder.device, lambda: self._largest_step(cache))
        except torch.OutOfMemoryError as error:
            raise EngineConfigError(
                f"the GPU has too little memory for a step of {self._max_tokens} tokens beside the "
                "weights: lower max_num_batched_tokens or max_model_len"
            ) from error
        _log.info(
            "a step of %d tokens takes up to %d MiB (measured in %.1f s)",
            self._max_tokens, peak // _MIB, time.monotonic() - started,
        )  # fmt: skip
        return peak

    def warm_up(self, cache: KVCache) -> None:
        """Runs steps of all kinds on empty slots, and leaves them empty."""
        last, slots = self._max_len - 1, range(min(self._max_seqs, cache.shape.num_slots))
        self._encode(1)
        self._prefill(cache, slots[-1] + 1)
        self._step(cache, [Span(0, last, 1)], 1)
        # Equal contexts need no mask, different ones do.
        self._step(cache, [Span(slot, last, 1) for slot in slots], len(slots))
        self._step(cache, [Span(slot, 0 if slot else last, 1) for slot in slots], len(slots))
        for slot in slots:
            cache.release(slot)

    def _largest_step(self, cache: KVCache) -> None:
        per_medium = [s.num_tokens for spec in self._specs for s in (spec.image, spec.points) if s]
        # A chunk may reach the end of one more medium.
        self._encode(self._max_tokens // min(per_medium, default=self._max_tokens) + 1)
        self._prefill(cache, cache.shape.num_slots)

    def _encode(self, count: int) -> None:
        for model, spec in enumerate(self._specs):
            if spec.image is not None:
                shape = (3, spec.image.size, spec.image.size)
                self._encoder.rehearse(Modality.IMAGE, shape, count, model)
            if spec.points is not None:
                points = (spec.points.num_points, 6 if spec.points.use_color else 3)
                self._encoder.rehearse(Modality.POINT_CLOUD, points, count, model)

    def _prefill(self, cache: KVCache, num_slots: int) -> None:
        """The ends of the longest contexts, as many as a step may compute."""
        spans, left = [], self._max_tokens
        for slot in range(num_slots):
            count = min(left, self._max_len)
            if count > 1:
                spans.append(Span(slot, self._max_len - count, count))
            left -= count
        self._step(cache, spans, sum(span.num_tokens for span in spans))

    @torch.inference_mode()
    def _step(self, cache: KVCache, spans: Seq[Span], num_logits: int) -> None:
        """One step of these spans; the last `num_logits` rows are scored, as many sampled as may
        run.
        """
        if not spans:
            return
        device, rows = self._decoder.device, sum(span.num_tokens for span in spans)
        plan = plan_attention(spans, self._decoder.groups, device)
        embeds = self._decoder.embed(upload([0] * rows, device))
        last = upload(range(rows - num_logits, rows), device)
        logits = self._decoder.forward(embeds, plan, cache, last)
        F.cross_entropy(logits.float(), torch.zeros_like(last), reduction="none").tolist()
        sampled = logits[: self._max_seqs]
        Sampler().sample(sampled, [_ROW] * len(sampled))

    def _small_cache(self) -> KVCache:
        """Slots for the tokens of one step, before the memory for the real ones is known."""
        decoder = self._decoder
        shape = KVCacheShape(
            num_layers=int(decoder.config.num_hidden_layers),
            num_kv_heads=decoder.num_kv_heads,
            head_dim=decoder.head_dim,
            num_slots=-(-self._max_tokens // self._max_len),
            max_len=self._max_len,
            block_size=BLOCK_SIZE,
            num_store_blocks=0,
            dtype=decoder.dtype,
        )
        return KVCache(shape, decoder.device)
