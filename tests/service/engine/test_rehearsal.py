"""The largest steps run before the first request, and leave nothing behind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from lamm_model.decoder.kv_cache import KVCache, KVCacheShape
from lamm_model.decoder.llama import LlamaDecoder
from lamm_model.spec import CheckpointSpec
from service.engine.config import DeviceKind, EngineConfig, EngineConfigError
from service.engine.loading import rehearsal as module
from service.engine.loading.rehearsal import Rehearsal
from service.engine.media_encoder import MediaEncoder
from tests.service.engine.harness import Oracle

CPU = torch.device("cpu")
CONFIG = EngineConfig(device=DeviceKind.CPU, max_num_seqs=3, max_num_batched_tokens=80)


@pytest.fixture
def decoder() -> LlamaDecoder:
    config = LlamaConfig(
        vocab_size=97, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=64,
    )  # fmt: skip
    return LlamaDecoder(config, dict(LlamaForCausalLM(config).state_dict()), 64, CPU, torch.float32)


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Rows of every step, and how many of them have logits."""
    seen = []
    forward = LlamaDecoder.forward

    def noting(self: LlamaDecoder, *args: torch.Tensor) -> torch.Tensor:
        logits = forward(self, *args)  # type: ignore[arg-type]
        seen.append((len(args[0]), len(logits)))
        return logits

    monkeypatch.setattr(LlamaDecoder, "forward", noting)
    return seen


@pytest.fixture
def rehearsal(decoder: LlamaDecoder, oracle: Oracle, checkpoint: Path) -> Rehearsal:
    encoder = MediaEncoder([oracle.model], CPU, 1 << 20)
    return Rehearsal(decoder, encoder, [CheckpointSpec.from_pretrained(checkpoint)], CONFIG, 64)


def _measured(device: torch.device, work: Callable[[], None]) -> int:
    work()
    return 12345


def test_the_largest_step_is_measured(
    rehearsal: Rehearsal, rows: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    batches = []
    rehearse = MediaEncoder.rehearse

    def noting(self: MediaEncoder, modality: str, shape: object, count: int, model: int) -> None:
        batches.append((modality, count))
        rehearse(self, modality, shape, count, model)  # type: ignore[arg-type]

    monkeypatch.setattr(MediaEncoder, "rehearse", noting)
    monkeypatch.setattr(module, "peak_bytes", _measured)
    assert rehearsal.peak_bytes() == 12345
    # 80 tokens exceed one context of 64; they reach 10 clouds of 8 tokens and one more.
    assert rows == [(80, 80)]
    assert batches == [("image", 11), ("point_cloud", 11)]


def test_a_gpu_without_the_memory_for_a_step_is_refused(
    rehearsal: Rehearsal, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(device: torch.device, work: Callable[[], None]) -> int:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(module, "peak_bytes", full)
    with pytest.raises(EngineConfigError, match=r"a step of 80 tokens .* lower max_num_batched"):
        rehearsal.peak_bytes()


def test_a_warm_up_runs_all_kinds_of_steps_and_leaves_slots_empty(
    rehearsal: Rehearsal, decoder: LlamaDecoder, rows: list[tuple[int, int]]
) -> None:
    shape = KVCacheShape(2, 2, 8, 3, 64, 16, 0, torch.float32)
    cache = KVCache(shape, CPU)
    # As on a GPU, where a slot is emptied by overwriting it.
    cache._mapping = None
    rehearsal.warm_up(cache)
    assert rows == [(80, 80), (1, 1), (3, 3), (3, 3)]
    assert not any(cache.layer(i)[kind].any() for i in range(2) for kind in range(2))
