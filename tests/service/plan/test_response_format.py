"""`response_format` over HTTP: what is refused and why, before anything runs."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest

from lamm_model.tokenizer import LammTokenizer
from service.engine.base import GrammarSource
from service.engine.grammar.compiler import GrammarCompiler
from service.engine.grammar.state import Grammar
from service.exceptions import OverloadedError, RequestError
from service.plan.grammar_options import AnswerForm, read_answer_form
from service.plan.schema_options import MAX_SCHEMA_BYTES
from service.schemas.openai import ChatCompletionRequest
from tests.service.chat_requests import chat_body

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def tokenizer(checkpoint: Path) -> LammTokenizer:
    return LammTokenizer.from_pretrained(checkpoint)


OBJECT = {"type": "object", "properties": {"count": {"type": "integer"}}, "required": ["count"]}


def _wants(schema: Any, **more: Any) -> dict[str, Any]:
    wanted = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
    return chat_body(response_format=wanted, **more)


async def _refusal(client: httpx.AsyncClient, body: dict[str, Any]) -> dict[str, Any]:
    response = await client.post("/v1/chat/completions", json=body)
    assert response.status_code == 400, response.text
    error: dict[str, Any] = response.json()["error"]
    return error


@pytest.mark.parametrize(
    "wanted",
    [
        {"type": "text"},
        {"type": "json_object"},
        {"type": "json_schema", "json_schema": {"name": "answer", "schema": OBJECT}},
        {"type": "json_schema", "json_schema": {"name": "answer", "strict": True}},
    ],
)
async def test_every_format_is_taken(client: httpx.AsyncClient, wanted: dict[str, Any]) -> None:
    response = await client.post("/v1/chat/completions", json=chat_body(response_format=wanted))
    assert response.status_code == 200, response.text


async def test_an_unsupported_schema_is_refused_with_its_keyword(client: httpx.AsyncClient) -> None:
    error = await _refusal(client, _wants({"not": {"type": "string"}}))
    assert error["message"] == (
        "the JSON schema is not supported at response_format.json_schema.schema/not: "
        "unsupported keywords: not"
    )
    assert error["param"] == "response_format.json_schema.schema"
    assert error["code"] == "unsupported_schema"


async def test_a_large_schema_is_refused_before_it_is_compiled(client: httpx.AsyncClient) -> None:
    error = await _refusal(client, _wants({"enum": ["x" * MAX_SCHEMA_BYTES]}))
    assert f"the limit is {MAX_SCHEMA_BYTES}" in error["message"]
    assert len(error["message"]) < 200


async def test_a_deep_schema_is_refused_or_compiled_but_never_a_failure(
    client: httpx.AsyncClient,
) -> None:
    schema: dict[str, Any] = {"type": "integer"}
    for _ in range(150):
        schema = {"type": "array", "items": schema}
    response = await client.post("/v1/chat/completions", json=_wants(schema))
    assert response.status_code in (200, 400), response.text


@pytest.mark.parametrize("field", [{"ignore_eos": True}, {"min_tokens": 3}])
async def test_what_contradicts_an_end_is_refused(
    client: httpx.AsyncClient, field: dict[str, Any]
) -> None:
    error = await _refusal(client, _wants(OBJECT, **field))
    assert error["param"] == next(iter(field))


def _bounded(maximum: int) -> ChatCompletionRequest:
    return ChatCompletionRequest(**_wants({"type": "integer", "maximum": maximum}))


async def test_a_schema_is_compiled_once(tokenizer: LammTokenizer) -> None:
    compiler = GrammarCompiler(tokenizer, 400, [2])
    first, second = [(await read_answer_form(_bounded(12), compiler)).grammar for _ in range(2)]
    assert first is not None
    assert second == first
    assert await compiler.get(first) is await compiler.get(second)
    assert compiler.compiled_total == 1


async def test_a_slow_schema_is_given_up(tokenizer: LammTokenizer) -> None:
    compiler = GrammarCompiler(tokenizer, 400, [2], timeout_s=0.0)
    with pytest.raises(RequestError, match="takes longer than 0 s"):
        await read_answer_form(_bounded(13), compiler)


async def test_without_the_extra_it_says_so(
    tokenizer: LammTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "llguidance", None)
    with pytest.raises(RequestError, match="extra `grammar`"):
        await read_answer_form(_bounded(14), GrammarCompiler(tokenizer, 400, [2]))


async def test_the_schema_s_own_text_is_no_part_of_the_refusal(client: httpx.AsyncClient) -> None:
    error = await _refusal(client, _wants({"$ref": "file:///etc/passwd"}))
    assert "passwd" not in json.dumps(error)


@pytest.mark.parametrize(
    ("schema", "states"),
    [
        ({"type": "integer", "multipleOf": 999983}, "999983"),
        ({"type": "number", "multipleOf": 999.983}, "999983"),
        (
            {"type": "array", "items": {"allOf": [{"multipleOf": 9973}, {"multipleOf": 11}]}},
            "109703",
        ),
        ({"properties": {name: {"multipleOf": 101} for name in map(str, range(100))}}, "10100"),
        ({"type": "number", "multipleOf": 1e300}, "over 10^15"),
    ],
)
async def test_large_multiples_are_refused_before_they_are_compiled(
    client: httpx.AsyncClient, schema: dict[str, Any], states: str
) -> None:
    error = await _refusal(client, _wants(schema))
    assert f"its multipleOf values need {states} states " in error["message"]
    assert "the limit is 10000" in error["message"]


@pytest.mark.parametrize("step", [5, 5000.0, 0.01, 2.5])
async def test_customary_multiples_are_taken(client: httpx.AsyncClient, step: float) -> None:
    schema = {"type": "number", "multipleOf": step}
    response = await client.post("/v1/chat/completions", json=_wants(schema))
    assert response.status_code == 200, response.text


class _SlowCompiler(GrammarCompiler):
    """Compiles once `go` is set."""

    def __init__(self, tokenizer: LammTokenizer, **timeouts: float) -> None:
        super().__init__(tokenizer, 400, [2], **timeouts)
        self.go = threading.Event()

    def compile(self, source: GrammarSource) -> Grammar:
        self.go.wait(30)
        return super().compile(source)


async def test_what_was_given_up_keeps_its_turn_and_others_are_told_to_come_back(
    tokenizer: LammTokenizer,
) -> None:
    compiler = _SlowCompiler(tokenizer, timeout_s=0.05, queue_timeout_s=0.05)
    for number in range(2):
        with pytest.raises(RequestError, match="takes longer than"):
            await read_answer_form(_bounded(number), compiler)
    with pytest.raises(OverloadedError, match=r"waited longer than .* to be compiled"):
        await read_answer_form(_bounded(2), compiler)
    compiler.go.set()
    async with asyncio.timeout(30):
        while not await _is_taken(compiler):
            pass


async def _is_taken(compiler: GrammarCompiler) -> bool:
    with contextlib.suppress(OverloadedError, RequestError):
        return await read_answer_form(_bounded(3), compiler) != AnswerForm()
    return False
