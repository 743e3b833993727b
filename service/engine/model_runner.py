"""Scheduled chunks become tensors, run through the model, and come back as sampled tokens.

Called by `torch_engine.step` on the engine's thread. It owns the weights, the KV tensors and the
media cache; it knows nothing of queues.

Shapes: T rows (tokens of a step), R rows that sample, N tokens of a medium, C hidden size.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence as Seq
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from lamm_model.checkpoint.load import load_model
from lamm_model.decoder.attention import Span, plan_attention
from lamm_model.decoder.kv_cache import KVCache, KVCacheShape
from lamm_model.decoder.llama import LlamaDecoder
from lamm_model.decoder.sampler import SampledToken, Sampler, SamplingRow
from lamm_model.spec import CheckpointSpec
from service.engine.base import MediaSpan, RequestFailedError
from service.engine.block_manager import KVTransfer, LoadBlocks, SaveBlocks
from service.engine.config import DeviceKind, Dtype, EngineConfig, EngineConfigError
from service.engine.kv_plan import BLOCK_SIZE, KVPlan, available_host_bytes, plan_kv_cache
from service.engine.media_encoder import MediaEncoder
from service.engine.scheduler import ScheduledChunk, SchedulerOutput
from service.engine.sequence import Sequence

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class StepResult:
    """What one step brought: a token for each sampling sequence, or why a sequence failed alone.

    `encode_seconds` is the time that encoding media took, for each sequence whose media it encoded.
    """

    sampled: dict[Sequence, SampledToken] = field(default_factory=dict)
    failed: dict[Sequence, Exception] = field(default_factory=dict)
    encode_seconds: dict[Sequence, float] = field(default_factory=dict)


class ModelRunner:
    """One model on one device."""

    def __init__(self, model_dir: Path, spec: CheckpointSpec, config: EngineConfig) -> None:
        """Loads the checkpoint and lays out the KV cache.

        Raises:
            CheckpointError: weights are missing, unexpected or mis-shaped; the message lists them.
            EngineConfigError: the device is missing, or the budget holds nothing.
        """
        if config.num_threads is not None:
            torch.set_num_threads(config.num_threads)
        self.device = _device(config.device)
        self.dtype = _dtype(config.dtype, self.device)
        self._spec = spec
        model = load_model(model_dir, self.dtype)
        text = model.config.text_config
        weights = dict(model.language_model.state_dict())
        # The decoder takes the language model's weights over; what stays are encoders, projectors.
        del model.language_model
        self._decoder = LlamaDecoder(text, weights, spec.max_model_len, self.device, self.dtype)
        torch.nn.Module.to(model, self.device)
        self._encoder = MediaEncoder(model, self.device, config.mm_cache_bytes)
        self.weights_bytes = self._decoder.weights_bytes + sum(
            p.numel() * p.element_size() for p in model.parameters()
        )
        self._sampler = Sampler()
        self.plan, self._cache = self._lay_out_cache(config, int(text.num_hidden_layers))
        self.kv_cache_bytes = (
            self._cache.shape.bytes_per_token
            * BLOCK_SIZE
            * (self.plan.num_blocks + self.plan.num_store_blocks)
        )

    @property
    def encoder(self) -> MediaEncoder:
        """The media encoder, for its counters."""
        return self._encoder

    @torch.inference_mode()
    def run(self, output: SchedulerOutput) -> StepResult:
        """Executes one step.

        Sequences whose own media cannot be encoded are reported as failed and left out; any other
        exception is the whole step's.
        """
        for transfer in output.transfers:
            self._transfer(transfer)
        result = StepResult()
        features = self._encode_media(output.chunks, result)
        chunks = [chunk for chunk in output.chunks if chunk.sequence not in result.failed]
        if not chunks:
            return result
        spans = [Span(chunk.slot, chunk.start, chunk.num_tokens) for chunk in chunks]
        plan = plan_attention(spans, self._decoder.groups, self.device)
        logits = self._decoder.forward(
            self._embed(chunks, features), plan, self._cache, self._logit_rows(chunks)
        )
        sampling = [chunk.sequence for chunk in chunks if chunk.samples]
        if sampling:
            rows = [self._sampling_row(sequence) for sequence in sampling]
            tokens = self._sampler.sample(logits, rows)
            result.sampled.update(zip(sampling, tokens, strict=True))
        return result

    def _lay_out_cache(self, config: EngineConfig, num_layers: int) -> tuple[KVPlan, KVCache]:
        heads, dim = self._decoder.num_kv_heads, self._decoder.head_dim
        on_cuda = self.device.type == "cuda"
        free = torch.cuda.mem_get_info(self.device)[0] if on_cuda else available_host_bytes()
        per_token = 2 * num_layers * heads * dim * self.dtype.itemsize
        plan = plan_kv_cache(config, self._spec.max_model_len, per_token, free, on_cuda)
        shape = KVCacheShape(
            num_layers=num_layers,
            num_kv_heads=heads,
            head_dim=dim,
            num_slots=plan.num_slots,
            max_len=plan.max_model_len,
            block_size=BLOCK_SIZE,
            num_store_blocks=plan.num_store_blocks,
            dtype=self.dtype,
        )
        return plan, KVCache(shape, self.device)

    def _transfer(self, transfer: KVTransfer) -> None:
        if isinstance(transfer, SaveBlocks):
            self._cache.save(transfer.slot, transfer.first_block, transfer.blocks)
        elif isinstance(transfer, LoadBlocks):
            self._cache.load(transfer.slot, transfer.blocks)
        else:
            self._cache.release(transfer.slot)

    def _encode_media(self, chunks: Seq[ScheduledChunk], result: StepResult) -> dict[str, Tensor]:
        """Features of all media that the chunks reach into, by digest."""
        needed = {chunk.sequence: _reached(chunk) for chunk in chunks}
        media = [span.media for spans in needed.values() for span in spans]
        if not media:
            return {}
        started = time.monotonic()
        features, failures = self._encoder.encode(media)
        seconds = time.monotonic() - started
        for sequence, spans in needed.items():
            if not spans:
                continue
            result.encode_seconds[sequence] = seconds
            for span in spans:
                error = failures.get(span.media.digest) or _mismatch(span, features)
                if error is not None:
                    result.failed[sequence] = error
        return features

    def _embed(self, chunks: Seq[ScheduledChunk], features: dict[str, Tensor]) -> Tensor:
        """Embeddings `[T, C]`: text looked up, media positions filled with their features."""
        ids: list[int] = []
        fills: list[tuple[int, Tensor]] = []
        for chunk in chunks:
            first, end = len(ids), chunk.start + chunk.num_tokens
            ids += chunk.sequence.token_ids[chunk.start : end]
            for span in _reached(chunk):
                low, high = max(chunk.start, span.offset), min(end, span.offset + span.num_tokens)
                rows = features[span.media.digest][low - span.offset : high - span.offset]
                at = first + low - chunk.start
                # Placeholders lie above the vocabulary; row 0 stands in until they are filled.
                ids[at : at + high - low] = [0] * (high - low)
                fills.append((at, rows))
        embeds = self._decoder.embed(torch.tensor(ids, device=self.device))
        for at, rows in fills:
            embeds[at : at + len(rows)] = rows.to(embeds.dtype)
        return embeds

    def _logit_rows(self, chunks: Seq[ScheduledChunk]) -> Tensor:
        rows, end = [], 0
        for chunk in chunks:
            end += chunk.num_tokens
            if chunk.samples:
                rows.append(end - 1)
        return torch.tensor(rows, dtype=torch.long, device=self.device)

    def _sampling_row(self, sequence: Sequence) -> SamplingRow:
        params = sequence.request.sampling_params
        banned: tuple[int, ...] = ()
        if sequence.num_output_tokens < params.min_tokens:
            banned = (*self._spec.eos_token_ids, *params.stop_token_ids)
        return SamplingRow(
            params=params,
            seed=sequence.seed,
            position=sequence.num_output_tokens,
            prompt_token_ids=sequence.request.prompt_token_ids,
            output_token_ids=sequence.output_token_ids,
            banned=tuple(token for token in banned if token < self._spec.vocab_size),
        )


def _reached(chunk: ScheduledChunk) -> list[MediaSpan]:
    end = chunk.start + chunk.num_tokens
    return [
        span
        for span in chunk.sequence.request.media
        if span.offset < end and chunk.start < span.offset + span.num_tokens
    ]


def _mismatch(span: MediaSpan, features: dict[str, Tensor]) -> Exception | None:
    count = len(features[span.media.digest])
    if count == span.num_tokens:
        return None
    return RequestFailedError(
        f"a {span.media.modality} has {span.num_tokens} placeholders but {count} features"
    )


def _device(kind: DeviceKind) -> torch.device:
    if kind is DeviceKind.AUTO:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if kind is DeviceKind.CUDA and not torch.cuda.is_available():
        raise EngineConfigError("device is cuda, but torch finds no CUDA device")
    return torch.device(kind.value)


def _dtype(dtype: Dtype, device: torch.device) -> torch.dtype:
    if dtype is Dtype.AUTO:
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    chosen = {
        Dtype.FLOAT32: torch.float32,
        Dtype.BFLOAT16: torch.bfloat16,
        Dtype.FLOAT16: torch.float16,
    }
    return chosen[dtype]
