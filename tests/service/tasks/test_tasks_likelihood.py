"""Mode `likelihood`: choice and closed-set tasks answered by how probable each option is."""

from __future__ import annotations

import asyncio
import dataclasses
import math
from collections.abc import AsyncIterator, Sequence
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from lamm_model.conversation import Modality
from service.answer.likelihood import OptionScore
from service.engine.base import (
    EncodedMedium,
    GenerationChunk,
    GenerationRequest,
    RequestTimings,
)
from service.tasks import outcome as task_outcome
from service.tasks.options import option_logprobs_of
from tests.service.chat_requests import cloud, image, png

URL = "/v1/tasks"
pytestmark = pytest.mark.asyncio(loop_scope="module")

QUESTION = {"question": "Which colour?", "choices": ["red", "green", "blue"]}


def body(**more: Any) -> dict[str, Any]:
    picture = image(png(40, 20))["image_url"]
    return {"image_url": picture, "inputs": QUESTION, "mode": "likelihood", **more}


class Scorer:
    """Stands for `option_logprobs`; keeps what it was asked."""

    def __init__(self, *scores: OptionScore) -> None:
        self.scores = scores
        self.asked: list[Any] = []
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
        return list(self.scores)


async def test_the_most_probable_option_is_the_answer(
    client: httpx.AsyncClient, app: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    # In pairs: as training writes it, and the option's own words.
    scorer = Scorer(
        OptionScore(-6.0, 6), OptionScore(-6.0, 2), OptionScore(-30.0, 6), OptionScore(-2.0, 2),
        OptionScore(-3.0, 12), OptionScore(-30.0, 2),
    )  # fmt: skip
    monkeypatch.setattr(task_outcome, "option_logprobs", scorer)
    response = await client.post(f"{URL}/vqa_choice", json=body())
    assert response.status_code == 200, response.text
    answer = response.json()
    assert (answer["answer"], answer["parse_status"]) == ({"choice": 1}, "ok")
    assert (answer["mode"], answer["text"]) == ("likelihood", "green")
    assert answer["finish_reason"] is None
    options = answer["options"]
    assert [one["option"] for one in options] == QUESTION["choices"]
    # Ranked by the sums, not by the means: the third has the least mean.
    sums = [math.log(2) - 6, -2.0, -3.0]
    assert [one["logprob"] for one in options] == pytest.approx(sums)
    assert [one["mean_logprob"] for one in options] == pytest.approx([-1, -1, -0.25])
    assert sum(one["probability"] for one in options) == pytest.approx(1)
    total = sum(map(math.exp, sums))
    assert options[1]["probability"] == pytest.approx(math.exp(-2) / total)
    assert [one["num_tokens"] for one in options] == [6, 2, 12]
    usage = answer["usage"]
    assert scorer.request is not None
    assert usage["prompt_tokens"] == usage["total_tokens"] == len(scorer.request.prompt_token_ids)
    assert usage["completion_tokens"] == 0
    # Each is scored as a chunk of its own, as training tokenises answers.
    tokenizer = app.state.services.models.get("tiny-lamm").processor.tokenizer
    assert scorer.asked[2:4] == [
        tuple(tokenizer.encode("The answer is (B)")), tuple(tokenizer.encode("green")),
    ]  # fmt: skip
    assert "score;dur=" in response.headers["server-timing"]


async def test_each_medium_that_an_option_had_encoded_is_reported(
    client: httpx.AsyncClient, app: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded = (EncodedMedium(Modality.IMAGE, 0.5), EncodedMedium(Modality.IMAGE, 0.25))
    first = OptionScore(-1.0, 1, RequestTimings(encode=9.0, encoded_media=encoded))
    rest = OptionScore(-2.0, 1, RequestTimings(encode=9.0))
    monkeypatch.setattr(task_outcome, "option_logprobs", Scorer(first, *[rest] * 5))
    reported: list[tuple[Modality, float]] = []
    metrics = app.state.services.models.get("tiny-lamm").metrics
    monkeypatch.setattr(metrics, "media_encoded", lambda *told: reported.append(told))
    assert (await client.post(f"{URL}/vqa_choice", json=body())).status_code == 200
    assert reported == [(Modality.IMAGE, 0.5), (Modality.IMAGE, 0.25)]


async def test_impossible_options_are_finite(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    none = OptionScore(float("-inf"), 3)
    scorer = Scorer(*[none] * 5, OptionScore(-1.0, 3))
    monkeypatch.setattr(task_outcome, "option_logprobs", scorer)
    answer = (await client.post(f"{URL}/vqa_choice", json=body())).json()
    assert answer["answer"] == {"choice": 2}
    assert [one["logprob"] for one in answer["options"]] == [-9999.0, -9999.0, -1.0]
    assert [one["probability"] for one in answer["options"]] == [0.0, 0.0, 1.0]


@pytest.mark.parametrize(
    ("task", "inputs", "key", "names"),
    [
        ("vqa_choice", QUESTION, "choice", [0, 1, 2]),
        ("classification", {"labels": ["cat", "dog"]}, "label", ["cat", "dog"]),
        ("facial_hair", {}, "label", ["black", "blond", "brown", "gray"]),
        ("facial_smile", {}, "smiling", [True, False]),
    ],
)
async def test_tasks_with_closed_sets(
    client: httpx.AsyncClient, task: str, inputs: dict[str, Any], key: str, names: list[Any]
) -> None:
    """Through the engine; twice the same is answered twice alike."""
    first = (await client.post(f"{URL}/{task}", json=body(inputs=inputs, overlay="png"))).json()
    second = (await client.post(f"{URL}/{task}", json=body(inputs=inputs))).json()
    assert first["answer"] == second["answer"]
    assert first["options"] == second["options"]
    scores = [one["logprob"] for one in first["options"]]
    assert first["answer"] == {key: names[scores.index(max(scores))]}
    assert all(one["num_tokens"] > 0 for one in first["options"])
    assert first["overlay"].startswith("data:image/png;base64,")


async def test_a_choice_of_blank_words_is_scored_by_its_letter(client: httpx.AsyncClient) -> None:
    inputs = {"question": "Which?", "choices": ["", "red", " \n"]}
    response = await client.post(f"{URL}/vqa_choice", json=body(inputs=inputs))
    assert response.status_code == 200, response.text
    assert [one["option"] for one in response.json()["options"]] == inputs["choices"]


async def test_a_cloud_s_question(client: httpx.AsyncClient) -> None:
    asked = {
        "point_cloud_url": cloud()["point_cloud_url"], "inputs": QUESTION, "mode": "likelihood"
    }  # fmt: skip
    answer = (await client.post(f"{URL}/vqa_choice_3d", json=asked)).json()
    assert len(answer["options"]) == 3
    assert answer["media"]["modality"] == "point_cloud"


async def test_scoring_is_in_the_request_metrics(client: httpx.AsyncClient) -> None:
    async def finished() -> float:
        lines = (await client.get("/metrics")).text.splitlines()
        name = 'lamm:request_success_total{finished_reason="stop",model_name="tiny-lamm"}'
        return next(float(line.split()[-1]) for line in lines if line.startswith(name))

    before = await finished()
    assert (await client.post(f"{URL}/vqa_choice", json=body())).status_code == 200
    assert await finished() == before + 1


async def test_a_question_that_waits_too_long_for_its_first_score(
    client: httpx.AsyncClient, app: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = app.state.services.engines[0].engine
    closed = asyncio.Event()

    async def never(_: GenerationRequest) -> AsyncIterator[GenerationChunk]:
        try:
            await asyncio.sleep(60)
            yield GenerationChunk("", ())
        finally:
            closed.set()

    services = dataclasses.replace(
        app.state.services,
        timeouts=dataclasses.replace(app.state.services.timeouts, queue_s=0.05),
    )
    monkeypatch.setattr(app.state, "services", services)
    monkeypatch.setattr(engine, "generate", never)
    refused = await client.post(f"{URL}/vqa_choice", json=body())
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1"), refused.text
    assert refused.json()["error"]["code"] == "queue_timeout"
    assert closed.is_set()
    metrics = (await client.get("/metrics")).text
    rejected = 'lamm:admission_rejections_total{model_name="tiny-lamm",reason="queue_timeout"} 1.0'
    assert rejected in metrics


async def test_options_that_begin_alike_share_what_they_begin_with() -> None:
    logprobs: dict[tuple[int, ...], float] = {(1,): math.log(0.5), (2,): math.log(0.25)}
    found = option_logprobs_of([[(1,)], [(1,), (2,)]], logprobs)
    assert found == pytest.approx([math.log(0.25), math.log(0.5)])
