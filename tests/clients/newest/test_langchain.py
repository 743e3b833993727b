"""The `langchain-openai` package: `ChatOpenAI`, with messages of langchain's own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import openai
import pytest
from langchain.agents import create_agent
from langchain.agents.structured_output import ProviderStrategy, ToolStrategy
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAI, OpenAIEmbeddings

from tests.clients.content import (
    CHAIR,
    COAT,
    MODEL,
    Described,
    Garment,
    cloud,
    data_url,
    encoded,
    picture,
    text,
)  # fmt: skip

CLIENT = "langchain-openai"
Said = Callable[[object], str]
Refused = Callable[[BaseException], str]


@pytest.fixture(scope="module")
def model(base_url: str) -> ChatOpenAI:
    return ChatOpenAI(model=MODEL, base_url=base_url, api_key="any", max_retries=0)


def about(*parts: dict[str, Any], words: str = "What is this?") -> list[Any]:
    """A question about the parts."""
    return [HumanMessage(content=[*parts, text(words)])]


PICTURES: dict[str, dict[str, Any]] = {
    "`image_url` part": picture(),
    "`image_url`, a bare string": {"type": "image_url", "image_url": data_url(COAT)},
    "image block (`base64`)": {
        "type": "image", "base64": encoded(COAT), "mime_type": "image/png",
    },
    "image block (`url`)": {"type": "image", "url": data_url(COAT)},
    "image block (`source_type`)": {
        "type": "image", "source_type": "base64", "data": encoded(COAT), "mime_type": "image/png",
    },
    "file block": {
        "type": "file", "base64": encoded(COAT), "mime_type": "image/png", "filename": "coat.png",
    },
    "file block without a name": {
        "type": "file", "base64": encoded(COAT), "mime_type": "image/png",
    },
}  # fmt: skip


@pytest.mark.parametrize("part", PICTURES)
def test_picture(model: ChatOpenAI, said: Said, part: str) -> None:
    """picture: {part}"""
    assert "coat" in said(model.invoke(about(PICTURES[part])).content)


@pytest.mark.parametrize(
    ("form", "name"), [("", {"filename": "chair.ply"}), (" without a name", {})]
)
def test_cloud_file(model: ChatOpenAI, said: Said, form: str, name: dict[str, str]) -> None:
    """cloud: file block{form}"""
    kind = "application/octet-stream"
    block = {"type": "file", "base64": encoded(CHAIR), "mime_type": kind, **name}
    assert "chair" in said(model.invoke(about(block)).content)


def test_cloud(model: ChatOpenAI, said: Said) -> None:
    """cloud: `point_cloud_url` part"""
    assert "chair" in said(model.invoke(about(cloud())).content)


def test_stream(model: ChatOpenAI, said: Said) -> None:
    """`stream` with `stream_usage`"""
    chunks = list(model.stream(about(picture()), stream_usage=True))
    assert "coat" in said("".join(str(chunk.content) for chunk in chunks))
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole += chunk
    assert whole.usage_metadata["output_tokens"] > 2


def test_async(model: ChatOpenAI, said: Said) -> None:
    """`ainvoke`, `astream`"""

    async def both() -> tuple[str, str]:
        answer = await model.ainvoke(about(picture()))
        chunks = [str(chunk.content) async for chunk in model.astream(about(picture()))]
        return str(answer.content), "".join(chunks)

    first, second = asyncio.run(both())
    assert "coat" in said(first)
    assert second == first


def test_batch(model: ChatOpenAI, said: Said) -> None:
    """`batch`"""
    answers = [str(one.content) for one in model.batch([about(picture()), about(cloud())])]
    assert "coat" in answers[0]
    assert "chair" in said(answers[1])


def test_bound_fields(model: ChatOpenAI, said: Said) -> None:
    """`bind` with `stop`, `logprobs`, `seed`"""
    bound = model.bind(stop=[" coat"], logprobs=True, seed=3)
    answer = bound.invoke(about(picture()))
    assert said(answer.content) == "it is a"
    assert answer.response_metadata["logprobs"]["content"]


def test_extra_body(base_url: str, said: Said) -> None:
    """`extra_body` with fields of the service's own"""
    model = ChatOpenAI(model=MODEL, base_url=base_url, api_key="any", extra_body={"top_k": 1})
    assert "coat" in said(model.invoke(about(picture())).content)


def test_second_turn(model: ChatOpenAI, said: Said) -> None:
    """an answer in the history"""
    messages = about(picture())
    messages += [model.invoke(messages), HumanMessage("What colour is it?")]
    assert "white" in said(model.invoke(messages).content)


def test_system_alone(model: ChatOpenAI, said: Said) -> None:
    """a system message alone"""
    assert said(model.invoke([SystemMessage("Say hello.")]).content)


def test_assistant_first(model: ChatOpenAI, said: Said) -> None:
    """an assistant's message first"""
    assert "coat" in said(model.invoke([AIMessage("Hello!"), *about(picture())]).content)


