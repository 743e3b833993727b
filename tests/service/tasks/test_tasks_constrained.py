"""`constrain: true` on `/v1/tasks`: whatever a model would say, its answer is read back whole."""

from __future__ import annotations

import random
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from lamm_model.tasks import TASKS
from lamm_model.tasks.base import ParseStatus
from lamm_model.tokenizer import LammTokenizer
from service.engine.base import (
    FinishReason,
    GenerationChunk,
    GenerationRequest,
    GrammarKind,
    GrammarSource,
)
from service.engine.grammar.compiler import GrammarCompiler
from service.engine.grammar.state import Grammar
from service.exceptions import RequestError
from service.tasks.answer_grammar import form_of
from tests.service.chat_requests import REPLY
from tests.service.tasks.task_requests import URL, picture, points

pytestmark = pytest.mark.asyncio(loop_scope="module")

EOS = 2
MAX_TOKENS = 400
LABELS = ("coat", "t-shirt", "bus stop", "bus", "müsli / 50 %", 'it\'s a \\ "b"?')
CHOICES = ("a red chair", "A", "none of (B) and (C)", "42")
CASES: list[tuple[str, dict[str, Any]]] = [
    ("vqa_choice", {"question": "What is it?", "choices": CHOICES}),
    ("vqa_choice_3d", {"question": "What is it?", "choices": CHOICES[:2]}),
    ("classification", {"labels": LABELS}),
    ("classification_3d", {"labels": LABELS[:2]}),
    ("fine_grained_classification", {}),
    ("facial_hair", {}),
    ("facial_hair", {"labels": ("red", "green")}),
    ("facial_smile", {}),
    ("counting", {"noun": "chairs"}),
    ("keypoints", {"joint": "right knee"}),
    ("grounding_3d", {"description": "the chair"}),
    ("detection", {"labels": LABELS}),
    ("locating", {"labels": LABELS}),
    ("detection_3d", {"labels": LABELS}),
]
CASES += [
    (name, dict(task.example))
    for name, task in TASKS.items()
    if task.has_form and name not in dict(CASES)
]


@pytest.fixture(scope="module")
def tokenizer(checkpoint: Path) -> LammTokenizer:
    return LammTokenizer.from_pretrained(checkpoint)


@pytest.fixture(scope="module")
def compiler(tokenizer: LammTokenizer) -> GrammarCompiler:
    return GrammarCompiler(tokenizer, tokenizer.vocab_size, [EOS])


def random_tokens(grammar: Grammar, seed: int) -> list[int]:
    """What a model without any sense writes: any token that the grammar allows, to its end."""
    state, chosen, draw = grammar.start(), list[int](), random.Random(seed)
    for _ in range(MAX_TOKENS):
        allowed = [token for token, may in enumerate(state.allowed(chosen)) if may]
        # A list has no end by itself.
        token = EOS if EOS in allowed and len(chosen) > 60 else draw.choice(allowed)
        if token == EOS:
            return chosen
        chosen.append(token)
    raise AssertionError(f"no end after {MAX_TOKENS} tokens")


@pytest.mark.parametrize(("name", "inputs"), CASES, ids=[name for name, _ in CASES])
async def test_any_text_of_a_form_is_read_back_whole(
    name: str, inputs: dict[str, Any], tokenizer: LammTokenizer, compiler: GrammarCompiler
) -> None:
    task = TASKS[name]
    given = task.inputs_model.model_validate(inputs)
    grammar = compiler.compile(GrammarSource(GrammarKind.LARK, form_of(task, given)))
    texts = set()
    for seed in range(20):
        text = tokenizer.decode(random_tokens(grammar, seed)).strip()
        read = task.parse(text, given)
        assert read.status is ParseStatus.OK, text
        again = task.parse(task.render(read.answer, given), given)
        assert again.answer == read.answer
        texts.add(text)
    assert len(texts) > 1


async def test_a_model_may_end_its_answer_as_it_was_trained_to(
    tokenizer: LammTokenizer, compiler: GrammarCompiler
) -> None:
    """Without a way to say so, one whose answers end in "3.\\n###" would write further digits."""
    given = TASKS["counting"].inputs_model()
    for end in (".\n###", "\n###", "###", "."):
        form = form_of(TASKS["counting"], given, ("###",))
        state = compiler.compile(GrammarSource(GrammarKind.LARK, form)).start()
        said: list[int] = []
        for token in tokenizer.encode(f"3{end}"):
            assert state.allowed(said)[token], f"{end!r} after {tokenizer.decode(said)!r}"
            said.append(token)
        assert state.allowed(said)[EOS]


