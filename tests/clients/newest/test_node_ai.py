"""Vercel's AI SDK, with `@ai-sdk/openai-compatible`: the cases of `tests/clients/node/ai.mjs`."""

from __future__ import annotations

import pytest

from tests.clients.conftest import Record
from tests.clients.newest.node_cases import names, outcomes, version

FILE = "ai.mjs"
CLIENT = "ai (npm)"
VERSION = version("ai")


@pytest.mark.parametrize("name", names(FILE))
def test_case(service: str, record: Record, name: str) -> None:
    """{name}"""
    row = outcomes(FILE, service)[name]
    record.note(row["outcome"], row["answer"])
    assert row["outcome"] != "failed", row["answer"]
