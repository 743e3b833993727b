"""The `openai-agents` package: `OpenAIChatCompletionsModel`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import openai
import pytest
from agents import (
    Agent,
    AgentOutputSchema,
    ModelSettings,
    OpenAIChatCompletionsModel,
    OpenAIResponsesModel,
    RunConfig,
    Runner,
    StopAtTools,
    function_tool,
)  # fmt: skip

from tests.clients.content import COAT, GREETING, MODEL, Garment, data_url

CLIENT = "openai-agents"
Said = Callable[[object], str]
CONFIG = RunConfig(tracing_disabled=True)


@pytest.fixture
def client(base_url: str) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=base_url, api_key="any", max_retries=0)


@pytest.fixture
def model(client: openai.AsyncOpenAI) -> OpenAIChatCompletionsModel:
    return OpenAIChatCompletionsModel(MODEL, client)


def about(words: str = "What is this?") -> list[Any]:
    """A question about the coat."""
    image = {"type": "input_image", "image_url": data_url(COAT), "detail": "auto"}
    return [{"role": "user", "content": [image, {"type": "input_text", "text": words}]}]


def run(agent: Agent, asked: Any) -> Any:
    """The agent's final result."""
    return Runner.run_sync(agent, asked, run_config=CONFIG, max_turns=3)


def test_picture(model: OpenAIChatCompletionsModel, said: Said) -> None:
    """an agent about a picture"""
    agent = Agent(name="Looker", instructions="Be brief.", model=model)
    assert "coat" in said(run(agent, about()).final_output)


def test_stream(model: OpenAIChatCompletionsModel, said: Said) -> None:
    """`run_streamed`"""

    async def stream() -> tuple[str, Any]:
        result = Runner.run_streamed(
            Agent(name="Greeter", model=model), "Hello!", run_config=CONFIG
        )
        deltas = [
            event.data.delta
            async for event in result.stream_events()
            if event.type == "raw_response_event"
            and event.data.type == "response.output_text.delta"
        ]
        return "".join(deltas), result.final_output

    text, final = asyncio.run(stream())
    assert said(text) == GREETING.lower()
    assert final == GREETING


def test_history(model: OpenAIChatCompletionsModel, said: Said) -> None:
    """`to_input_list`: a second turn"""
    agent = Agent(name="Looker", model=model)
    first = run(agent, about())
    again = [*first.to_input_list(), {"role": "user", "content": "What colour is it?"}]
    assert "white" in said(run(agent, again).final_output)


def test_output_type(model: OpenAIChatCompletionsModel, said: Said) -> None:
    """`output_type`"""
    schema = AgentOutputSchema(Garment)
    agent = Agent(name="Looker", model=model, output_type=schema)
    assert run(agent, about()).final_output == Garment(item="coat")
    said("coat")


@function_tool  # type: ignore[untyped-decorator]
def report(garment: Garment) -> str:
    """Report the piece of clothing in a picture."""
    return f"reported {garment.item}"


def test_forced_tool(model: OpenAIChatCompletionsModel, said: Said) -> None:
    """a tool with `tool_choice` required, its result the answer"""
    agent = Agent(
        name="Looker", model=model, tools=[report],
        model_settings=ModelSettings(tool_choice="required"),
        tool_use_behavior=StopAtTools(stop_at_tool_names=["report"]),
    )  # fmt: skip
    assert said(run(agent, about()).final_output) == "reported coat"


def test_tool_round_trip(model: OpenAIChatCompletionsModel, said: Said) -> None:
    """a tool's round trip"""
    agent = Agent(
        name="Looker", model=model, tools=[report],
        model_settings=ModelSettings(tool_choice="required"),
    )  # fmt: skip
    result = run(agent, about())
    assert "reported coat" in str(result.to_input_list())
    assert said(result.final_output)


def test_responses(client: openai.AsyncOpenAI, said: Said) -> None:
    """`OpenAIResponsesModel`"""
    agent = Agent(name="Looker", model=OpenAIResponsesModel(MODEL, client))
    assert "coat" in said(run(agent, about()).final_output)


def test_responses_tool(client: openai.AsyncOpenAI, said: Said) -> None:
    """`OpenAIResponsesModel` with a tool"""
    agent = Agent(
        name="Looker", model=OpenAIResponsesModel(MODEL, client), tools=[report],
        model_settings=ModelSettings(tool_choice="required"),
    )  # fmt: skip
    result = run(agent, about())
    assert "reported coat" in str(result.to_input_list())
    assert said(result.final_output)
