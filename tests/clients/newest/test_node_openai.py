"""`openai` from npm: the cases of `tests/clients/node/openai.mjs`."""

from __future__ import annotations

import pytest

from tests.clients.conftest import Record
from tests.clients.newest.node_cases import names, outcomes, version

FILE = "openai.mjs"
CLIENT = "openai (npm)"
VERSION = version("openai")


@pytest.mark.parametrize("name", names(FILE))
def test_case(service: str, record: Record, name: str) -> None:
    """{name}"""
    row = outcomes(FILE, service)[name]
    record.note(row["outcome"], row["answer"])
    assert row["outcome"] != "failed", row["answer"]
