"""The programs of docs/clients.md whose clients are in this environment."""

from __future__ import annotations

import pytest

from tests.clients.page import printed


@pytest.mark.parametrize(
    "names", [["openai"], ["llama-index-llms-openai-like"], ["openai", "instructor"]]
)
def test_program(service: str, names: list[str]) -> None:
    assert "coat" in printed(service, names)
