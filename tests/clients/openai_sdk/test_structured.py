"""The `openai` package: answers with a schema, and tools."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import openai
import pytest

from tests.clients.content import (
    COAT,
    MODEL,
    QUESTION,
    TOOL,
    Described,
    Garment,
    ask,
    data_url,
    picture,
)

CLIENT = "openai"
SUBJECT = "structured answers, tools, responses"
Said = Callable[[object], str]


def arguments(answer: Any) -> dict[str, Any]:
    """The arguments of the only tool call of an answer."""
    [call] = answer.choices[0].message.tool_calls
    assert call.function.name == "report"
    assert call.id
    found: dict[str, Any] = json.loads(call.function.arguments)
    return found


def test_parse(client: openai.OpenAI, said: Said) -> None:
    """`chat.completions.parse` with a pydantic model"""
    answer = client.chat.completions.parse(
        model=MODEL, messages=ask(picture()), response_format=Garment
    )
    assert answer.choices[0].message.parsed == Garment(item="coat")
    said(answer.choices[0].message.content)


def test_parse_free_strings(client: openai.OpenAI, said: Said) -> None:
    """`chat.completions.parse` with a pydantic model of free strings"""
    answer = client.chat.completions.parse(
        model=MODEL, messages=ask(picture()), response_format=Described
    )
    assert isinstance(answer.choices[0].message.parsed, Described)
    said(answer.choices[0].message.content)


@pytest.mark.parametrize(
    ("which", "closed"),
    [("without further properties", {"additionalProperties": False}), ("open", {})],
)
def test_json_schema(client: openai.OpenAI, said: Said, which: str, closed: dict[str, Any]) -> None:
    """`response_format` `json_schema`, {which}"""
    schema = {"name": "garment", "schema": {**Garment.model_json_schema(), **closed}}
    wanted: Any = {"type": "json_schema", "json_schema": schema}
    answer = client.chat.completions.create(
        model=MODEL, messages=ask(picture()),
        response_format=wanted,
    )  # fmt: skip
    assert json.loads(said(answer.choices[0].message.content))["item"] == "coat"


def test_json_object(client: openai.OpenAI, said: Said) -> None:
    """`response_format` `json_object`"""
    answer = client.chat.completions.create(
        model=MODEL, messages=ask(picture()), response_format={"type": "json_object"}
    )
    assert isinstance(json.loads(said(answer.choices[0].message.content)), dict)


def test_stream_parsed(client: openai.OpenAI, said: Said) -> None:
    """`chat.completions.stream` with a pydantic model"""
    with client.chat.completions.stream(
        model=MODEL, messages=ask(picture()), response_format=Garment
    ) as stream:
        done = [event for event in stream if event.type == "content.done"]
        message = stream.get_final_completion().choices[0].message
    assert message.parsed == Garment(item="coat")
    assert done[0].parsed == message.parsed
    said(message.content)


@pytest.mark.parametrize(
    ("named", "choice"),
    [
        ("required", "required"),
        ("named", {"type": "function", "function": {"name": "report"}}),
    ],
)
def test_forced_tool(client: openai.OpenAI, said: Said, named: str, choice: Any) -> None:
    """`tool_choice` {named}"""
    answer = client.chat.completions.create(
        model=MODEL, messages=ask(picture()), tools=[TOOL], tool_choice=choice
    )  # fmt: skip
    assert said(arguments(answer)) == "{'item': 'coat'}"


def test_offered_tool(client: openai.OpenAI, said: Said) -> None:
    """`tool_choice` auto"""
    answer = client.chat.completions.create(
        model=MODEL, messages=ask(picture()), tools=[TOOL], tool_choice="auto"
    )  # fmt: skip
    message = answer.choices[0].message
    assert "coat" in said(message.content or arguments(answer))
    expected = "tool_calls" if message.tool_calls else "stop"
    assert answer.choices[0].finish_reason == expected


def test_forbidden_tool(client: openai.OpenAI, said: Said) -> None:
    """`tool_choice` none"""
    answer = client.chat.completions.create(
        model=MODEL, messages=ask(picture()), tools=[TOOL], tool_choice="none"
    )  # fmt: skip
    assert answer.choices[0].message.tool_calls is None
    assert "coat" in said(answer.choices[0].message.content)


def test_streamed_tool(client: openai.OpenAI, said: Said) -> None:
    """a stream of a tool's call"""
    with client.chat.completions.stream(
        model=MODEL,
        messages=ask(picture()),
        tools=[TOOL],
        tool_choice="required",
    ) as stream:
        kinds = {event.type for event in stream}
        answer = stream.get_final_completion()
    assert said(arguments(answer)) == "{'item': 'coat'}"
    assert "tool_calls.function.arguments.done" in kinds


