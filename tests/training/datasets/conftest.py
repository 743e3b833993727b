"""A fresh tree in the published layout for each test."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.training.datasets.published_tree import Tree


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path / "LAMM")
