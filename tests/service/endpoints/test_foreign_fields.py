"""Fields of OpenAI's and vLLM's APIs: refused by name, harmless, or named as ignored."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from service.schemas.foreign import ForeignChatFields, ForeignFields
from tests.service.chat_requests import chat_body

URL = "/v1/chat/completions"
ROUTES: dict[str, dict[str, Any]] = {
    URL: chat_body(),
    "/v1/completions": {"model": "tiny-lamm", "prompt": "What"},
    "/v1/responses": {"model": "tiny-lamm", "input": "What"},
}
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.parametrize("path", ROUTES)
async def test_what_is_not_done_is_refused_by_name(client: httpx.AsyncClient, path: str) -> None:
    names = (ForeignChatFields if path == URL else ForeignFields).model_fields
    assert len(names) > 10
    for name in names:
        refused = await client.post(path, json={**ROUTES[path], name: ["x"]})
        assert refused.status_code == 400, name
        assert refused.json()["error"]["param"] == name
        assert f"{name} is not supported: " in refused.json()["error"]["message"]


async def test_harmless_values_are_accepted_and_not_named(client: httpx.AsyncClient) -> None:
    harmless = {
        "modalities": ["text"], "store": False, "best_of": 1, "guided_choice": None,
        "metadata": {"a": "b"}, "user": "u", "service_tier": "auto", "bad_words": [],
    }  # fmt: skip
    answer = await client.post(URL, json=chat_body(**harmless))  # type: ignore[arg-type]
    assert answer.status_code == 200, answer.text
    assert "x-lamm-ignored-fields" not in answer.headers


async def test_a_wish_to_store_is_told_that_nothing_is_stored(client: httpx.AsyncClient) -> None:
    answer = await client.post(URL, json=chat_body(store=True))
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-lamm-ignored-fields"] == "store"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", ROUTES)
async def test_ignored_fields_are_named_beside_the_answer(
    client: httpx.AsyncClient, path: str, stream: bool
) -> None:
    body = {**ROUTES[path], "stream": stream, "temprature": 1, "a,\r\nb\u20ac": 2}
    answer = await client.post(path, json=body)
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-lamm-ignored-fields"] == "temprature, a???b?"
