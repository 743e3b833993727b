"""The programs of docs/clients.md whose clients are in this environment."""

from __future__ import annotations

import pytest

from tests.clients.page import printed, printed_by_node


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("openai", "coat"),
        ("litellm", "coat"),
        ("langchain-openai", "coat"),
        ("pydantic-ai", "coat"),
        ("openai-agents", "picture"),
    ],
)
def test_program(service: str, name: str, expected: str) -> None:
    assert expected in printed(service, [name])


def test_program_for_node(service: str) -> None:
    assert "coat" in printed_by_node(service, "AI SDK")