async def test_which_tasks_have_a_form(client: httpx.AsyncClient) -> None:
    assert not any(TASKS[name].has_form for name in ("ocr", "ocr_words", "vqa", "caption"))
    listed = (await client.get(URL)).json()["data"]
    assert {card["name"] for card in listed if card["constrain"]} == {name for name, _ in CASES}


@pytest.mark.parametrize("name", ["classification", "detection", "locating", "detection_3d"])
async def test_words_of_the_models_own_have_none(name: str) -> None:
    with pytest.raises(RequestError, match=r"give a closed set in inputs\.labels"):
        form_of(TASKS[name], TASKS[name].inputs_model())


async def test_a_label_that_reads_as_a_place_is_refused() -> None:
    inputs = TASKS["detection"].inputs_model(labels=("coat", "bag [big]"))
    with pytest.raises(RequestError, match="'bag \\[big\\]' has a bracket") as caught:
        form_of(TASKS["detection"], inputs)
    assert caught.value.param == "inputs.labels"


@pytest.fixture
def senseless(
    app: FastAPI,
    tokenizer: LammTokenizer,
    compiler: GrammarCompiler,
    monkeypatch: pytest.MonkeyPatch,
) -> list[GenerationRequest]:
    """The engine says anything that a request's grammar allows; what reached it is in the list."""
    requests: list[GenerationRequest] = []
    engine = app.state.services.engines[0].engine

    async def generate(request: GenerationRequest) -> AsyncIterator[GenerationChunk]:
        requests.append(request)
        text = REPLY
        if request.grammar is not None:
            text = tokenizer.decode(random_tokens(compiler.compile(request.grammar), 1))
        yield GenerationChunk(text, finish_reason=FinishReason.STOP, completion_tokens=1)

    monkeypatch.setattr(engine, "generate", generate)
    return requests


async def test_a_constrained_answer_over_http(
    client: httpx.AsyncClient, senseless: list[GenerationRequest]
) -> None:
    body = {**picture(labels=["coat", "bag"]), "overlay": "png"}
    free = (await client.post(f"{URL}/detection", json=body)).json()
    assert free["parse_status"] == "unparsed"
    assert senseless.pop().grammar is None
    response = await client.post(f"{URL}/detection", json={**body, "constrain": True})
    assert response.status_code == 200, response.text
    answer = response.json()
    assert answer["parse_status"] == "ok"
    assert answer["overlay"] or not answer["answer"]["objects"]
    assert (answer["clipped"], answer["dropped"]) == ([], [])
    again = (await client.post(f"{URL}/detection", json={**body, "constrain": True})).json()
    assert again["text"] == answer["text"]
    first, second = senseless
    assert "###" in first.sampling_params.stop, "the preset's end of an answer still ends it"
    assert first.grammar == second.grammar


async def test_as_a_form_and_of_a_cloud(
    client: httpx.AsyncClient, senseless: list[GenerationRequest]
) -> None:
    body = {**points(), "inputs": {"description": "the chair"}, "constrain": True}
    answer = (await client.post(f"{URL}/grounding_3d", json=body)).json()
    assert answer["parse_status"] == "ok"
    form = await client.post(
        f"{URL}/counting",
        files={"file": ("a.png", b"")},
        data={"constrain": "maybe"},
    )
    assert (form.status_code, form.json()["error"]["param"]) == (400, "constrain")


@pytest.mark.parametrize(
    ("task", "more", "words"),
    [
        ("caption", {}, "constrain must be"),
        ("detection", {}, "give a closed set in inputs.labels"),
        ("facial_smile", {"mode": "likelihood"}, "generates no text"),
    ],
)
async def test_what_cannot_be_constrained(
    client: httpx.AsyncClient, task: str, more: dict[str, Any], words: str
) -> None:
    response = await client.post(f"{URL}/{task}", json={**picture(), "constrain": True, **more})
    assert response.status_code == 400, response.text
    error = response.json()["error"]
    assert words in error["message"]
    assert error["param"] == "constrain"


async def test_without_the_extra_it_says_so(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "llguidance", None)
    body = {**picture(labels=["a", "b"]), "constrain": True}
    error = (await client.post(f"{URL}/classification", json=body)).json()["error"]
    assert "constrain must be false: this server was installed without" in error["message"]
    assert (error["param"], error["code"]) == ("constrain", "unsupported_value")
