"""A tiny base checkpoint, its 20 records and a recipe over them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from lamm_model.processing import LammProcessor
from training.config import DataSource, Recipe, parse_recipe
from training.tiny import make_tiny_base, make_tiny_records

MakeRecipe = Callable[..., Recipe]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Sums are bit-equal only if split alike, and more threads do not speed up tiny models."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("tiny") / "base"
    make_tiny_base(directory)
    return directory


@pytest.fixture(scope="session")
def tiny_source(tmp_path_factory: pytest.TempPathFactory) -> DataSource:
    return make_tiny_records(tmp_path_factory.mktemp("tiny") / "records")


@pytest.fixture(scope="session")
def processor(tiny_base: Path) -> LammProcessor:
    return LammProcessor.from_pretrained(tiny_base)


@pytest.fixture
def make_recipe(tiny_base: Path, tiny_source: DataSource, tmp_path: Path) -> MakeRecipe:
    def make(**changes: Any) -> Recipe:
        document: dict[str, Any] = {
            "base": str(tiny_base),
            "output": str(tmp_path / "run"),
            "data": [{"path": str(tiny_source.path)}],
            "max_steps": 4,
            "batch_size": 5,
            "lora": {"r": 4, "alpha": 8},
        }
        return parse_recipe(document | changes)

    return make
