"""Tools of `/v1/responses`: what is called, how it is told, and what is refused."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import openai
import pytest
import pytest_asyncio
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from service.config.settings import Settings
from service.engine.echo_engine import EchoEngine
from service.plan.responses import LOGPROBS
from service.startup.configs import engine_config
from tests.service.chat_requests import REPLY, chat_body
from tests.service.local import BASE_URL
from tests.service.quick_app import quick_app
from tests.service.responses_requests import URL, asked, events

pytestmark = pytest.mark.asyncio(loop_scope="module")
WEATHER = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
ARGUMENTS = '{"city": "Ulm on the Danube"}'
CALL = '{"name": "count-legs", "arguments": {"of": "a chair"}}'
EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
ARGUMENTS_DELTA = "response.function_call_arguments.delta"


def tool(name: str = "weather", parameters: Any = WEATHER, **more: Any) -> dict[str, Any]:
    return {"type": "function", "name": name, "parameters": parameters, **more}


def named(name: str) -> dict[str, Any]:
    return {"type": "function", "name": name}


def allowed(mode: str, name: str = "weather") -> dict[str, Any]:
    return {"type": "allowed_tools", "mode": mode, "tools": [named(name)]}


TOOLS = [tool(description="Tells the weather", strict=True), tool("count-legs", None)]


def calling(**more: Any) -> dict[str, Any]:
    return asked(**{"tools": [tool()], "tool_choice": "required", **more})


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def one(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """A service whose answers are the arguments of one tool."""
    engine = EchoEngine(engine_config(settings), ARGUMENTS)
    async with quick_app(settings, engine=engine) as (_, client):
        yield client


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def several(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """A service whose answers are calls of one of several tools."""
    engine = EchoEngine(engine_config(settings), CALL)
    async with quick_app(settings, engine=engine) as (_, client):
        yield client


async def answer(client: httpx.AsyncClient, body: dict[str, Any]) -> dict[str, Any]:
    response = await client.post(URL, json=body)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    Response.model_validate(found)
    return found


async def chat_calls(client: httpx.AsyncClient, tools: Any, limit: int | None) -> Any:
    """The calls of a chat answer to the same request."""
    nested = [
        {"type": "function", "function": {key: one[key] for key in ("name", "parameters")}}
        for one in tools
    ]
    body = chat_body(tools=nested, tool_choice="required", max_tokens=limit)
    response = await client.post("/v1/chat/completions", json=body)
    return response.json()["choices"][0]["message"]["tool_calls"]


@pytest.mark.parametrize(
    "more",
    [
        {}, {"tool_choice": named("weather")}, {"parallel_tool_calls": False},
        {"tools": TOOLS, "tool_choice": named("weather")},
        {"text": {"format": {"type": "json_object"}}},
        {"tools": TOOLS, "tool_choice": allowed("required")},
        {"include": [LOGPROBS], "top_logprobs": 2},
    ],
)  # fmt: skip
async def test_a_call_of_one_tool(one: httpx.AsyncClient, more: dict[str, Any]) -> None:
    found = await answer(one, calling(**more))
    [call] = found["output"]
    assert call.pop("id") == found["id"].replace("resp_", "fc_")
    assert call.pop("call_id").startswith("call_")
    assert call == {
        "type": "function_call", "status": "completed", "name": "weather", "arguments": ARGUMENTS,
    }  # fmt: skip
    assert found["status"] == "completed"
    assert found["tool_choice"] == more.get("tool_choice", "required")
    assert [each["name"] for each in found["tools"]][:1] == ["weather"]


async def test_a_call_of_one_of_several_tools(several: httpx.AsyncClient) -> None:
    [call] = (await answer(several, calling(tools=TOOLS)))["output"]
    assert (call["name"], call["arguments"]) == ("count-legs", '{"of": "a chair"}')


@pytest.mark.parametrize(
    "more",
    [
        {"tools": TOOLS}, {"tools": TOOLS, "tool_choice": "auto"}, {"tool_choice": "auto"},
        {"tools": TOOLS, "tool_choice": "none"}, {"tools": TOOLS, "tool_choice": allowed("auto")},
    ],
)  # fmt: skip
async def test_otherwise_the_answer_is_text(
    client: httpx.AsyncClient, more: dict[str, Any]
) -> None:
    [message] = (await answer(client, asked(**more)))["output"]
    assert message["content"][0]["text"] == REPLY


@pytest.mark.parametrize(
    ("tools", "limit", "expected"),
    [
        ([tool()], None, ("completed", ["weather"])),
        ([tool()], 3, ("incomplete", ["weather"])),
        (TOOLS, None, ("completed", ["count-legs"])),
        (TOOLS, 5, ("incomplete", ["count-legs"])),
        (TOOLS, 3, ("incomplete", [])),
    ],
)  # fmt: skip
async def test_a_stream_tells_what_the_body_has(
    one: httpx.AsyncClient,
    several: httpx.AsyncClient,
    tools: Any,
    limit: int | None,
    expected: tuple[str, list[str]],
) -> None:
    client = one if len(tools) == 1 else several
    body = calling(tools=tools, max_output_tokens=limit)
    whole = await answer(client, body)
    told = events((await client.post(URL, json={**body, "stream": True})).text)
    for each in told:
        EVENT.validate_python(each)
    last = told[-1]["response"]
    status, names = expected
    assert told[-1]["type"] == f"response.{status}"
    assert [each["name"] for each in last["output"]] == names
    same = {"id": "", "call_id": ""}
    assert [each | same for each in last["output"]] == [each | same for each in whole["output"]]
    told_in_chat = [
        call["function"]["arguments"] for call in await chat_calls(client, tools, limit)
    ]
    assert [each["arguments"] for each in last["output"]] == told_in_chat
    parts = [each["delta"] for each in told if each["type"] == ARGUMENTS_DELTA]
    between = [each["type"] for each in told[2:-1] if each["type"] != ARGUMENTS_DELTA]
    if not names:
        assert (parts, between) == ([], [])
        return
    assert between == [
        "response.output_item.added", "response.function_call_arguments.done",
        "response.output_item.done",
    ]  # fmt: skip
    [call] = last["output"]
    assert len(parts) > 1
    assert "".join(parts) == call["arguments"] == told[-3]["arguments"]
    assert told[-2]["item"] == call
    assert told[2]["item"] == {**call, "status": "in_progress", "arguments": ""}
    assert {each["item_id"] for each in told if "item_id" in each} == {call["id"]}


async def test_a_call_is_sent_back_with_its_result(one: httpx.AsyncClient) -> None:
    transport: Any = one
    sdk = openai.AsyncOpenAI(base_url=f"{BASE_URL}/v1", api_key="any", http_client=transport)
    options: Any = {"model": "tiny-lamm", "tools": [tool()], "tool_choice": "required"}
    async with sdk.responses.stream(input="a", **options) as stream:
        first = await stream.get_final_response()
    [call] = first.output
    assert call.type == "function_call"
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "dry"}
    history: Any = [{"role": "user", "content": "a"}, *first.output, result]
    again = await sdk.responses.create(input=history, **options)
    assert again.usage
    assert first.usage
    assert again.usage.input_tokens > first.usage.input_tokens


@pytest.mark.parametrize(
    ("more", "param", "words"),
    [
        ({"tools": None}, "tool_choice", "tool_choice is 'required', but there are no tools"),
        ({"tool_choice": named("rain")}, "tool_choice.name",
         "names the tool 'rain'; the tools are 'weather'"),
        ({"tool_choice": "always"}, "tool_choice", "one of 'none', 'auto' or 'required'"),
        ({"tool_choice": {"type": "web_search"}}, "tool_choice", "its type is 'web_search'"),
        ({"tool_choice": {"type": "function"}}, "tool_choice.name", "missing"),
        ({"tool_choice": allowed("required", "rain")}, "tool_choice.tools[0]",
         "the tools are 'weather'"),
        ({"tools": [tool(), tool()]}, "tools[1].name",
         "tools[1].name is 'weather', as that of another tool"),
        ({"tools": [tool("a b")]}, "tools[0].name", "it is 'a b'"),
        ({"tools": [tool(), {"type": "web_search"}]}, "tools",
         "tools are functions, and tools[1] has type 'web_search'"),
        ({"tools": [tool()] * 129}, "tools", "at most 128 entries"),
        ({"tools": [tool(parameters={"properties": {"a": {"pattern": "("}}})]},
         "tools[0].parameters", "tools[0].parameters/properties/a/pattern: a p"),
        ({"ignore_eos": True}, "ignore_eos", "tool_choice decides where the answer ends"),
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
