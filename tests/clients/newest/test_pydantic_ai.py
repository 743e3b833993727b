"""The `pydantic-ai` package: `OpenAIChatModel`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from pydantic_ai import (
    Agent,
    BinaryContent,
    NativeOutput,
    PromptedOutput,
    ToolOutput,
    UnexpectedModelBehavior,
)  # fmt: skip
from pydantic_ai.exceptions import ModelHTTPError
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.openai import OpenAIProvider

from tests.clients.content import CHAIR, COAT, MODEL, Garment

CLIENT = "pydantic-ai-slim"
Said = Callable[[object], str]
Refused = Callable[[BaseException], str]


@pytest.fixture
def model(base_url: str) -> OpenAIChatModel:
    return OpenAIChatModel(MODEL, provider=OpenAIProvider(base_url=base_url, api_key="any"))


def about(words: str = "What is this?") -> list[Any]:
    """A question about the coat."""
    return [BinaryContent(COAT.read_bytes(), media_type="image/png"), words]


def test_picture(model: OpenAIChatModel, said: Said) -> None:
    """an agent about a picture (`BinaryContent`)"""
    answer = Agent(model, instructions="Be brief.").run_sync(about())
    assert "coat" in said(answer.output)
    assert answer.usage.input_tokens > 64


def test_cloud(model: OpenAIChatModel, said: Said) -> None:
    """an agent about a cloud (`BinaryContent`)"""
    content = BinaryContent(CHAIR.read_bytes(), media_type="application/octet-stream")
    assert "chair" in said(Agent(model).run_sync([content, "What is this?"]).output)


def test_stream(model: OpenAIChatModel, said: Said) -> None:
    """`run_stream`"""

    async def stream() -> list[str]:
        async with Agent(model).run_stream(about()) as result:
            return [part async for part in result.stream_text(delta=True, debounce_by=None)]

    parts = asyncio.run(stream())
    assert "coat" in said("".join(parts))
    assert len(parts) > 1


def test_history(model: OpenAIChatModel, said: Said) -> None:
    """`message_history`"""
    agent = Agent(model)
    first = agent.run_sync(about())
    answer = agent.run_sync("What colour is it?", message_history=first.all_messages())
    assert "white" in said(answer.output)


@pytest.mark.parametrize("kind", [ToolOutput, NativeOutput])
def test_output(model: OpenAIChatModel, said: Said, kind: Any) -> None:
    """`{kind.__name__}`"""
    answer = Agent(model, output_type=kind(Garment)).run_sync(about())
    assert answer.output == Garment(item="coat")
    said(answer.output)


def test_prompted_output(model: OpenAIChatModel, refused: Refused) -> None:
    """`PromptedOutput` (lamm-mini does not follow a schema in words)"""
    agent = Agent(model, output_type=PromptedOutput(Garment), retries=0)
    with pytest.raises(UnexpectedModelBehavior) as error:
        agent.run_sync(about())
    assert refused(error.value)


def test_tools(model: OpenAIChatModel, said: Said) -> None:
    """an agent with a tool"""
    agent = Agent(model)

    @agent.tool_plain  # type: ignore[untyped-decorator]
    def report(item: str) -> str:
        """Report a piece of clothing."""
        return f"reported {item}"

    assert "coat" in said(agent.run_sync(about()).output)


def test_responses(base_url: str, said: Said) -> None:
    """`OpenAIResponsesModel`"""
    provider = OpenAIProvider(base_url=base_url, api_key="any")
    answer = Agent(OpenAIResponsesModel(MODEL, provider=provider)).run_sync(about())
    assert "coat" in said(answer.output)


@pytest.mark.parametrize("kind", [ToolOutput, NativeOutput])
def test_responses_output(base_url: str, said: Said, kind: Any) -> None:
    """`OpenAIResponsesModel` with `{kind.__name__}`"""
    model = OpenAIResponsesModel(MODEL, provider=OpenAIProvider(base_url=base_url, api_key="any"))
    answer = Agent(model, output_type=kind(Garment)).run_sync(about())
    assert answer.output == Garment(item="coat")
    said(answer.output)


def test_unknown_model(base_url: str, refused: Refused) -> None:
    """an unknown model: `ModelHTTPError`"""
    provider = OpenAIProvider(base_url=base_url, api_key="any")
    with pytest.raises(ModelHTTPError) as error:
        Agent(OpenAIChatModel("nope", provider=provider)).run_sync("Hello!")
    assert error.value.status_code == 404
    assert "'nope'" in refused(error.value)
