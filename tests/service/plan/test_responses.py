"""Requests of the Responses API as chat requests, and errors in the client's own names."""

from __future__ import annotations

from typing import Any

import pytest

from service.errors import ErrorReply
from service.exceptions import RequestError
from service.plan.responses import LOGPROBS, translate_request
from service.schemas.openai import ChatCompletionRequest
from service.schemas.responses import ResponsesRequest
from tests.service.chat_requests import cloud
from tests.service.responses_requests import asked

PICTURE, FILE_ID = "data:image/png;base64,AAAA", "file-1"
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}


def chat(**body: Any) -> dict[str, Any]:
    """The chat request of a body, as far as it is set."""
    found = translate_request(ResponsesRequest.model_validate({**asked(), **body})).chat
    # As a client would have sent it.
    ChatCompletionRequest.model_validate(found.model_dump(by_alias=True))
    return found.model_dump(by_alias=True, exclude_none=True)


def messages(*items: dict[str, Any], **body: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = chat(input=list(items), **body)["messages"]
    return found


def test_a_text_is_a_question() -> None:
    question = {"role": "user", "content": "What is this?"}
    assert chat()["messages"] == [question]
    told = {"role": "system", "content": "Be brief."}
    assert chat(instructions="Be brief.")["messages"] == [told, question]


def test_parts_become_those_of_a_chat() -> None:
    own = cloud(units="cm")
    parts = [
        {"type": "input_text", "text": "a"},
        {"type": "input_image", "image_url": PICTURE, "detail": "low"},
        {"type": "input_image", "file_id": FILE_ID},
        {"type": "input_file", "file_id": FILE_ID},
        {"type": "input_file", "file_data": "data:;base64,AAAA", "filename": "a.ply"},
        own,
    ]
    [message] = messages({"role": "user", "content": parts})
    assert message["content"][:5] == [
        {"type": "text", "text": "a"},
        {"type": "image_url", "image_url": {"url": PICTURE}},
        {"type": "image_url", "image_url": {"file_id": FILE_ID}},
        {"type": "file", "file": {"file_id": FILE_ID}},
        {"type": "file", "file": {"file_data": "data:;base64,AAAA", "filename": "a.ply"}},
    ]
    assert message["content"][5] == own


def test_earlier_answers_and_calls_are_messages() -> None:
    said: Any = [
        {"type": "output_text", "text": "A chair.", "annotations": [1], "logprobs": []},
        {"type": "refusal", "refusal": "No."},
    ]
    found = messages(
        {"type": None, "role": "developer", "content": "Be brief."},
        {"type": "message", "id": "msg_1", "status": "completed", "role": "assistant",
         "content": said, "phase": "final_answer"},
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": '{"a": 1}', "id": "x"},
        {"type": "function_call_output", "call_id": "c", "output": "sunny"},
        {"type": "function_call_output", "call_id": "c",
         "output": [{"type": "input_text", "text": "dry"}]},
    )  # fmt: skip
    function = {"name": "f", "arguments": '{"a": 1}'}
    texts = [{"type": "text", "text": "A chair."}, {"type": "refusal", "refusal": "No."}]
    assert found == [
        {"role": "developer", "content": "Be brief."},
        {"role": "assistant", "content": texts},
        {"role": "assistant", "tool_calls": [
            {"id": "c", "type": "function", "function": function}
        ]},
        {"role": "tool", "content": "sunny", "tool_call_id": "c"},
        {"role": "tool", "content": [{"type": "text", "text": "dry"}], "tool_call_id": "c"},
    ]  # fmt: skip


def test_options_keep_their_meaning() -> None:
    same: dict[str, Any] = {
        "temperature": 0.5, "top_p": 0.9, "seed": 7, "stop": ["x"], "top_k": 3, "priority": 5,
        "stream": True, "min_tokens": 2,
    }  # fmt: skip
    found = chat(**same, max_output_tokens=9, include=[LOGPROBS], top_logprobs=2)
    assert {name: found[name] for name in same} == same
    assert (found["max_tokens"], found["logprobs"], found["top_logprobs"]) == (9, True, 2)
    assert "max_tokens" not in chat()
    assert chat(continue_final_message=True)["continue_final_message"] is True


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({"type": "text"}, {"type": "text"}),
        ({"type": "json_object"}, {"type": "json_object"}),
        (
            {"type": "json_schema", "name": "a", "schema": SCHEMA, "strict": True},
            {"type": "json_schema", "json_schema": {"schema": SCHEMA}},
        ),
    ],
)
def test_the_format_is_the_response_format(wanted: Any, expected: Any) -> None:
    assert chat(text={"format": wanted, "verbosity": "low"})["response_format"] == expected


@pytest.mark.parametrize(
    ("name", "here"),
    [
        ("messages", "input"),
        ("max_tokens", "max_output_tokens"),
        ("response_format", "text.format"),
    ],
)
def test_fields_of_the_chat_are_named(name: str, here: str) -> None:
    with pytest.raises(RequestError, match=f"{name} is a field .* it is {here}") as caught:
        chat(**{name: 1})
    assert caught.value.param == name
    assert chat(**{name: None})


def test_contradictions_are_refused() -> None:
    with pytest.raises(RequestError, match="top_logprobs is 3, but include does not have"):
        chat(top_logprobs=3)
    with pytest.raises(RequestError, match="n is not supported"):
        chat(n=2)
    assert chat(n=1, top_logprobs=0)


@pytest.mark.parametrize(
    ("body", "param", "expected"),
    [
        ({"instructions": "a"}, "messages[0]", "instructions"),
        ({"instructions": "a"}, "messages[1]", "input"),
        ({}, "messages[0].content", "input"),
        ({"input": [{"role": "user", "content": "a"}]}, "messages[0].content", "input[0].content"),
        (
            {"input": [{"role": "user", "content": "a"}] * 3, "instructions": "a"},
            "messages[3].content[1].file.file_data",
            "input[2].content[1].file_data",
        ),
        (
            {"input": [{"role": "user", "content": "a"}]},
            "messages[0].content[2].image_url",
            "input[0].content[2].image_url",
        ),
        ({}, "max_tokens", "max_output_tokens"),
        ({}, "response_format", "text.format"),
        ({}, "response_format.json_schema.schema", "text.format.schema"),
        ({}, "temperature", "temperature"),
        ({}, None, None),
    ],
)
def test_errors_have_the_client_s_names(
    body: dict[str, Any], param: str | None, expected: str | None
) -> None:
    found = translate_request(ResponsesRequest.model_validate({**asked(), **body}))
    reply = found.renamed(ErrorReply(400, "t", "c", param, f"{param} is wrong"))
    assert (reply.param, reply.message) == (expected, f"{expected} is wrong")


def test_only_places_and_fields_are_renamed() -> None:
    found = translate_request(ResponsesRequest.model_validate(asked()))
    reply = found.renamed(ErrorReply(400, "t", "c", "messages", "the messages have 9 characters"))
    assert (reply.param, reply.message) == ("input", "the messages have 9 characters")


def test_who_lets_items_be_dropped_hears_that_none_is() -> None:
    found = translate_request(ResponsesRequest.model_validate(asked(truncation="auto")))
    reply = found.renamed(ErrorReply(400, "t", "context_length_exceeded", "messages", "too long"))
    assert reply.message == "too long; truncation is 'auto', but no item is ever dropped"
    assert found.renamed(ErrorReply(400, "t", "c", None, "wrong")).message == "wrong"