def test_parsed_tool(client: openai.OpenAI, said: Said) -> None:
    """`pydantic_function_tool` with parsed arguments"""
    tool = openai.pydantic_function_tool(Garment, name="report")
    answer = client.chat.completions.parse(
        model=MODEL, messages=ask(picture()), tools=[tool], tool_choice="required",
        parallel_tool_calls=False,
    )  # fmt: skip
    calls: Any = answer.choices[0].message.tool_calls
    [call] = calls
    assert call.function.parsed_arguments == Garment(item="coat")
    said(call.function.arguments)


def test_tool_round_trip(client: openai.OpenAI, said: Said) -> None:
    """a tool's round trip"""
    messages = ask(picture())
    options: Any = {"model": MODEL, "tools": [TOOL]}
    first = client.chat.completions.create(messages=messages, **options, tool_choice="required")
    [call] = first.choices[0].message.tool_calls
    messages += [
        first.choices[0].message,
        {"role": "tool", "tool_call_id": call.id, "content": "thank you"},
        *ask(words="What colour is it?"),
    ]
    answer = client.chat.completions.create(messages=messages, **options, tool_choice="none")
    assert "white" in said(answer.choices[0].message.content)


def responses_input() -> list[Any]:
    """A question about the picture, as the responses API has it."""
    part = {"type": "input_image", "image_url": data_url(COAT), "detail": "auto"}
    return [{"role": "user", "content": [part, {"type": "input_text", "text": QUESTION}]}]


def test_responses(client: openai.OpenAI, said: Said) -> None:
    """`responses.create` about a picture"""
    answer = client.responses.create(model=MODEL, input=responses_input())
    assert "coat" in said(answer.output_text)


def test_responses_stream(client: openai.OpenAI, said: Said) -> None:
    """`responses.create` stream"""
    events = list(client.responses.create(model=MODEL, input="Hello!", stream=True))
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert "picture" in said("".join(deltas))
    assert events[-1].type == "response.completed"


def response_tool() -> Any:
    """The tool as the responses API has it."""
    return {"type": "function", "strict": False, **TOOL["function"]}


def test_responses_tool(client: openai.OpenAI, said: Said) -> None:
    """`responses.create`: a tool's round trip"""
    options: Any = {"model": MODEL, "tools": [response_tool()]}
    messages = responses_input()
    first = client.responses.create(input=messages, **options, tool_choice="required")
    [call] = first.output
    assert (call.name, json.loads(call.arguments)) == ("report", {"item": "coat"})
    messages += [
        call,
        {"type": "function_call_output", "call_id": call.call_id, "output": "thank you"},
        {"role": "user", "content": "What colour is it?"},
    ]
    answer = client.responses.create(input=messages, **options, tool_choice="none")
    assert "white" in said(answer.output_text)


def test_responses_streamed_tool(client: openai.OpenAI, said: Said) -> None:
    """`responses.stream` of a tool's call"""
    with client.responses.stream(
        model=MODEL,
        input=responses_input(),
        tools=[response_tool()],
        tool_choice={"type": "function", "name": "report"},
    ) as stream:
        done = [one for one in stream if one.type == "response.function_call_arguments.done"]
        [call] = stream.get_final_response().output
    assert [one.arguments for one in done] == [call.arguments]
    assert json.loads(said(call.arguments)) == {"item": "coat"}


def test_responses_parse(client: openai.OpenAI, said: Said) -> None:
    """`responses.parse` with a pydantic model"""
    answer = client.responses.parse(model=MODEL, input=responses_input(), text_format=Garment)
    assert answer.output_parsed == Garment(item="coat")
    said(answer.output_text)
