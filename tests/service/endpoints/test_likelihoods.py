"""`POST /v1/likelihoods`: how probable given answers are after a chat prompt."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from service.answer import likelihoods as answer
from service.answer.likelihood import OptionScore
from service.engine.base import GenerationRequest
from tests.service.chat_requests import cloud, image, png

URL = "/v1/likelihoods"
CHEF = Path(__file__).parents[2] / "benchmark" / "protocols" / "chef_values.json"
RECORDED: list[dict[str, Any]] = json.loads(CHEF.read_text())["ppl"]
pytestmark = pytest.mark.asyncio(loop_scope="module")


def body(**more: Any) -> dict[str, Any]:
    text = {"type": "text", "text": "What is it?"}
    message = {"role": "user", "content": [image(png(40, 20)), text]}
    return {
        "model": "tiny-lamm",
        "messages": [message],
        "prefix": "The answer is ",
        "continuations": ["(A", "a red dog"],
        **more,
    }


class Scorer:
    """Stands for `option_logprobs`: token n of an answer has the log-probability -n."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, ...]] = []
        self.request: GenerationRequest | None = None

    async def __call__(
        self,
        engine: Any,
        request: GenerationRequest,
        options: Sequence[tuple[int, ...]],
        *,
        queue_timeout_s: float | None,
    ) -> list[OptionScore]:
        assert queue_timeout_s is not None
        self.request, self.asked = request, list(options)
        each = [tuple(-float(n) for n in range(1, len(ids) + 1)) for ids in options]
        return [OptionScore(sum(values), len(values), logprobs=values) for values in each]


@pytest.fixture
def scorer(monkeypatch: pytest.MonkeyPatch) -> Scorer:
    found = Scorer()
    monkeypatch.setattr(answer, "option_logprobs", found)
    return found


async def test_the_tokens_of_the_continuation_alone_are_scored(
    client: httpx.AsyncClient, app: FastAPI, scorer: Scorer
) -> None:
    response = await client.post(URL, json=body())
    assert response.status_code == 200, response.text
    tokenizer = app.state.services.models.get("tiny-lamm").tokenizer
    whole = [tuple(tokenizer.encode(f"The answer is {text}")) for text in ("(A", "a red dog")]
    own = [tokenizer.encode(text) for text in ("(A", "a red dog")]
    assert scorer.asked == whole
    assert [len(a) > len(b) for a, b in zip(whole, own, strict=True)] == [True, True]
    data = response.json()["data"]
    for index, (ids, tail) in enumerate(zip(whole, own, strict=True)):
        values = [-float(n) for n in range(len(ids) - len(tail) + 1, len(ids) + 1)]
        assert data[index]["index"] == index
        assert data[index]["logprob"] == pytest.approx(sum(values))
        assert data[index]["mean_logprob"] == pytest.approx(sum(values) / len(tail))
        assert data[index]["num_tokens"] == len(tail)
        assert [token["logprob"] for token in data[index]["tokens"]] == values
        spelled = "".join(token["token"] for token in data[index]["tokens"])
        assert spelled.replace("Ġ", " ").strip() == data[index]["continuation"]


@pytest.mark.parametrize("recorded", RECORDED)
async def test_the_mean_is_the_score_of_chef(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, recorded: dict[str, Any]
) -> None:
    """`record_chef_values.py` recorded what ChEF's code makes of the same log-probabilities."""
    logprobs, own = tuple(recorded["logprobs"]), recorded["own"]

    async def score(_engine: Any, _request: Any, options: Any, **_: Any) -> list[OptionScore]:
        return [OptionScore(sum(logprobs), len(ids), logprobs=logprobs) for ids in options]

    # A token per word.
    monkeypatch.setattr(answer, "continuation_ids", lambda _, text: (0,) * len(text.split()))
    monkeypatch.setattr(answer, "option_logprobs", score)
    given = "word " * (len(logprobs) - own)
    response = await client.post(URL, json=body(prefix=given, continuations=["word " * own]))
    [found] = response.json()["data"]
    assert found["mean_logprob"] == pytest.approx(recorded["score"], abs=1e-6)
    assert found["num_tokens"] == own


