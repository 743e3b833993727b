"""`POST /v1/completions`: OpenAI's text completions."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import openai
import pytest
import pytest_asyncio
from fastapi import FastAPI

from service.config.settings import Settings
from service.engine.base import GenerationRequest
from tests.service.chat_requests import CONTEXT, REPLY
from tests.service.local import BASE_URL
from tests.service.quick_app import quick_app, until_engine

URL = "/v1/completions"
WORDS = len(REPLY.split())
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(settings: Settings) -> AsyncIterator[tuple[FastAPI, httpx.AsyncClient]]:
    async with quick_app(settings) as served:
        yield served


@pytest.fixture
def client(served: tuple[FastAPI, httpx.AsyncClient]) -> httpx.AsyncClient:
    return served[1]


@pytest.fixture
def requests(
    served: tuple[FastAPI, httpx.AsyncClient], monkeypatch: pytest.MonkeyPatch
) -> list[GenerationRequest]:
    """What reaches the engine."""
    engine = served[0].state.services.engines[0].engine
    generate, seen = engine.generate, []

    def record(request: GenerationRequest) -> Any:
        seen.append(request)
        return generate(request)

    monkeypatch.setattr(engine, "generate", record)
    return seen


def body(prompt: Any = "Once upon", **more: Any) -> dict[str, Any]:
    return {"model": "tiny-lamm", "prompt": prompt, **more}


async def stream(client: httpx.AsyncClient, sent: dict[str, Any]) -> list[Any]:
    response = await client.post(URL, json={**sent, "stream": True})
    assert response.headers["content-type"].startswith("text/event-stream")
    blocks = [block for block in response.text.split("\n\n") if block.startswith("data: ")]
    assert blocks[-1] == "data: [DONE]"
    return [json.loads(block.removeprefix("data: ")) for block in blocks[:-1]]


async def test_a_body(client: httpx.AsyncClient, requests: list[GenerationRequest]) -> None:
    response = await client.post(URL, json=body(temperature=0.5, seed=4))
    assert response.status_code == 200, response.text
    answer = response.json()
    assert answer["object"] == "text_completion"
    assert answer["id"].startswith("cmpl-")
    assert answer["choices"] == [
        {"index": 0, "text": REPLY, "logprobs": None, "finish_reason": "stop"}
    ]
    tokens = await client.post("/tokenize", json=body())
    [request] = requests
    assert list(request.prompt_token_ids) == tokens.json()["tokens"]
    assert request.sampling_params.temperature == 0.5
    assert request.sampling_params.stop == (), "a text has no turns that would end it"
    usage = answer["usage"]
    assert usage["prompt_tokens"] == tokens.json()["count"]
    assert usage["completion_tokens"] == WORDS
    assert response.headers["server-timing"].startswith("fetch;dur=")


@pytest.mark.parametrize(
    "more", [{}, {"max_tokens": 3}, {"stop": "chair"}, {"n": 2}, {"logprobs": 1}]
)
async def test_a_stream_says_what_a_body_says(
    client: httpx.AsyncClient, more: dict[str, Any]
) -> None:
    whole = (await client.post(URL, json=body(**more))).json()
    chunks = await stream(client, body(**more, stream_options={"include_usage": True}))
    *chunks, last = chunks
    assert (last["choices"], last["usage"]) == ([], whole["usage"])
    assert {chunk["object"] for chunk in chunks} == {"text_completion"}
    for choice in whole["choices"]:
        mine = [c["choices"][0] for c in chunks if c["choices"][0]["index"] == choice["index"]]
        assert "".join(one["text"] for one in mine) == choice["text"]
        assert mine[-1]["finish_reason"] == choice["finish_reason"]
        assert all(one["finish_reason"] is None for one in mine[:-1])
        if "logprobs" in more:
            tokens = [
                token for one in mine if one["logprobs"] for token in one["logprobs"]["tokens"]
            ]
            assert tokens == choice["logprobs"]["tokens"]
            offsets = [
                at for one in mine if one["logprobs"] for at in one["logprobs"]["text_offset"]
            ]
            assert offsets == choice["logprobs"]["text_offset"]


async def test_logprobs(client: httpx.AsyncClient) -> None:
    [choice] = (await client.post(URL, json=body(logprobs=0))).json()["choices"]
    found = choice["logprobs"]
    assert "".join(found["tokens"]) == REPLY
    assert found["text_offset"][:3] == [0, 1, 5]
    assert found["token_logprobs"] == [0.0] * WORDS
    assert found["top_logprobs"] is None


async def test_several_prompts(
    client: httpx.AsyncClient, requests: list[GenerationRequest]
) -> None:
    sent = body(["One", "One", "Another one"], n=2, seed=7)
    answer = (await client.post(URL, json=sent)).json()
    assert [choice["index"] for choice in answer["choices"]] == list(range(6))
    lengths = [len(request.prompt_token_ids) for request in requests]
    assert lengths[0] == lengths[1] == lengths[2]
    assert answer["usage"]["prompt_tokens"] == sum(lengths[::2]), "each prompt once"
    assert [request.sampling_params.seed for request in requests] == [7, 8] * 3


@pytest.mark.parametrize(
    ("prompt", "expected"), [([1, 5, 9], [(1, 5, 9)]), ([[1, 5], [1, 6]], [(1, 5), (1, 6)])]
)
async def test_token_ids_are_taken_as_they_are(
    client: httpx.AsyncClient, requests: list[GenerationRequest], prompt: Any, expected: Any
) -> None:
    assert (await client.post(URL, json=body(prompt))).status_code == 200
    assert [request.prompt_token_ids for request in requests] == expected


async def test_text_that_spells_a_medium_or_a_turn_is_text(
    client: httpx.AsyncClient, requests: list[GenerationRequest]
) -> None:
    text = "<Img></Img>### Human: </s>"
    assert (await client.post(URL, json=body(text))).status_code == 200
    back = await client.post(
        "/detokenize", json={"model": "tiny-lamm", "tokens": requests[0].prompt_token_ids[1:]}
    )
    assert back.json() == {"prompt": text}
    assert max(requests[0].prompt_token_ids) < 400, "no placeholder"


@pytest.mark.parametrize(
    ("sent", "param", "words"),
    [
        (body({"a": 1}), "prompt", "text, a list of texts, or token ids"),
        (body([]), "prompt", "at least 1"),
        (body(["a"] * 9), "prompt", "at most 8 entries"),
        (body([1, "a"]), "prompt[1]", "must be an integer"),
        (body(["a", 1]), "prompt[1]", "must be a string"),
        (body([[1, -2]]), "prompt[0][1]", "at least 0"),
        (body([[]]), "prompt[0]", "at least 1"),
        (body([99999]), "prompt", "the vocabulary has"),
        (body(echo=True), "echo", "not supported"),
        (body(suffix="."), "suffix", "not supported"),
        (body(best_of=3), "best_of", "best_of is 3, but n is 1"),
        (body(logprobs=21), "logprobs", "at most 20"),
        (body(stream_options={}), "stream_options", "stream is not true"),
        (body(max_tokens=CONTEXT), "prompt", f"maximum context length is {CONTEXT}"),
        (body("one " * 200), "prompt", "the answer needs more"),
        (body(["a", "x" * 100_000]), "prompt", "prompt has 100000 characters"),
        (body(stop_token_ids=[99999]), "stop_token_ids", "not in the vocabulary"),
    ],
)
async def test_what_is_refused(
    client: httpx.AsyncClient, sent: dict[str, Any], param: str, words: str
) -> None:
    refused = await client.post(URL, json=sent)
    error = refused.json()["error"]
    assert (refused.status_code, error["param"]) == (400, param), error
    assert words in error["message"]


async def test_a_client_that_leaves_ends_it(settings: Settings) -> None:
    async with quick_app(settings, delay=0.2) as (app, client):
        asking = asyncio.create_task(client.post(URL, json=body(ignore_eos=True, max_tokens=200)))
        await until_engine(app, running=1)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        await until_engine(app, running=0)
        assert app.state.services.lifecycle.in_flight == 0


async def test_the_openai_sdk(client: httpx.AsyncClient) -> None:
    sdk = openai.AsyncOpenAI(
        base_url=f"{BASE_URL}/v1",
        api_key="none",
        http_client=client,  # type: ignore[arg-type] # of httpx2 in its types
        max_retries=0,
    )
    answer = await sdk.completions.create(model="tiny-lamm", prompt=["a", "b"], logprobs=1)
    assert [choice.text for choice in answer.choices] == [REPLY] * 2
    assert answer.choices[0].logprobs is not None
    assert answer.choices[0].logprobs.text_offset is not None
    stream = await sdk.completions.create(model="tiny-lamm", prompt="a", stream=True)
    assert "".join([c.choices[0].text async for c in stream]) == REPLY
    with pytest.raises(openai.BadRequestError, match="echo is not supported"):
        await sdk.completions.create(model="tiny-lamm", prompt="a", echo=True)
