"""lamm-mini's parts: tokenizer, pre-training that resumes, projectors fitted to words."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from transformers import CLIPVisionModel
from transformers.models.clip.modeling_clip import CLIPEncoderLayer

from lamm_model.tokenizer import LammTokenizer
from training.mini.parts import assemble, geometry
from training.mini.parts.initialise import initialise
from training.mini.parts.pretrain import DenseTask, PretrainSettings, pretrain
from training.mini.parts.tokenizer import train_tokenizer

TEXTS = [
    "It says now: the coat is at [0.12, 0.30, 0.45, 0.99].\n###",
    "How many coats are there? 12",
] * 20


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> LammTokenizer:
    folder = tmp_path_factory.mktemp("tokenizer")
    train_tokenizer(TEXTS, ["coat"], 450, folder)
    return LammTokenizer.from_pretrained(folder)


@pytest.mark.parametrize(
    "text", ['says "LAMP"', "日本 ok", "a  b", "x\n\n### Human: y", "0.5 12 </s>"]
)
def test_text_survives_the_tokenizer(tokenizer: LammTokenizer, text: str) -> None:
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_capitals_in_a_run_and_digits_stand_alone(tokenizer: LammTokenizer) -> None:
    pieces = [tokenizer.id_to_piece(k) for k in tokenizer.encode('now "LAMP" 12')]
    assert [p.lstrip("▁") for p in pieces if p][-7:] == [*"LAMP", '"', "1", "2"]


def test_a_coordinate_is_one_piece_and_so_are_hundredths(tmp_path: Path) -> None:
    texts = ["a [0.45, -1.21, 0.9 m]"] * 4
    train_tokenizer(texts, (), 400, tmp_path)
    tokenizer = LammTokenizer.from_pretrained(tmp_path)
    pieces = [tokenizer.id_to_piece(k) for k in tokenizer.encode(texts[0])]
    assert "0.45" in [p.lstrip("▁") for p in pieces]
    assert ".21" in pieces
    # One decimal is a length in words, not a place: it stays in digits.
    assert "0.9" not in [p.lstrip("▁") for p in pieces]


def test_a_word_of_several_pieces_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'zebra' is 6 pieces"):
        train_tokenizer(TEXTS, ["zebra"], 450, tmp_path)


def test_ridge_recovers_a_linear_map() -> None:
    torch.manual_seed(0)
    features, weight, bias = torch.randn(500, 8), torch.randn(5, 8), torch.randn(5)
    projector = nn.Linear(8, 5)
    with torch.no_grad():
        assemble.fit_ridge(projector, features, features @ weight.T + bias)
    assert torch.allclose(projector.weight, weight, atol=0.05)
    assert torch.allclose(projector.bias, bias, atol=0.05)


def test_initialised_attention_looks_at_its_own_place_first() -> None:
    torch.manual_seed(0)
    model = CLIPVisionModel(geometry.vision_config())
    initialise(model)
    layer = model.encoder.layers[0]
    assert isinstance(layer, CLIPEncoderLayer)
    attention = layer.self_attn
    places = model.embeddings.position_embedding.weight[1:]
    normal = nn.functional.layer_norm(places, places.shape[-1:])
    logits = (normal @ attention.q_proj.weight[:32].T) @ (normal @ attention.k_proj.weight[:32].T).T
    own = logits.diagonal().mean()
    assert own > logits.mean() + logits.std()


class _Line(DenseTask):
    """Learns y = 2x: small enough to compare whole runs bit for bit."""

    encoder: _Encoder

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.encoder = _Encoder()

    def loss(self, rng: np.random.Generator, batch_size: int) -> torch.Tensor:
        x = torch.from_numpy(rng.normal(size=(batch_size, 1)).astype(np.float32))
        gap: torch.Tensor = self.encoder.layer(x) - 2 * x
        return gap.square().mean()

    def evaluate(self) -> dict[str, float]:
        return {"weight": self.encoder.layer.weight.item()}


class _Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)

    def save_pretrained(self, out: Path) -> None:
        (out / "weights.txt").write_text(repr([p.item() for p in self.parameters()]))


def test_pretraining_killed_and_resumed_equals_one_never_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = PretrainSettings(
        steps=60,
        batch_size=4,
        learning_rate=0.2,
        warmup_steps=5,
        save_every=20,
        threads=torch.get_num_threads(),
    )
    whole = pretrain(_Line(), settings, tmp_path / "whole")
    assert whole["weight"] == pytest.approx(2.0, abs=0.3)
    broken = _Line()
    real = broken.loss
    calls = 0

    def dying(rng: np.random.Generator, batch_size: int) -> torch.Tensor:
        nonlocal calls
        calls += 1
        if calls == 33:
            raise KeyboardInterrupt
        return real(rng, batch_size)

    monkeypatch.setattr(broken, "loss", dying)
    with pytest.raises(KeyboardInterrupt):
        pretrain(broken, settings, tmp_path / "broken")
    pretrain(_Line(), settings, tmp_path / "broken")
    assert (tmp_path / "broken/weights.txt").read_text() == (
        tmp_path / "whole/weights.txt"
    ).read_text()


def test_a_restart_keeps_the_weights_and_begins_the_schedule_anew(tmp_path: Path) -> None:
    settings = PretrainSettings(
        steps=40, batch_size=4, learning_rate=0.2, warmup_steps=5, save_every=20
    )
    pretrain(_Line(), settings, tmp_path)
    finished = _Line()
    assert pretrain(finished, settings, tmp_path) == finished.evaluate()  # nothing left to do
    again = replace(settings, steps=3, learning_rate=1e-9, restart=True)
    restarted = pretrain(_Line(), again, tmp_path)
    assert restarted["weight"] == pytest.approx(finished.evaluate()["weight"], abs=1e-6)
    assert json.loads((tmp_path / "pretrain.json").read_text())["steps"] == 3


def test_a_restart_begins_a_layer_of_another_size_anew_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = PretrainSettings(
        steps=40, batch_size=4, learning_rate=0.2, warmup_steps=5, save_every=20
    )
    taught = pretrain(_Line(), settings, tmp_path)
    wider = _Line()
    wider.head = nn.Linear(1, 3)
    again = replace(settings, steps=2, learning_rate=1e-9, restart=True)
    assert pretrain(wider, again, tmp_path)["weight"] == pytest.approx(taught["weight"], abs=1e-6)
    assert "initialised from scratch: head.bias, head.weight" in capsys.readouterr().out