async def test_the_prompt_is_that_of_chat_with_several_media(
    client: httpx.AsyncClient, scorer: Scorer
) -> None:
    content = [image(png(40, 20)), image(png(20, 20)), {"type": "text", "text": "Which?"}]
    messages = [{"role": "user", "content": content}]
    response = await client.post(URL, json=body(messages=messages))
    chat = {"model": "tiny-lamm", "messages": messages}
    counted = await client.post("/v1/chat/completions/estimate", json=chat)
    usage = response.json()["usage"]
    assert usage["prompt_tokens"] == counted.json()["prompt_tokens"]
    assert usage["completion_tokens"] == 0
    assert usage["prompt_tokens_details"]["image_tokens"] > 0
    assert scorer.request is not None
    assert len(scorer.request.media) == 2
    clouds = [{"role": "user", "content": [cloud(), {"type": "text", "text": "Which?"}]}]
    assert (await client.post(URL, json=body(messages=clouds))).status_code == 200


async def test_equal_continuations_are_scored_once(
    client: httpx.AsyncClient, scorer: Scorer
) -> None:
    response = await client.post(URL, json=body(continuations=["no", "yes", "no"]))
    assert len(scorer.asked) == 2
    first, _, last = response.json()["data"]
    assert (first["index"], last["index"]) == (0, 2)
    assert first["tokens"] == last["tokens"]


async def test_an_impossible_token_is_a_number_in_json(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def impossible(_engine: Any, _request: Any, options: Any, **_: Any) -> list[OptionScore]:
        none = float("-inf")
        return [OptionScore(none, len(ids), logprobs=(none,) * len(ids)) for ids in options]

    monkeypatch.setattr(answer, "option_logprobs", impossible)
    response = await client.post(URL, json=body(continuations=["no"]))
    assert response.json()["data"][0]["mean_logprob"] == -9999.0


@pytest.mark.parametrize(
    ("change", "param", "told"),
    [
        ({"continuations": []}, "continuations", "at least 1"),
        ({"continuations": [""]}, "continuations", "at least 1"),
        ({"continuations": ["x"] * 1001}, "continuations", "1000"),
        ({"continuations": ["x" * 4097]}, "continuations", "4096"),
        ({"messages": []}, "messages", "at least 1"),
        ({"max_tokens": 4}, "max_tokens", "not"),
    ],
)
async def test_what_cannot_be_scored_is_refused_by_name(
    client: httpx.AsyncClient, change: dict[str, Any], param: str, told: str
) -> None:
    response = await client.post(URL, json=body(**change))
    assert response.status_code in {400, 422}, response.text
    error = response.json()["error"]
    assert param in (error["param"] or "") or param in error["message"]
    assert told in error["message"]


async def test_a_continuation_that_merges_with_the_prefix_is_refused(
    client: httpx.AsyncClient, scorer: Scorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A token per word, so that "(A" is one.
    words = ["The", "answer", "is", "(", "A", "(A"]
    monkeypatch.setattr(
        answer, "continuation_ids", lambda _, text: tuple(map(words.index, text.split()))
    )
    merged = body(prefix="The answer is (", continuations=["A"])
    response = await client.post(URL, json=merged)
    error = response.json()["error"]
    assert (response.status_code, error["param"]) == (400, "continuations[0]")
    assert "'A', which has other tokens after the prefix 'The answer is ('" in error["message"]
    apart = body(prefix="The answer is ", continuations=["(A", "A"])
    assert (await client.post(URL, json=apart)).status_code == 200
    assert scorer.asked == [(0, 1, 2, 5), (0, 1, 2, 4)]


async def test_an_unknown_model_is_not_found(client: httpx.AsyncClient) -> None:
    assert (await client.post(URL, json=body(model="none"))).status_code == 404
