"""The base language model's task: facts in place of features, and a loss free of grouping."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from lamm_model.conversation import Modality
from training.mini import corpus
from training.mini.parts import language_model


@pytest.fixture(scope="module")
def task(pools: corpus.Pools, tmp_path_factory: pytest.TempPathFactory) -> language_model.TextTask:
    folder = tmp_path_factory.mktemp("language-model")
    tokenizer = language_model.make_tokenizer(pools, folder, conversations=200)
    torch.manual_seed(0)
    return language_model.TextTask(pools, pools, tokenizer)


def test_the_loss_does_not_depend_on_how_rows_are_grouped(
    task: language_model.TextTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(task, "noise", 0.0)
    losses = []
    for group in (2, 3, 6):
        monkeypatch.setattr(task, "group", group)
        losses.append(task.loss(np.random.default_rng(4), 6).item())
    assert losses == pytest.approx([losses[0]] * 3, rel=1e-5)


@pytest.mark.parametrize("modality", list(Modality))
def test_facts_reach_the_answer(
    task: language_model.TextTask, pools: corpus.Pools, modality: Modality
) -> None:
    """The gradient of an answer's loss reaches the reader of that medium, and no other."""
    rng = np.random.default_rng(0)
    while (conversation := corpus.draw(pools, rng)).modality is not modality:
        continue
    task.zero_grad()
    task.loss_of([conversation], rng).backward()
    for name, layer in task.reader.layers():
        grown = layer.weight.grad is not None and bool(layer.weight.grad.abs().sum() > 0)
        assert grown is (name is modality)


def test_the_saved_reader_is_read_back(task: language_model.TextTask, tmp_path: Path) -> None:
    task.save(tmp_path)
    loaded = language_model.FactReader.load(tmp_path, 192)
    assert torch.equal(loaded.cloud.weight, task.reader.cloud.weight)
    assert torch.equal(loaded.picture.bias, task.reader.picture.bias)
