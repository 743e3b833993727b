"""What serving's batches need is compiled before the first of them, within a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from lamm_model.conversation import Modality
from lamm_model.decoder.linear import PackedLinear
from lamm_model.decoder.llama import LlamaDecoder
from lamm_model.spec import CheckpointSpec
from service.engine.config import DeviceKind, EngineConfig
from service.engine.loading import warm_up as module
from service.engine.loading.warm_up import warm_up
from service.engine.media_encoder import MediaEncoder
from tests.service.engine.harness import EngineMaker, Oracle, RequestMaker, tokens_of

CONFIG = EngineConfig(device=DeviceKind.CPU, max_num_seqs=32, max_num_batched_tokens=512)


class Encoder(MediaEncoder):
    """Notes the batches that it is asked to rehearse."""

    def __init__(self) -> None:
        self.batches: list[tuple[Modality, tuple[int, ...], int]] = []

    def rehearse(self, modality: Modality, shape: tuple[int, ...], count: int, model: int) -> None:
        self.batches.append((modality, shape, count))


@pytest.fixture
def decoder() -> LlamaDecoder:
    # The head is packed, the attention's output is too small to be.
    config = LlamaConfig(
        vocab_size=600, hidden_size=256, intermediate_size=512, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=64,
    )  # fmt: skip
    weights = dict(LlamaForCausalLM(config).state_dict())
    return LlamaDecoder(config, weights, 64, torch.device("cpu"), torch.float32)


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> set[tuple[int, int, int]]:
    """Rows, inputs and outputs of every packed product since the test began."""
    seen: set[tuple[int, int, int]] = set()
    multiply = PackedLinear._multiply

    def noting(self: PackedLinear, x: torch.Tensor) -> torch.Tensor:
        seen.add((x.numel() // self.in_features, self.in_features, self.out_features))
        return multiply(self, x)

    monkeypatch.setattr(PackedLinear, "_multiply", noting)
    return seen


@pytest.fixture
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """However busy the machine is, all sizes are done."""
    monkeypatch.setattr(module, "_BUDGET_S", 1e9)


@pytest.mark.usefixtures("unhurried")
def test_no_batch_of_serving_is_the_first_of_its_size(
    decoder: LlamaDecoder, computed: set[tuple[int, int, int]], checkpoint: Path
) -> None:
    spec = CheckpointSpec.from_pretrained(checkpoint)
    warm_up(decoder, Encoder(), [spec], CONFIG)
    assert {outputs for _, _, outputs in computed} == {512, 256, 1024, 600}
    warmed = set(computed)
    for rows in range(1, 513):
        for linear in decoder._linears():
            if linear.out_features != 600 or rows <= 32:
                linear(torch.zeros(rows, linear.in_features))
    assert computed == warmed


def test_one_layer_stands_for_all_of_its_shape(
    decoder: LlamaDecoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    called = []
    monkeypatch.setattr(PackedLinear, "_multiply", lambda self, x: called.append((self, len(x))))
    for _ in decoder.warm_up(8, 4):
        pass
    assert sorted(rows for _, rows in called) == sorted([*range(1, 9)] * 3 + [*range(1, 5)])


@pytest.mark.usefixtures("unhurried")
def test_single_media_come_first_and_several_pictures_last(
    decoder: LlamaDecoder, checkpoint: Path
) -> None:
    spec, encoder = CheckpointSpec.from_pretrained(checkpoint), Encoder()
    warm_up(decoder, encoder, [spec, spec], CONFIG)
    pictures = [count for modality, _, count in encoder.batches if modality is Modality.IMAGE]
    assert pictures == list(range(1, 9))
    assert encoder.batches[:2] == [
        (Modality.IMAGE, (3, 28, 28), 1), (Modality.POINT_CLOUD, (64, 3), 1),
    ]  # fmt: skip


def test_a_large_model_is_not_waited_for(
    decoder: LlamaDecoder,
    computed: set[tuple[int, int, int]],
    checkpoint: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_BUDGET_S", 0.0)
    spec, encoder = CheckpointSpec.from_pretrained(checkpoint), Encoder()
    warm_up(decoder, encoder, [spec], CONFIG)
    assert (len(encoder.batches), len(computed)) == (2, 1)


def test_nothing_of_it_is_kept(oracle: Oracle, checkpoint: Path) -> None:
    encoder = MediaEncoder([oracle.model], torch.device("cpu"), 1 << 20)
    spec = CheckpointSpec.from_pretrained(checkpoint)
    encoder.rehearse(Modality.IMAGE, (3, spec.image.size, spec.image.size), 3, 0)
    encoder.rehearse(Modality.POINT_CLOUD, (spec.points.num_points, 3), 1, 0)
    assert (encoder.queries_total, encoder.hits_total, encoder.cached_bytes) == (0, 0, 0)


@pytest.mark.usefixtures("unhurried")
async def test_an_engine_has_warmed_up_when_it_starts(
    torch_engine: EngineMaker, make_request: RequestMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = []
    rehearse = MediaEncoder.rehearse

    def noting(self: Any, modality: Any, shape: Any, count: Any, model: Any) -> None:
        counts.append(count)
        rehearse(self, modality, shape, count, model)

    monkeypatch.setattr(MediaEncoder, "rehearse", noting)
    async with torch_engine() as engine:
        assert max(counts) == 8
        assert len(await tokens_of(engine, make_request())) == 16
