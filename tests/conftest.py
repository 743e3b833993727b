"""Several processes of tests beside one another: one thread each, and the long files first."""

from __future__ import annotations

import os

import pytest

# They run in environments of their own: `make clients`.
collect_ignore = ["clients"]

if "PYTEST_XDIST_WORKER" in os.environ:
    # Read when torch is imported. Servers that tests start inherit it.
    os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts files with a slow test first: begun last, one would keep one process alone at work."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)
