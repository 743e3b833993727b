"""`tools` and `tool_choice` over HTTP: what is called, what is refused, and how it is told."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import pytest_asyncio

from service.config.settings import Settings
from service.engine.echo_engine import EchoEngine
from service.startup.configs import engine_config
from tests.service.batches.batch_jobs import (
    batch_app,
    content_of,
    jsonl,
    request_line,
    start,
    until,
)
from tests.service.chat_requests import REPLY, chat_body
from tests.service.local import BASE_URL
from tests.service.quick_app import quick_app

URL = "/v1/chat/completions"
pytestmark = pytest.mark.asyncio(loop_scope="module")
WEATHER = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
ARGUMENTS = '{"city": "Ulm on the Danube"}'
CALL = '{"name": "count-legs", "arguments": {"of": "a chair"}}'


def tool(name: str = "weather", parameters: Any = WEATHER, **more: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": parameters, **more}}


def named(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name}}


TOOLS = [tool(description="Tells the weather", strict=True), tool("count-legs", None)]


def calling(**more: Any) -> dict[str, Any]:
    return chat_body(**{"tools": [tool()], "tool_choice": "required", **more})


def engine(settings: Settings, reply: str) -> EchoEngine:
    return EchoEngine(engine_config(settings), reply)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def one(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """A service whose answers are the arguments of one tool."""
    async with quick_app(settings, engine=engine(settings, ARGUMENTS)) as (_, client):
        yield client


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def several(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """A service whose answers are calls of one of several tools."""
    async with quick_app(settings, engine=engine(settings, CALL)) as (_, client):
        yield client


async def answer(client: httpx.AsyncClient, body: dict[str, Any]) -> Any:
    response = await client.post(URL, json=body)
    assert response.status_code == 200, response.text
    return response.json()


def sdk(client: Any) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(
        base_url=f"{BASE_URL}/v1", api_key="any", max_retries=0, http_client=client
    )


@pytest.mark.parametrize(
    "more",
    [
        {}, {"tool_choice": named("weather")}, {"parallel_tool_calls": False},
        {"tools": TOOLS, "tool_choice": named("weather")},
        {"response_format": {"type": "json_object"}},
        {"tools": TOOLS, "tool_choice": {"type": "allowed_tools", "allowed_tools": {
            "mode": "required", "tools": [named("weather")]}}},
    ],
)  # fmt: skip
async def test_a_call_of_one_tool(one: httpx.AsyncClient, more: dict[str, Any]) -> None:
    [choice] = (await answer(one, calling(**more)))["choices"]
    [call] = choice["message"].pop("tool_calls")
    assert choice["message"] == {"role": "assistant", "content": None, "refusal": None}
    assert choice["finish_reason"] == "tool_calls"
    assert call.pop("id").startswith("call_")
    assert call == {"type": "function", "function": {"name": "weather", "arguments": ARGUMENTS}}


async def test_a_call_of_one_of_several_tools(several: httpx.AsyncClient) -> None:
    [choice] = (await answer(several, calling(tools=TOOLS)))["choices"]
    [call] = choice["message"]["tool_calls"]
    assert call["function"] == {"name": "count-legs", "arguments": '{"of": "a chair"}'}


@pytest.mark.parametrize(
    "more",
    [
        {"tools": None, "tool_choice": None}, {"tools": [], "tool_choice": "none"},
        {"tools": TOOLS}, {"tools": TOOLS, "tool_choice": "auto"}, {"tool_choice": "auto"},
        {"tools": TOOLS, "tool_choice": "none"}, {"functions": None, "function_call": "none"},
        {"tools": TOOLS, "tool_choice": {"type": "allowed_tools", "allowed_tools": {
            "mode": "auto", "tools": [named("weather")]}}},
    ],
)  # fmt: skip
async def test_otherwise_the_answer_is_text(
    client: httpx.AsyncClient, more: dict[str, Any]
) -> None:
    [choice] = (await answer(client, chat_body(**more)))["choices"]
    assert choice["message"] == {"role": "assistant", "content": REPLY, "refusal": None}
    assert choice["finish_reason"] == "stop"


@pytest.mark.parametrize(
    ("more", "param", "words"),
    [
        ({"tools": None}, "tool_choice", "tool_choice is 'required', but there are no tools"),
        ({"tools": [], "tool_choice": named("a")}, "tool_choice", "the tool 'a', but there are no"),
        ({"tool_choice": named("rain")}, "tool_choice.function.name",
         "names the tool 'rain'; the tools are 'weather'"),
        ({"tool_choice": "always"}, "tool_choice", "one of 'none', 'auto' or 'required'"),
        ({"tool_choice": {"type": "custom"}}, "tool_choice.type", "'function'"),
        ({"tool_choice": named("a b")}, "tool_choice.function.name", "it is 'a b'"),
        ({"tool_choice": {"type": "allowed_tools", "allowed_tools": {
            "mode": "required", "tools": [named("rain")]}}},
         "tool_choice.allowed_tools.tools[0].function", "the tools are 'weather'"),
        ({"tools": [tool(), tool()]}, "tools[1].function.name", "as that of another tool"),
        ({"tools": [tool("a b")]}, "tools[0].function.name", "it is 'a b'"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type", "it is 'web_search'"),
        ({"tools": [tool()] * 129}, "tools", "at most 128 entries"),
        ({"tools": [tool(), tool("b", {"properties": {"a": {"$ref": "#/b"}}})]},
         "tools[1].function.parameters",
         "the tool is not supported at tools[1].function.parameters/properties/a/$ref: a $ref "),
        ({"tools": [tool(parameters={"properties": {"a": {"pattern": "("}}})]},
         "tools[0].function.parameters", "tools[0].function.parameters/properties/a/pattern: a p"),
        ({"tools": [tool(), tool("b", {"properties": {"a": {"not": {}}}})]},
         "tools[1].function.parameters", "tools[1].function.parameters/properties/a/not: unsupp"),
        ({"tools": [tool(parameters={"type": "string"})]},
         "tools[0].function.parameters", "arguments are an object; its type is 'string'"),
        ({"tools": [tool(), tool("b", {"$id": "https://a.example/b"})]},
         "tools[1].function.parameters", "unsupported keywords among several tools: $id"),
        ({"tools": [tool(f"t{n}", {"enum": ["x" * 9000]}) for n in range(9)]}, "tools",
         "the set of tools is not supported: it has over 7"),
        ({"ignore_eos": True}, "ignore_eos", "tool_choice decides where the answer ends"),
        ({"min_tokens": 3}, "min_tokens", "tool_choice decides where the answer ends"),
        ({"functions": [{"name": "f"}]}, "functions", "use tools and tool_choice"),
        ({"function_call": {"name": "f"}}, "function_call", "use tools and tool_choice"),
    ],
)  # fmt: skip
async def test_refusals(
    client: httpx.AsyncClient, more: dict[str, Any], param: str, words: str
) -> None:
    response = await client.post(URL, json=calling(**more))
    assert response.status_code == 400, response.text
    error = response.json()["error"]
    assert words in error["message"]
    assert error["param"] == param


async def test_references_of_several_tools_stay_apart(client: httpx.AsyncClient) -> None:
    part = {"$ref": "#/$defs/part"}
    tools = [
        tool(
            name, {"type": "object", "properties": {"a": part}, "$defs": {"part": {"const": name}}}
        )
        for name in ("one", "two")
    ]
    tools.append(tool("tree", {"type": "object", "properties": {"below": {"$ref": "#"}}}))
    assert (await client.post(URL, json=calling(tools=tools))).status_code == 200


@pytest.mark.parametrize("body", [calling(n=2), calling(n=2, max_tokens=3), calling(logprobs=True)])
async def test_a_stream_tells_what_the_sdk_reads_whole(
    one: httpx.AsyncClient, body: dict[str, Any]
) -> None:
    whole = await sdk(one).chat.completions.create(**body)
    stream = await sdk(one).chat.completions.create(
        **body, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    assert chunks[-1].usage == whole.usage
    for choice in whole.choices:
        mine = [c.choices[0] for c in chunks if c.choices and c.choices[0].index == choice.index]
        calls = [call for one in mine for call in one.delta.tool_calls or ()]
        assert calls[0].id
        assert calls[0].function
        assert (calls[0].function.name, calls[0].function.arguments) == ("weather", "")
        assert all(call.id is None and call.type is None for call in calls[1:])
        parts = [call.function.arguments or "" for call in calls if call.function]
        assert choice.message.tool_calls
        [expected] = choice.message.tool_calls
        assert expected.type == "function"
        assert "".join(parts) == expected.function.arguments
        assert mine[-1].finish_reason == choice.finish_reason
        assert choice.finish_reason == ("length" if body.get("max_tokens") else "tool_calls")
        entries = [e for one in mine if one.logprobs for e in one.logprobs.content or ()]
        assert entries == (choice.logprobs.content if choice.logprobs else [])


async def test_the_sdk_s_stream_of_events_ends_in_the_call(several: httpx.AsyncClient) -> None:
    async with sdk(several).chat.completions.stream(**calling(tools=TOOLS)) as stream:
        done = [
            event async for event in stream if event.type == "tool_calls.function.arguments.done"
        ]
        final = await stream.get_final_completion()
    assert [(event.name, event.arguments) for event in done] == [
        ("count-legs", '{"of": "a chair"}')
    ]
    assert final.choices[0].message.tool_calls
    [call] = final.choices[0].message.tool_calls
    assert call.function.arguments == done[0].arguments


async def test_the_estimate_takes_tools(client: httpx.AsyncClient) -> None:
    plain = await client.post(f"{URL}/estimate", json=chat_body())
    response = await client.post(f"{URL}/estimate", json=calling(tools=TOOLS))
    assert response.status_code == 200, response.text
    assert response.json() == plain.json(), "tools are not in the prompt"


async def test_a_batch_calls_tools(settings: Settings, tmp_path: Path) -> None:
    line = request_line(1)
    line["body"] = calling()
    async with batch_app(settings, tmp_path, engine=engine(settings, ARGUMENTS)) as (_, client):
        batch = await until(client, await start(client, jsonl([line])))
        assert batch["status"] == "completed", batch
        [answered] = (json.loads(await content_of(client, batch["output_file_id"])),)
    [choice] = answered["response"]["body"]["choices"]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["tool_calls"][0]["function"]["arguments"] == ARGUMENTS
