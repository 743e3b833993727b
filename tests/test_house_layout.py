"""Folders of the four rooms: each says what passes through it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("lamm_model", "service", "training", "benchmark")
FOLDERS = sorted(
    {str(path.parent.relative_to(ROOT)) for room in ROOMS for path in (ROOT / room).rglob("*.py")}
)


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_folder_is_described_in_one_line(folder: str) -> None:
    description = ast.get_docstring(ast.parse((ROOT / folder / "__init__.py").read_text()))
    assert description is not None
    assert description.partition("\n")[0].endswith(".")
