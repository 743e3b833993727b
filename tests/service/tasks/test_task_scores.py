"""The scores of `/v1/tasks`: of answers and of places, calibrated or not."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import math
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from lamm_model.tasks.calibration import Calibration, CalibrationError, Curve, Scored, Suite
from service.app import create_app
from service.config.settings import Settings
from service.engine.base import FinishReason, GenerationChunk, GenerationRequest, TokenLogprob
from service.engine.echo_engine import EchoEngine
from service.engine.vllm.engine import VllmEngine
from tests.service.tasks.task_requests import URL, picture

pytestmark = pytest.mark.asyncio(loop_scope="module")

Tokens = list[tuple[str, float]]
Writes = Callable[[Tokens], list[GenerationRequest]]

TWO_DOGS: Tokens = [
    (" dog", -0.1), (" [", 0.0), ("0.10", -1.0), (", 0.20, 0.45, 0.60]", -1.0), (";", 0.0),
    (" dog", -0.1), (" [", 0.0), ("0.50", -3.0), (", 0.50, 1.05, 0.90]", -1.0), ("\n###", -0.5),
]  # fmt: skip


@pytest.fixture
def writes(engine: EchoEngine, monkeypatch: pytest.MonkeyPatch) -> Writes:
    """Sets the tokens that the engine writes, with their log-probabilities."""

    def write(tokens: Tokens) -> list[GenerationRequest]:
        requests: list[GenerationRequest] = []

        async def generate(request: GenerationRequest) -> AsyncIterator[GenerationChunk]:
            requests.append(request)
            for number, (piece, logprob) in enumerate(tokens, 1):
                told = (TokenLogprob(number, piece, logprob),)
                last = number == len(tokens)
                yield GenerationChunk(
                    text="" if piece.startswith("\n###") else piece,
                    logprobs=told if request.sampling_params.logprobs is not None else (),
                    finish_reason=FinishReason.STOP if last else None,
                    completion_tokens=number,
                )
                await asyncio.sleep(0)

        monkeypatch.setattr(engine, "generate", generate)
        return requests

    return write


async def answered(client: httpx.AsyncClient, task: str, body: dict[str, Any]) -> dict[str, Any]:
    response = await client.post(f"{URL}/{task}", json=body)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


async def test_each_place_has_the_log_probabilities_of_its_own_words(
    client: httpx.AsyncClient, writes: Writes
) -> None:
    writes(TWO_DOGS)
    answer = await answered(client, "detection", picture(labels=["dog", "cat"]))
    first, second = answer["scores"]
    # The second one was clipped, and keeps its tokens.
    assert [one["field"] for one in answer["clipped"]] == ["objects[1].bbox"]
    assert (first["path"], second["path"]) == ("objects[0].bbox", "objects[1].bbox")
    assert (first["logprob"], first["label_logprob"]) == pytest.approx((-2.0, -0.1))
    assert (second["logprob"], second["label_logprob"]) == pytest.approx((-4.0, -0.1))
    assert first["value"] == pytest.approx(math.exp(-0.1 - 2.0 / 4))
    assert not first["calibrated"]
    # Unlikely tokens give a lower score.
    assert second["value"] < first["value"]
    total = sum(logprob for _, logprob in TWO_DOGS)
    assert answer["score"] == {
        "value": pytest.approx(first["value"] * second["value"]), "calibrated": False,
        "logprob": pytest.approx(total),
    }  # fmt: skip
    # The typed answer has the fields that it had.
    assert set(answer["answer"]["objects"][0]) == {"label", "bbox", "bbox_normalized"}


async def test_a_place_left_out_gives_its_score_to_no_other(
    client: httpx.AsyncClient, writes: Writes
) -> None:
    writes([
        ("bird", -5.0), (" [0.1, 0.2, 0.3, 0.4];", -5.0), (" dog", -0.1),
        (" [0.1, 0.2, 0.3, 0.4]", -0.4),
    ])  # fmt: skip
    answer = await answered(client, "detection", picture(labels=["dog"]))
    [only] = answer["scores"]
    assert (only["path"], only["label_logprob"]) == ("objects[0].bbox", pytest.approx(-0.1))
    assert only["logprob"] == pytest.approx(-0.4)


async def test_the_thoughts_of_an_answer_are_no_part_of_its_places(
    client: httpx.AsyncClient, writes: Writes
) -> None:
    writes([
        ("<think>", -7.0), ("A dog [0.7, 0.7, 0.9, 0.9]?", -7.0), ("</think>", -7.0),
        ("\n\ndog", -0.1), (" [0.1, 0.2, 0.3, 0.4]", -0.4),
    ])  # fmt: skip
    answer = await answered(client, "detection", picture(labels=["dog"]))
    [only] = answer["scores"]
    assert (only["logprob"], only["label_logprob"]) == pytest.approx((-0.4, -0.1))


async def test_places_share_the_tokens_of_one_label(
    client: httpx.AsyncClient, writes: Writes
) -> None:
    writes([
        (" Two", -9.0), (" dogs", -0.2), (" at", -9.0), (" [10, 20, 30, 40]", -0.4),
        (" and", -9.0), (" [50, 60, 70, 80]", -0.8),
    ])  # fmt: skip
    answer = await answered(client, "detection", picture(labels=["dog"]))
    # Pixels or percent: the frame is guessed, the places are the same.
    assert answer["parse_status"] == "partial"
    labels = [one["label_logprob"] for one in answer["scores"]]
    assert labels == pytest.approx([-0.2, -0.2])
    assert [one["logprob"] for one in answer["scores"]] == pytest.approx([-0.4, -0.8])


async def test_an_answer_that_is_not_read_has_no_score(
    client: httpx.AsyncClient, writes: Writes
) -> None:
    writes([(" I", -0.1), (" see", -0.1), (" it", -0.1)])
    answer = await answered(client, "keypoints", picture(joint="right knee"))
    assert (answer["parse_status"], answer["score"], answer["scores"]) == ("unparsed", None, [])


async def test_an_answer_without_places_has_a_score(
    client: httpx.AsyncClient, writes: Writes
) -> None:
    writes([(" three", -0.25), (".", -0.05), ("\n###", 0.0)])
    answer = await answered(client, "counting", picture())
    assert answer["score"]["value"] == pytest.approx(math.exp(-0.3))
    assert answer["scores"] == []


async def test_likelihood_scores_are_the_share_of_the_best_option(
    client: httpx.AsyncClient,
) -> None:
    body = {**picture(labels=["dog", "cat"]), "mode": "likelihood"}
    answer = await answered(client, "classification", body)
    best = max(one["probability"] for one in answer["options"])
    assert answer["score"]["value"] == pytest.approx(best)
    assert answer["scores"] == []


async def test_an_engine_without_log_probabilities_of_a_form_gives_null(
    client: httpx.AsyncClient, engine: EchoEngine, writes: Writes, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not VllmEngine.grammar_logprobs
    pytest.importorskip("llguidance")
    requests = writes([(" [0.500, 0.500]", -0.25)])
    body = {**picture(joint="right knee"), "constrain": True}
    assert (await answered(client, "keypoints", body))["score"]["value"] < 1
    monkeypatch.setattr(type(engine), "grammar_logprobs", False)
    answer = await answered(client, "keypoints", body)
    assert answer["answer"]["point_normalized"] == [0.5, 0.5]
    assert (answer["score"], answer["scores"]) == (None, None)
    assert [one.sampling_params.logprobs for one in requests] == [0, None]


async def test_several_answers_and_streams_are_refused(client: httpx.AsyncClient) -> None:
    for field, value in (("n", 2), ("stream", True)):
        response = await client.post(f"{URL}/counting", json={**picture(), field: value})
        assert response.status_code == 400
        assert response.json()["error"]["param"] == field


def calibration(digest: str) -> Calibration:
    place = Curve(
        intercept=-2.0, weights={"logprob": 0.5, "label_log_surprisal": -1.0}, n=9, hits=5
    )
    whole = Curve(intercept=1.0, weights={"log_surprisal": -2.0}, n=9, hits=5)
    curves = {Scored.PLACE: place, Scored.ANSWER: whole}
    return Calibration(
        checkpoint=digest, fit=(Suite(name="mini", seed=1),), tasks={"detection": curves}
    )


async def test_a_calibration_beside_the_weights_is_used_where_it_holds(
    app: FastAPI, client: httpx.AsyncClient, writes: Writes, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = app.state.services.models
    model = dataclasses.replace(models.get("tiny-lamm"), calibration=calibration("any"))
    monkeypatch.setattr(models, "_by_name", {"tiny-lamm": model})
    writes(TWO_DOGS)
    body = picture(labels=["dog", "cat"])
    answer = await answered(client, "detection", body)
    logit = -2.0 + 0.5 * -2.0 - math.log(0.1)
    assert answer["scores"][0]["value"] == pytest.approx(1 / (1 + math.exp(-logit)))
    assert answer["scores"][0]["calibrated"]
    assert answer["score"]["calibrated"]
    # Sampled and biased answers, and tasks without a curve, are not calibrated.
    for changed in ({"temperature": 0.7}, {"logit_bias": {"5": 1.0}}, {"presence_penalty": 0.5}):
        answer = await answered(client, "detection", {**body, **changed})
        assert not answer["score"]["calibrated"]
        assert not answer["scores"][0]["calibrated"]
    assert not (await answered(client, "locating", body))["score"]["calibrated"]


async def test_the_file_of_another_checkpoint_is_refused(
    checkpoint: Path, settings: Settings, tmp_path: Path
) -> None:
    directory = tmp_path / "copied"
    shutil.copytree(checkpoint, directory)
    digest = json.loads((directory / "provenance.json").read_text())["digest"]
    file = directory / "calibration.json"
    file.write_text(calibration(digest).written())
    served = settings.model_copy(update={"checkpoint": [str(directory)]})
    engine = EchoEngine.__new__(EchoEngine)
    app = create_app(served, engine)
    assert app.state.services.models.get("copied").calibration == calibration(digest)
    file.write_text(calibration("f" * 64).written())
    with pytest.raises(CalibrationError, match=f"{'f' * 64}.*{digest}"):
        create_app(served, engine)
