"""The synchronous client of the `openai` package."""

from __future__ import annotations

from collections.abc import Iterator

import openai
import pytest


@pytest.fixture(scope="module")
def client(base_url: str) -> Iterator[openai.OpenAI]:
    """A client without retries, so that every refusal is seen."""
    with openai.OpenAI(base_url=base_url, api_key="any", max_retries=0) as made:
        yield made
