"""`response_format` over HTTP: what is refused and why, before anything runs."""

from __future__ import annotations

import json
import sys
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from service.exceptions import RequestError
from service.grammar_options import MAX_SCHEMA_BYTES, GrammarOptions
from service.schemas.openai import ChatCompletionRequest
from tests.service.chat_requests import chat_body

pytestmark = pytest.mark.asyncio(loop_scope="module")

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
    assert error["message"] == "the JSON schema is not supported: unsupported keywords: not"
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


async def test_a_schema_is_compiled_once(app: FastAPI, monkeypatch: pytest.MonkeyPatch) -> None:
    processor = app.state.services.models.get("tiny-lamm").processor
    options: GrammarOptions = processor._grammars
    body = ChatCompletionRequest(**_wants({"type": "integer", "maximum": 12}))
    first = await options.read(body)
    assert first is not None
    assert await options.read(body) is first


async def test_a_slow_schema_is_given_up(app: FastAPI, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.grammar_options._COMPILE_TIMEOUT_S", 0.0)
    options: GrammarOptions = app.state.services.models.get("tiny-lamm").processor._grammars
    with pytest.raises(RequestError, match="takes longer than 0 s"):
        await options.read(ChatCompletionRequest(**_wants({"type": "integer", "maximum": 13})))


async def test_without_the_extra_it_says_so(app: FastAPI, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "llguidance", None)
    options: GrammarOptions = app.state.services.models.get("tiny-lamm").processor._grammars
    with pytest.raises(RequestError, match="extra `grammar`"):
        await options.read(ChatCompletionRequest(**_wants({"type": "integer", "maximum": 14})))


async def test_the_schema_s_own_text_is_no_part_of_the_refusal(client: httpx.AsyncClient) -> None:
    error = await _refusal(client, _wants({"$ref": "file:///etc/passwd"}))
    assert "passwd" not in json.dumps(error)
