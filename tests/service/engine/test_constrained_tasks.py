"""Tasks held to their form in the real engine: a model of random weights answers them all."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any

import pytest

from lamm_model.sampling_params import SamplingParams
from lamm_model.tasks import TASKS
from lamm_model.tasks.base import ParseStatus
from service.engine.base import FinishReason, GrammarKind, GrammarSource
from service.tasks.answer_grammar import form_of
from tests.service.engine.harness import EngineMaker, RequestMaker, collect

CASES: dict[str, dict[str, Any]] = {
    "vqa_choice": {"question": "What?", "choices": ("a chair", "a table", "a lamp")},
    "classification": {"labels": ("fox", "dog", "lazy dog")},
    "facial_smile": {},
    "counting": {},
    "keypoints": {"joint": "right knee"},
    "grounding_3d": {"description": "the chair"},
    "detection": {"labels": ("fox", "dog")},
}


@pytest.mark.parametrize("temperature", [0.0, 1.0])
async def test_random_weights_give_answers_that_parse(
    temperature: float,
    torch_engine: EngineMaker,
    make_request: RequestMaker,
) -> None:
    asked = []
    for name, inputs in CASES.items():
        given = TASKS[name].inputs_model.model_validate(inputs)
        request = dataclasses.replace(
            make_request(length=8),
            request_id=name,
            sampling_params=SamplingParams(max_tokens=220, temperature=temperature, seed=7),
            grammar=GrammarSource(GrammarKind.LARK, form_of(TASKS[name], given)),
        )
        asked.append((TASKS[name], given, request))
    async with torch_engine() as engine:
        answers = await asyncio.gather(*(collect(engine, request) for *_, request in asked))
    for (task, given, _), chunks in zip(asked, answers, strict=True):
        text = "".join(chunk.text for chunk in chunks)
        if chunks[-1].finish_reason is FinishReason.LENGTH:
            assert task.name == "detection", "a list alone has no end"
            text = text.rpartition("; ")[0]
        assert task.parse(text.strip(), given).status is ParseStatus.OK, text
