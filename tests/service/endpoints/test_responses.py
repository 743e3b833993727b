"""`/v1/responses`: answers, typed events, what is refused by name, and what it shares with chat."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from service.config.settings import Settings
from service.engine.base import (
    EngineStoppedError,
    GenerationChunk,
    GenerationRequest,
    QueueFullError,
    RequestFailedError,
    TokenLogprob,
)
from service.engine.echo_engine import EchoEngine
from service.plan.responses import LOGPROBS
from service.schemas.responses import ResponsesRequest
from service.schemas.responses_answers import ResponseObject
from tests.service.chat_requests import IMAGE_TOKENS, REPLY, chat_body, cloud, image
from tests.service.quick_app import bearer, quick_app, until_engine
from tests.service.responses_requests import URL, asked, events, file, picture

pytestmark = pytest.mark.asyncio(loop_scope="module")

CHAT = "/v1/chat/completions"
ENDLESS: dict[str, Any] = {"ignore_eos": True, "max_output_tokens": 200}
BEGIN = [
    "response.created", "response.in_progress", "response.output_item.added",
    "response.content_part.added",
]  # fmt: skip
END = ["response.output_text.done", "response.content_part.done", "response.output_item.done"]
EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)


async def answered(client: httpx.AsyncClient, **body: Any) -> dict[str, Any]:
    response = await client.post(URL, json=body)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    ResponseObject.model_validate(answer)
    Response.model_validate(answer)
    return answer


async def refusal(client: httpx.AsyncClient, status: int = 400, **body: Any) -> dict[str, Any]:
    response = await client.post(URL, json={**asked(), **body})
    assert response.status_code == status, response.text
    error: dict[str, Any] = response.json()["error"]
    return error


def without_ids(body: Any) -> Any:
    """Without what every answer has anew."""
    text = json.dumps(body)
    for name in ("id", "item_id", "created_at", "completed_at"):
        text = json.dumps(
            json.loads(text, object_pairs_hook=lambda pairs, name=name: {  # type: ignore[misc]
                key: value for key, value in pairs if key != name
            })
        )  # fmt: skip
    return json.loads(text)


async def test_an_answer_has_the_api_s_form(client: httpx.AsyncClient) -> None:
    answer = await answered(
        client, **asked(instructions="Be brief.", metadata={"a": "b"}, max_output_tokens=20)
    )
    [message] = answer["output"]
    assert answer["id"].startswith("resp_")
    assert message["id"].startswith("msg_")
    assert (message["type"], message["role"], message["status"]) == (
        "message", "assistant", "completed",
    )  # fmt: skip
    text = {"type": "output_text", "text": REPLY, "annotations": [], "logprobs": []}
    assert message["content"] == [text]
    expected: dict[str, Any] = {
        "object": "response", "status": "completed", "error": None, "incomplete_details": None,
        "instructions": "Be brief.", "metadata": {"a": "b"}, "max_output_tokens": 20,
        "model": "tiny-lamm", "store": False, "background": False, "previous_response_id": None,
        "temperature": 0.0, "top_p": 1.0, "text": {"format": {"type": "text"}}, "tools": [],
        "tool_choice": "auto", "truncation": "disabled", "top_logprobs": 0,
    }  # fmt: skip
    assert {name: answer[name] for name in expected} == expected
    assert answer["completed_at"] >= answer["created_at"] > 1_700_000_000


async def test_the_answer_and_its_tokens_are_those_of_the_chat(client: httpx.AsyncClient) -> None:
    parts = cloud(units="cm")
    answer = await answered(client, **asked(picture(), parts, instructions="Be brief."))
    body = chat_body(image(), parts)
    body["messages"].insert(0, {"role": "system", "content": "Be brief."})
    chat = (await client.post(CHAT, json=body)).json()
    usage, details = answer["usage"], chat["usage"]["prompt_tokens_details"]
    assert details["image_tokens"] == IMAGE_TOKENS
    assert usage["input_tokens"] == chat["usage"]["prompt_tokens"]
    assert usage["output_tokens"] == chat["usage"]["completion_tokens"] == len(REPLY.split())
    assert usage["total_tokens"] == chat["usage"]["total_tokens"]
    assert usage["input_tokens_details"] == {**details, "cache_write_tokens": 0}
    assert usage["output_tokens_details"] == {"reasoning_tokens": 0}
    assert answer["system_fingerprint"] == chat["system_fingerprint"]


async def test_an_answer_that_is_cut_off_is_incomplete(client: httpx.AsyncClient) -> None:
    answer = await answered(client, **asked(max_output_tokens=2))
    assert (answer["status"], answer["completed_at"]) == ("incomplete", None)
    assert answer["incomplete_details"] == {"reason": "max_output_tokens"}
    assert answer["output"][0]["status"] == "incomplete"
    assert answer["output"][0]["content"][0]["text"] == "A red"


async def test_what_was_asked_for_is_repeated(client: httpx.AsyncClient) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    wanted = {"type": "json_schema", "name": "n", "schema": schema, "strict": True}
    answer = await answered(
        client,
        **asked(temperature=0.5, top_p=0.25, text={"format": wanted}, truncation="auto",
                tool_choice="none", parallel_tool_calls=False, tools=[]),
    )  # fmt: skip
    assert answer["text"] == {"format": wanted}
    assert (answer["temperature"], answer["top_p"]) == (0.5, 0.25)
    assert (answer["truncation"], answer["tool_choice"]) == ("auto", "none")
    assert answer["parallel_tool_calls"] is False


@pytest.mark.parametrize("max_output_tokens", [None, 2], ids=["completed", "incomplete"])
async def test_a_stream_ends_with_the_whole_answer(
    client: httpx.AsyncClient, max_output_tokens: int | None
) -> None:
    body = asked(max_output_tokens=max_output_tokens, metadata={"a": "b"})
    whole = await answered(client, **body)
    response = await client.post(URL, json={**body, "stream": True})
    assert response.headers["content-type"].startswith("text/event-stream")
    said = events(response.text)
    for one in said:
        EVENT.validate_python(one)
    deltas = [one for one in said if one["type"] == "response.output_text.delta"]
    names = [one["type"] for one in said]
    last = f"response.{whole['status']}"
    assert names == [*BEGIN, *["response.output_text.delta"] * len(deltas), *END, last]
    assert len(deltas) == whole["usage"]["output_tokens"]
    text = whole["output"][0]["content"][0]["text"]
    assert "".join(one["delta"] for one in deltas) == text
    created, _, item, part = said[:4]
    assert (created["response"]["status"], created["response"]["output"]) == ("in_progress", [])
    assert created["response"]["metadata"] == {"a": "b"}
    assert (item["item"]["status"], item["item"]["content"]) == ("in_progress", [])
    assert part["part"]["text"] == ""
    text_done, part_done, item_done, ended = said[-4:]
    assert text_done["text"] == part_done["part"]["text"] == text
    assert item_done["item"] == ended["response"]["output"][0]
    assert without_ids(ended["response"]) == without_ids(whole)
    assert {one["item_id"] for one in (part, *deltas, text_done, part_done)} == {
        item["item"]["id"], item_done["item"]["id"]
    }  # fmt: skip
    assert ended["response"]["id"] == created["response"]["id"]


async def test_log_probabilities_are_included_when_asked_for(
    client: httpx.AsyncClient, engine: EchoEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    generate = engine.generate

    async def with_logprobs(request: GenerationRequest) -> AsyncIterator[GenerationChunk]:
        assert request.sampling_params.logprobs == 1
        async for chunk in generate(request):
            token = TokenLogprob(5, chunk.text, -0.5, ((5, chunk.text, -0.5),))
            yield GenerationChunk(
                chunk.text, chunk.token_ids, (token,), completion_tokens=chunk.completion_tokens,
                finish_reason=chunk.finish_reason,
            )  # fmt: skip

    monkeypatch.setattr(engine, "generate", with_logprobs)
    body = asked(max_output_tokens=2, include=[LOGPROBS], top_logprobs=1)
    answer = await answered(client, **body)
    entries = answer["output"][0]["content"][0]["logprobs"]
    assert [one["token"] for one in entries] == ["A", " red"]
    assert entries[0]["top_logprobs"] == [{"token": "A", "logprob": -0.5, "bytes": [65]}]
    assert answer["top_logprobs"] == 1
    said = events((await client.post(URL, json={**body, "stream": True})).text)
    deltas = [one for one in said if one["type"] == "response.output_text.delta"]
    assert [one["logprobs"] for one in deltas] == [[entries[0]], [entries[1]]]
    assert said[-4]["logprobs"] == entries


REFERENCE: list[Any] = [{"type": "item_reference", "id": "msg_1"}]


@pytest.mark.parametrize(
    ("body", "param", "words"),
    [
        ({"store": True}, "store", "store is not supported: answers are not stored"),
        ({"background": True}, "background", "background is not supported"),
        ({"previous_response_id": "resp_1"}, "previous_response_id", "send the whole conversation"),
        ({"conversation": {"id": "c"}}, "conversation", "send the whole conversation in input"),
        ({"prompt": {"id": "p"}}, "prompt", "prompt templates are not stored"),
        ({"moderation": {"model": "m"}}, "moderation", "there is no moderation model"),
        ({"context_management": [{"type": "compaction"}]}, "context_management", "not supported"),
        ({"tools": [{"type": "web_search"}]}, "tools", "tools[0] has type 'web_search'"),
        ({"tools": [5]}, "tools", "tools[0] has type 'None'"),
        ({"truncation": "some"}, "truncation", "truncation must be one of 'auto' or 'disabled'"),
        ({"input": REFERENCE}, "input[0]", "an item_reference names a stored answer"),
        ({"input": []}, "input", "input must have at least 1 entries"),
        ({"input": 5}, "input", "input must be a string"),
        ({"input": [5]}, "input[0]", "input[0] must be an object"),
        ({"input": [{"type": 5}]}, "input[0]", "input[0] has the unknown type ''"),
        (
            {"input": [{"type": "reasoning", "summary": []}]},
            "input[0]",
            "has the unknown type 'reasoning'; it must be one of 'message', 'function_call'",
        ),
        ({"input": [{"content": "a"}]}, "input[0].role", "input[0].role is missing"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_audio"}]}]},
            "input[0].content[0]",
            "has the unknown type 'input_audio'; it must be one of 'input_text'",
        ),
        (
            {"input": [{"role": "user", "content": [{"type": "input_text"}]}]},
            "input[0].content[0].text",
            "input[0].content[0].text is missing",
        ),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image"}]}]},
            "input[0].content[0]",
            "must have either image_url or file_id",
        ),
        (
            {"input": [{"role": "user", "content": [
                {"type": "input_file", "file_url": "https://a.example/b"}]}]},
            "input[0].content[0].file_url",
            "is not supported: send the bytes in file_data",
        ),
        (
            {"input": [{"type": "function_call_output", "call_id": "c", "output": 5}]},
            "input[0].output",
            "input[0].output must be a string",
        ),
        ({"text": {"format": {"type": "xml"}}}, "text.format.type", "text.format.type must be"),
        ({"text": {"format": {"type": "json_schema"}}}, "text.format", "but no schema"),
        ({"max_output_tokens": 0}, "max_output_tokens", "max_output_tokens must be at least 1"),
        ({"max_output_tokens": 10**5}, "input", "and max_output_tokens is 100000"),
        ({"metadata": {"a": 1}}, "metadata.a", "metadata.a must be a string"),
        ({"max_tokens": 5}, "max_tokens", "on this route it is max_output_tokens"),
        ({"input": "", "instructions": ""}, "input", "input has neither text nor media"),
        (
            {"input": [{"role": "assistant", "content": [picture()]}], "instructions": "a"},
            "input[0].content[0]",
            "input[0].content[0] is of type 'image_url' in a message with role 'assistant'",
        ),
        ({"input": [{"role": "assistant", "content": "a"}]}, "input", "continue_final_message"),
        ({"model": "gpt-7"}, "model", "model 'gpt-7' is not served"),
    ],
    ids=str,
)  # fmt: skip
async def test_what_is_wrong_is_named(
    client: httpx.AsyncClient, body: dict[str, Any], param: str, words: str
) -> None:
    error = await refusal(client, 404 if "model" in body else 400, **body)
    assert words in error["message"]
    assert error["param"] == param


async def test_faulty_media_are_named_by_their_place(client: httpx.AsyncClient) -> None:
    error = await refusal(client, 422, **asked(picture(b"\x89PNG\r\n\x1a\nno picture")))
    assert error["param"] == "input[0].content[0].image_url"
    error = await refusal(client, 415, **asked(file(b"no file", "a.pdf"), instructions="a"))
    assert error["param"] == "input[0].content[0]"
    assert "'a.pdf'" in error["message"]
    stored = {"type": "input_file", "file_id": f"file-{'0' * 64}"}
    error = await refusal(client, 404, **asked(stored))
    assert (error["param"], error["code"]) == ("input[0].content[0].file_id", "file_not_found")


async def test_what_asks_for_nothing_is_accepted(client: httpx.AsyncClient) -> None:
    nothing: dict[str, Any] = {
        "store": False, "background": False, "previous_response_id": None, "tools": [],
        "tool_choice": "auto", "reasoning": {"effort": "low"}, "user": "u", "service_tier": "flex",
        "include": ["reasoning.encrypted_content"], "safety_identifier": "s", "max_tool_calls": 3,
        "prompt_cache_key": "k", "stream_options": {"include_obfuscation": False},
        "truncation": "auto", "text": {"verbosity": "low"}, "max_tokens": None,
    }  # fmt: skip
    answer = await answered(client, **asked(**nothing))
    assert answer["reasoning"] == {"effort": None, "summary": None}
    assert (answer["store"], answer["service_tier"], answer["user"]) == (False, "default", None)


async def test_unknown_fields_are_named_once_in_the_log(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "service.schemas.unknown_fields")
    async with quick_app(settings) as (_, client):
        for _ in range(2):
            await answered(client, **asked(of_another_server=1))
    assert caplog.text.count("ignoring the unknown request field 'of_another_server'") == 1


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_no_answer_can_be_looked_up(client: httpx.AsyncClient, method: str) -> None:
    answer = await answered(client, **asked())
    response = await client.request(method, f"{URL}/{answer['id']}")
    assert response.status_code == 404
    error = response.json()["error"]
    assert error["message"] == f"response '{answer['id']}' not found: answers are not stored"
    assert (error["code"], error["param"]) == ("response_not_found", "response_id")


async def test_a_failure_in_a_stream_is_told_twice(
    client: httpx.AsyncClient, engine: EchoEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def generate(_: GenerationRequest) -> AsyncIterator[GenerationChunk]:
        yield GenerationChunk("A", (5,), completion_tokens=1)
        raise RequestFailedError("CUDA error: 700")

    monkeypatch.setattr(engine, "generate", generate)
    said = events((await client.post(URL, json=asked(stream=True))).text)
    names = [one["type"] for one in said]
    assert names == [*BEGIN, "response.output_text.delta", "response.failed", "error"]
    failed, error = said[-2:]
    EVENT.validate_python(failed)
    EVENT.validate_python(error)
    assert failed["response"]["status"] == "failed"
    assert failed["response"]["error"]["code"] == "server_error"
    assert "CUDA" not in json.dumps(said)
    told = {name: error["error"][name] for name in ("message", "code", "param")}
    assert told == {name: error[name] for name in told}
    assert error["code"] == "request_failed"


@pytest.mark.parametrize(
    ("error", "status"), [(QueueFullError(1, 1, "requests"), 503), (EngineStoppedError("x"), 503)]
)
async def test_refusals_of_the_engine_keep_their_status(
    client: httpx.AsyncClient, engine: EchoEngine, monkeypatch: pytest.MonkeyPatch,
    error: Exception, status: int,
) -> None:  # fmt: skip
    async def generate(_: GenerationRequest) -> AsyncIterator[GenerationChunk]:
        raise error
        yield

    monkeypatch.setattr(engine, "generate", generate)
    for stream in (False, True):
        response = await client.post(URL, json=asked(stream=stream))
        assert response.status_code == status
        assert response.headers["retry-after"] == "1"


async def test_what_was_planned_is_held_no_longer(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed: list[ResponsesRequest] = []
    parse = ResponsesRequest.model_validate_json

    def recorded(body: bytes) -> ResponsesRequest:
        parsed.append(parse(body))
        return parsed[-1]

    monkeypatch.setattr(ResponsesRequest, "model_validate_json", recorded)
    await answered(client, **asked(picture(), unheard_of="x" * 100_000))
    [body] = parsed
    assert (body.input, body.model_extra) == ([], {})


async def test_keys_and_their_limits_apply(settings: Settings) -> None:
    async with quick_app(settings, api_keys="k,metrics:m", key_tokens_per_minute=1) as (_, client):
        assert (await client.post(URL, json=asked())).status_code == 401
        assert (await client.post(URL, json=asked(), headers=bearer("m"))).status_code == 403
        assert (await client.get(f"{URL}/resp_1")).status_code == 401
        statuses = [
            (await client.post(URL, json=asked(), headers=bearer("k"))).status_code
            for _ in range(2)
        ]
        assert statuses == [200, 429]


async def test_a_draining_service_refuses(settings: Settings) -> None:
    async with quick_app(settings) as (app, client):
        app.state.services.lifecycle.drain()
        refused = await client.post(URL, json=asked())
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "service_draining")


@pytest.mark.parametrize("stream", [False, True])
async def test_a_running_answer_is_cancelled_by_its_id(settings: Settings, stream: bool) -> None:
    async with quick_app(settings, delay=0.1) as (app, client):
        headers = {"X-Request-Id": "one"}
        body = asked(stream=stream, **ENDLESS)
        running = asyncio.create_task(client.post(URL, json=body, headers=headers))
        await until_engine(app, running=1)
        await asyncio.sleep(0.3)
        assert (await client.delete("/v1/requests/one")).json()["cancelled"] == 1
        response = await running
        assert response.status_code == (200 if stream else 499)
        assert "request_cancelled" in response.text
        await until_engine(app, running=0)
        assert app.state.services.lifecycle.in_flight == 0


async def test_answers_are_counted(client: httpx.AsyncClient, app: FastAPI) -> None:
    def finished() -> float:
        metrics = app.state.services.metrics.exposition().decode()
        line = next(
            one for one in metrics.splitlines()
            if one.startswith("lamm:request_success_total{") and '"stop"' in one
        )  # fmt: skip
        return float(line.rpartition(" ")[2])

    await answered(client, **asked())
    before = finished()
    await answered(client, **asked())
    assert finished() == before + 1


async def test_the_document_names_both_forms_of_an_answer(client: httpx.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    operation = document["paths"][URL]["post"]
    content = operation["responses"]["200"]["content"]
    assert set(content) == {"application/json", "text/event-stream"}
    reference = content["application/json"]["schema"]["$ref"]
    assert reference.endswith("/ResponseObject")
    request = document["components"]["schemas"]["ResponsesRequest"]["properties"]
    assert request["store"]["enum"] == [None, False]
    assert "not supported: answers are not stored" in request["store"]["description"]
