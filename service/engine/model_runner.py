"""Runs scheduled chunks through the model and returns sampled tokens.

Runs on the engine's thread. It owns the weights, the KV tensors and the media cache; it does not
know the queues.

Shapes: T rows (tokens of a step), R rows that sample, N tokens of a medium, C hidden size.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Sequence as Seq
from dataclasses import dataclass, field

import torch
from torch import Tensor

from lamm_model.decoder.attention import Span, plan_attention, row_places
from lamm_model.decoder.llama import LlamaDecoder
from lamm_model.decoder.lora import AdapterPlan, LoraStack
from lamm_model.decoder.sampler import SampledToken
from lamm_model.decoder.upload import upload_all
from lamm_model.media import PreparedMedia
from service.engine.base import EncodedMedium, MediaSpan, RequestFailedError
from service.engine.config import EngineConfig, MemoryShare
from service.engine.device import choose_device, choose_dtype, recover
from service.engine.isolation import run_isolated
from service.engine.kv.tensors import KVTensors
from service.engine.loading.model_loader import load_models
from service.engine.loading.model_source import ModelSource
from service.engine.loading.rehearsal import Rehearsal
from service.engine.loading.warm_up import warm_up
from service.engine.media_encoder import MediaEncoder
from service.engine.readout import Readout
from service.engine.scheduler_output import ScheduledChunk, SchedulerOutput
from service.engine.sequence import Sequence
from service.engine.threads import use_threads

# The library's message is in the log; a client sees this one.
_STEP_FAILED = "the engine failed in this request's step"

# By the model's index, then by the medium's digest: `[N, C]`.
_Features = dict[int, dict[str, Tensor]]


@dataclass(frozen=True, slots=True)
class StepResult:
    """The result of one step: a token per sampling sequence, or why a sequence failed.

    `scored` are the next log-probabilities of scoring sequences' continuations. `encode_seconds` is
    how long each sequence with media waited for them, `encoded` what was encoded for it.
    """

    sampled: dict[Sequence, SampledToken] = field(default_factory=dict)
    scored: dict[Sequence, list[float]] = field(default_factory=dict)
    failed: dict[Sequence, Exception] = field(default_factory=dict)
    encode_seconds: dict[Sequence, float] = field(default_factory=dict)
    encoded: dict[Sequence, tuple[EncodedMedium, ...]] = field(default_factory=dict)


class ModelRunner:
    """One language model on one device, and the models that share it."""

    def __init__(self, models: Seq[ModelSource], config: EngineConfig, memory: MemoryShare) -> None:
        """Loads the models and allocates the KV cache.

        Raises:
            CheckpointError: weights are missing, unexpected or have wrong shapes; the message lists
                them.
            EngineConfigError: the device is missing, or the memory budget is too small.
        """
        self.device = choose_device(config.device)
        self.dtype = choose_dtype(config.dtype, self.device)
        self._index: dict[str | None, int] = {m.name: i for i, m in enumerate(models)} | {None: 0}
        self._specs = [model.spec for model in models]
        loaded = load_models(models, self.device, self.dtype)
        text, max_len = loaded.text_config, min(spec.max_model_len for spec in self._specs)
        self._decoder = LlamaDecoder(
            text, loaded.language_weights, max_len, self.device, self.dtype
        )
        self._encoder = MediaEncoder(loaded.media, self.device, config.mm_cache_bytes)
        self.weights_bytes = self._decoder.weights_bytes + loaded.media_bytes
        # Models without LoRA use the decoder's weights unchanged; others have an index in the
        # stack.
        self._lora: LoraStack | None = None
        adapters = [adapter for adapter in loaded.adapters if adapter is not None]
        places = iter(range(len(adapters)))
        self._adapter_of = [None if a is None else next(places) for a in loaded.adapters]
        if adapters:
            layers, outputs = int(text.num_hidden_layers), self._decoder.out_features
            self._lora = LoraStack(adapters, layers, outputs, self.device, self.dtype)
            self.weights_bytes += self._lora.nbytes
        self.num_threads: int | None = None
        if self.device.type == "cpu":
            self.num_threads = use_threads(config.num_threads, self.weights_bytes)
        self._readout = Readout(lambda sequence: self._specs[self._model_of(sequence)])
        self.kv = self._prepare(config, memory, max_len)

    def _prepare(self, config: EngineConfig, memory: MemoryShare, max_len: int) -> KVTensors:
        """Allocates the KV cache, and runs what is slow the first time."""
        if self.device.type != "cuda":
            kv = KVTensors(self._decoder, config, memory, max_len)
            warm_up(self._decoder, self._encoder, self._specs, config)
            return kv
        longest = min(max_len, config.max_model_len or max_len)
        rehearsal = Rehearsal(self._decoder, self._encoder, self._specs, config, longest)
        # The cache of encoded media grows while serving.
        reserved = rehearsal.peak_bytes() + config.mm_cache_bytes
        kv = KVTensors(self._decoder, config, memory, max_len, reserved)
        rehearsal.warm_up(kv.cache)
        return kv

    @property
    def encoder(self) -> MediaEncoder:
        """The media encoder, for its counters."""
        return self._encoder

    @torch.inference_mode()
    def run(self, output: SchedulerOutput) -> StepResult:
        """Executes one step.

        Sequences whose own media cannot be encoded, or whose own chunk cannot be loaded or
        computed, are reported as failed; the others continue. An exception affects the whole step:
        the state of the device or of the cache is lost.
        """
        empty = self.kv.transfer_all(output.transfers)
        result = StepResult()
        for chunk in output.chunks:
            if chunk.slot in empty:
                result.failed[chunk.sequence] = RequestFailedError(_STEP_FAILED)
        features = self._encode_media(output.chunks, result)
        chunks = [chunk for chunk in output.chunks if chunk.sequence not in result.failed]
        compute = functools.partial(self._compute, features, result)
        failed = run_isolated(chunks, compute, functools.partial(recover, self.device))
        for chunk, error in failed:
            own = isinstance(error, RequestFailedError)
            result.failed[chunk.sequence] = error if own else RequestFailedError(_STEP_FAILED)
        return result

    def _compute(
        self, features: _Features, result: StepResult, chunks: Seq[ScheduledChunk]
    ) -> None:
        """Runs chunks through the decoder; repeating it writes the same to the cache."""
        spans = [Span(chunk.slot, chunk.start, chunk.num_tokens) for chunk in chunks]
        ids, fills = self._token_ids(chunks, features)
        lists = [ids, self._readout.rows(chunks), *row_places(spans)]
        ids_T, rows, positions, slots = upload_all(lists, self.device)
        plan = plan_attention(spans, self._decoder.groups, self.device, (positions, slots))
        adapters = None if self._lora is None else self._plan_adapters(self._lora, chunks)
        embeds = self._decoder.embed(ids_T)
        for at, features_NC in fills:
            embeds[at : at + len(features_NC)] = features_NC.to(embeds.dtype)
        logits = self._decoder.forward(embeds, plan, self.kv.cache, rows, adapters)
        sampled, scored = self._readout.read(logits, chunks)
        result.sampled.update(sampled)
        result.scored.update(scored)

    def _plan_adapters(self, lora: LoraStack, chunks: Seq[ScheduledChunk]) -> AdapterPlan | None:
        places = [self._adapter_of[self._model_of(chunk.sequence)] for chunk in chunks]
        pairs = list(zip(places, chunks, strict=True))
        return lora.plan(
            [(place, chunk.num_tokens) for place, chunk in pairs],
            [place for place, chunk in pairs for _ in range(chunk.num_logits)],
        )

    def _model_of(self, sequence: Sequence) -> int:
        return self._index[sequence.request.model]

    def _encode_media(self, chunks: Seq[ScheduledChunk], result: StepResult) -> _Features:
        """Features of all media within the chunks, by model and digest."""
        needed = {chunk.sequence: _reached(chunk) for chunk in chunks}
        wanted: dict[int, list[PreparedMedia]] = {}
        for sequence, spans in needed.items():
            if spans:
                media = wanted.setdefault(self._model_of(sequence), [])
                media += [span.media for span in spans]
        features: _Features = {}
        for model, media in wanted.items():
            started = time.monotonic()
            output = self._encoder.encode(media, model)
            seconds = time.monotonic() - started
            features[model] = output.features
            for sequence, spans in needed.items():
                if not spans or self._model_of(sequence) != model:
                    continue
                result.encode_seconds[sequence] = seconds
                result.encoded[sequence] = _claim(output.seconds, spans)
                for span in spans:
                    digest = span.media.digest
                    error = output.failures.get(digest) or _mismatch(span, features[model])
                    if error is not None:
                        result.failed[sequence] = error
        return features

    def _token_ids(
        self, chunks: Seq[ScheduledChunk], features: _Features
    ) -> tuple[list[int], list[tuple[int, Tensor]]]:
        """Ids of the T rows, and the features that replace embeddings from a row on."""
        ids: list[int] = []
        fills: list[tuple[int, Tensor]] = []
        for chunk in chunks:
            first, end = len(ids), chunk.start + chunk.num_tokens
            ids += chunk.sequence.token_ids[chunk.start : end]
            for span in _reached(chunk):
                low, high = max(chunk.start, span.offset), min(end, span.offset + span.num_tokens)
                encoded = features[self._model_of(chunk.sequence)][span.media.digest]
                rows = encoded[low - span.offset : high - span.offset]
                at = first + low - chunk.start
                # Placeholder ids exceed the vocabulary; row 0 is looked up until they are filled.
                ids[at : at + high - low] = [0] * (high - low)
                fills.append((at, rows))
        return ids, fills


def _reached(chunk: ScheduledChunk) -> list[MediaSpan]:
    end = chunk.start + chunk.num_tokens
    return [
        span
        for span in chunk.sequence.request.media
        if span.offset < end and chunk.start < span.offset + span.num_tokens
    ]


def _claim(seconds: dict[str, float], spans: Seq[MediaSpan]) -> tuple[EncodedMedium, ...]:
    """Assigns encoded media to a sequence; each is assigned once."""
    return tuple(
        EncodedMedium(span.media.modality, seconds.pop(span.media.digest))
        for span in spans
        if span.media.digest in seconds
    )


def _mismatch(span: MediaSpan, features: dict[str, Tensor]) -> Exception | None:
    count = len(features[span.media.digest])
    if count == span.num_tokens:
        return None
    return RequestFailedError(
        f"a {span.media.modality} has {span.num_tokens} placeholders but {count} features"
    )