def test_tool_history(model: ChatOpenAI, said: Said) -> None:
    """a tool's call in the history"""
    call = {"name": "weather", "args": {"city": "Basel"}, "id": "1"}
    messages = [
        HumanMessage("What is the weather in Basel?"),
        AIMessage("", tool_calls=[call]),
        ToolMessage("sunny", tool_call_id="1"),
    ]
    assert said(model.invoke(messages).content)


@tool  # type: ignore[untyped-decorator]
def report(item: str) -> str:
    """Report the piece of clothing in a picture."""
    return item


@pytest.mark.parametrize("choice", ["required", "any", "report", True])
def test_forced_tool(model: ChatOpenAI, said: Said, choice: Any) -> None:
    """`bind_tools`, `tool_choice` {choice}"""
    bound = model.bind_tools([Garment if choice != "report" else report], tool_choice=choice)
    [call] = bound.invoke(about(picture())).tool_calls
    assert call["name"] == ("report" if choice == "report" else "Garment")
    assert "item" in call["args"]
    if choice != "report":
        assert call["args"] == {"item": "coat"}
    said(call["args"])


def test_offered_tool(model: ChatOpenAI, said: Said) -> None:
    """`bind_tools` with `tool_choice` auto"""
    answer = model.bind_tools([Garment], tool_choice="auto").invoke(about(picture()))
    assert "coat" in said(answer.content or answer.tool_calls)


def test_agent_round_trip(model: ChatOpenAI, said: Said) -> None:
    """a tool's round trip"""
    messages = about(picture())
    answer = model.bind_tools([Garment], tool_choice="required").invoke(messages)
    [call] = answer.tool_calls
    messages += [answer, ToolMessage("noted", tool_call_id=call["id"])]
    messages += [HumanMessage("What colour is it?")]
    assert "white" in said(model.bind_tools([Garment], tool_choice="none").invoke(messages).content)


def test_agent(model: ChatOpenAI, said: Said) -> None:
    """`create_agent` with a tool"""
    agent = create_agent(model, tools=[report], system_prompt="Be brief.")
    state = agent.invoke({"messages": about(picture())})
    assert "coat" in said(state["messages"][-1].content)


@pytest.mark.parametrize("strategy", [ProviderStrategy, ToolStrategy])
def test_agent_schema(model: ChatOpenAI, said: Said, strategy: Any) -> None:
    """`create_agent` with `{strategy.__name__}`"""
    agent = create_agent(model, response_format=strategy(Garment))
    state = agent.invoke({"messages": about(picture())})
    assert state["structured_response"] == Garment(item="coat")
    said(state["structured_response"])


@pytest.mark.parametrize("method", ["json_schema", "function_calling", "json_mode"])
def test_structured(model: ChatOpenAI, said: Said, method: Any) -> None:
    """`with_structured_output`, {method}"""
    words = "What is this? Answer in JSON." if method == "json_mode" else "What is this?"
    schema: Any = None if method == "json_mode" else Garment
    answer = model.with_structured_output(schema, method=method).invoke(
        about(picture(), words=words)
    )
    assert isinstance(answer, dict) if method == "json_mode" else answer == Garment(item="coat")
    said(answer)


def test_structured_free_strings(model: ChatOpenAI, said: Said) -> None:
    """`with_structured_output` with free strings, `include_raw`"""
    asked = model.with_structured_output(Described, include_raw=True)
    answer = asked.invoke(about(picture()))
    assert answer["parsing_error"] is None
    assert isinstance(answer["parsed"], Described)
    said(answer["raw"].content)


def test_responses(base_url: str, said: Said) -> None:
    """`use_responses_api`"""
    model = ChatOpenAI(model=MODEL, base_url=base_url, api_key="any", use_responses_api=True)
    assert "coat" in said(model.invoke(about(PICTURES["image block (`base64`)"])).text)


def test_responses_structured(base_url: str, said: Said) -> None:
    """`use_responses_api`: `with_structured_output`, `bind_tools` with `tool_choice` any"""
    model = ChatOpenAI(model=MODEL, base_url=base_url, api_key="any", use_responses_api=True)
    question = about(PICTURES["image block (`base64`)"])
    assert model.with_structured_output(Garment).invoke(question) == Garment(item="coat")
    [call] = model.bind_tools([Garment], tool_choice="any").invoke(question).tool_calls
    assert (call["name"], call["args"]) == ("Garment", {"item": "coat"})
    said(call["args"])


def test_text_completion(base_url: str, said: Said) -> None:
    """`OpenAI`: text completion"""
    model = OpenAI(model=MODEL, base_url=base_url, api_key="any", max_tokens=5)
    assert said(model.invoke("Hello"))


def test_context(model: ChatOpenAI, refused: Refused) -> None:
    """a prompt longer than the context"""
    with pytest.raises(openai.BadRequestError) as error:
        model.invoke("hello " * 2000)
    assert "1024" in refused(error.value)


def test_embeddings(base_url: str, refused: Refused) -> None:
    """`OpenAIEmbeddings`"""
    model = OpenAIEmbeddings(
        model=MODEL, base_url=base_url, api_key="any", check_embedding_ctx_length=False
    )
    with pytest.raises(openai.NotFoundError) as error:
        model.embed_query("hi")
    assert "POST /v1/embeddings" in refused(error.value)
