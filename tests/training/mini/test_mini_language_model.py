"""The base language model's task: facts stand where features will, and grouping changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from lamm_model.conversation import Modality
from training.mini import corpus
from training.mini.parts import language_model
from training.mini.scenes import clouds, pictures
from training.mini.sources import FURNITURE, Mesh


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Iterator[language_model.TextTask]:
    rng = np.random.default_rng(0)
    products = rng.integers(60, 255, (20, 28, 28), dtype=np.uint8)
    corners = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], np.float64)
    faces = np.array([[0, 1, 2], [0, 1, 3], [0, 2, 3], [1, 2, 3]])
    meshes = [Mesh("m", name, "c", corners, faces) for name in FURNITURE]
    pools = corpus.Pools(
        pictures.ProductPool(products, np.arange(20, dtype=np.uint8) % 10),
        pictures.WordPool([], []),
        clouds.SurfacePool(meshes, seed=0, samples=1500),
    )
    # Fonts are a file's affair; this module needs products and clouds alone.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pictures, "word", lambda _, rng: pictures.alone(pools.products, rng))
        folder: Path = tmp_path_factory.mktemp("language-model")
        tokenizer = language_model.make_tokenizer(pools, folder, conversations=200)
        torch.manual_seed(0)
        yield language_model.TextTask(pools, pools, tokenizer)


def test_the_loss_does_not_depend_on_how_rows_are_grouped(
    task: language_model.TextTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(language_model, "_NOISE", 0.0)
    losses = []
    for group in (2, 3, 6):
        monkeypatch.setattr(language_model, "_GROUP", group)
        losses.append(task.loss(np.random.default_rng(4), 6).item())
    assert losses == pytest.approx([losses[0]] * 3, rel=1e-5)


@pytest.mark.parametrize("modality", list(Modality))
def test_facts_reach_the_answer(task: language_model.TextTask, modality: Modality) -> None:
    """The gradient of an answer's loss reaches the reader of that medium, and no other."""
    rng = np.random.default_rng(0)
    while (conversation := corpus.draw(task._pools, rng)).modality is not modality:
        continue
    task.zero_grad()
    task._loss_of([task._row(conversation, rng)], None).backward()
    for name, layer in task.reader.layers():
        grown = layer.weight.grad is not None and bool(layer.weight.grad.abs().sum() > 0)
        assert grown is (name is modality)


def test_the_saved_reader_is_read_back(task: language_model.TextTask, tmp_path: Path) -> None:
    task.save(tmp_path)
    loaded = language_model.FactReader.load(tmp_path, 192)
    assert torch.equal(loaded.cloud.weight, task.reader.cloud.weight)
    assert torch.equal(loaded.picture.bias, task.reader.picture.bias)
