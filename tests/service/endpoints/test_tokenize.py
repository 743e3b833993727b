"""Counting without running: `/tokenize`, `/detokenize`, `/v1/chat/completions/estimate`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio

from service.config.settings import Settings
from tests.service.chat_requests import (
    CONTEXT,
    IMAGE_TOKENS,
    POINT_TOKENS,
    chat_body,
    cloud,
    image,
)
from tests.service.quick_app import quick_app

ESTIMATE = "/v1/chat/completions/estimate"
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    async with quick_app(settings) as (_, client):
        yield client


async def answer(client: httpx.AsyncClient, path: str, body: dict[str, Any]) -> dict[str, Any]:
    response = await client.post(path, json={"model": "tiny-lamm", **body})
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


@pytest.mark.parametrize("text", ["A red chair", "", " ", "</s> ### <Img>", "émile 🪑\n\n", "\x00"])
async def test_there_and_back(client: httpx.AsyncClient, text: str) -> None:
    there = await answer(client, "/tokenize", {"prompt": text, "return_token_strs": True})
    assert there["tokens"][0] == 1, "the token that begins a prompt"
    assert there["count"] == len(there["tokens"]) == len(there["token_strs"])
    assert there["max_model_len"] == CONTEXT
    back = await answer(client, "/detokenize", {"tokens": there["tokens"]})
    assert back == {"prompt": text}
    plain = await answer(client, "/tokenize", {"prompt": text, "add_special_tokens": False})
    assert plain["tokens"] == there["tokens"][1:]
    assert "token_strs" not in plain


@pytest.mark.parametrize(
    ("path", "body", "param", "words"),
    [
        ("/tokenize", {"prompt": 7}, "prompt", "must be a string"),
        ("/tokenize", {"prompt": "x" * ((1 << 20) + 1)}, "prompt", "at most 1048576 characters"),
        ("/tokenize", {"prompt": "x" * (1 << 20)}, "prompt", "has 1048576 characters, more than"),
        ("/detokenize", {"tokens": [1, 99999]}, "tokens", "the vocabulary has"),
        ("/detokenize", {"tokens": [-1]}, "tokens[0]", "at least 0; it is -1"),
        ("/detokenize", {"tokens": ["a"]}, "tokens[0]", "must be an integer"),
        ("/detokenize", {"tokens": None}, "tokens", "must be a list"),
    ],
)
async def test_what_cannot_be_counted(
    client: httpx.AsyncClient, path: str, body: dict[str, Any], param: str, words: str
) -> None:
    refused = await client.post(path, json={"model": "tiny-lamm", **body})
    error = refused.json()["error"]
    assert (refused.status_code, error["param"]) == (400, param)
    assert words in error["message"]


@pytest.mark.parametrize("path", ["/tokenize", "/detokenize", ESTIMATE])
async def test_the_model_must_be_one(client: httpx.AsyncClient, path: str) -> None:
    body = {"prompt": "a", "tokens": [], "messages": [{"role": "user", "content": "a"}]}
    refused = await client.post(path, json={**body, "model": "gpt-7"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (404, "model_not_found")


async def test_an_estimate_is_what_the_request_then_takes(client: httpx.AsyncClient) -> None:
    expected = await answer(client, ESTIMATE, chat_body(max_tokens=20))
    usage = (await answer(client, "/v1/chat/completions", chat_body()))["usage"]
    assert expected["prompt_tokens"] == usage["prompt_tokens"]
    assert (expected["max_tokens"], expected["fits"]) == (20, True)
    assert expected["max_model_len"] == CONTEXT


async def test_an_estimate_by_modality(client: httpx.AsyncClient) -> None:
    """Nothing is decoded for it: what is sent here is no picture."""
    text = await answer(client, ESTIMATE, chat_body())
    both = await answer(client, ESTIMATE, chat_body(image(b"not decoded"), cloud()))
    details = both["prompt_tokens_details"]
    assert details["image_tokens"] == IMAGE_TOKENS
    assert details["point_cloud_tokens"] == POINT_TOKENS
    assert details["text_tokens"] > text["prompt_tokens"], "the media have tags around them"
    assert sum(details.values()) == both["prompt_tokens"]


async def test_an_estimate_says_what_does_not_fit(client: httpx.AsyncClient) -> None:
    full = await answer(client, ESTIMATE, chat_body(text="one " * 100, max_tokens=20))
    assert full["prompt_tokens"] > CONTEXT
    assert not full["fits"]
    long = await answer(client, ESTIMATE, chat_body(max_tokens=CONTEXT))
    assert not long["fits"]
    default = await answer(client, ESTIMATE, chat_body())
    assert default["fits"]
    assert default["prompt_tokens"] + default["max_tokens"] == CONTEXT
    refused = await client.post(ESTIMATE, json=chat_body(text="x" * 1_000_000))
    assert refused.json()["error"]["code"] == "context_length_exceeded"
