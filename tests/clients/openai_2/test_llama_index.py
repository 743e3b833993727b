"""The `llama-index-llms-openai-like` package: `OpenAILike`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import openai
import pytest
from llama_index.core.base.llms.types import (
    ChatMessage,
    DocumentBlock,
    ImageBlock,
    MessageRole,
    TextBlock,
)  # fmt: skip
from llama_index.core.prompts import PromptTemplate
from llama_index.core.tools import FunctionTool
from llama_index.llms.openai_like import OpenAILike

from tests.clients.content import CHAIR, COAT, GREETING, MODEL, Garment

CLIENT = "llama-index-llms-openai-like"
Said = Callable[[object], str]
Refused = Callable[[BaseException], str]


def made(base_url: str, **fields: Any) -> OpenAILike:
    """A client without the temperature of 0.1 that is its default; `fields` beat what is common."""
    common = {
        "is_chat_model": True, "context_window": 1024, "max_retries": 0, "temperature": 0.0,
    }  # fmt: skip
    return OpenAILike(model=MODEL, api_base=base_url, api_key="any", **{**common, **fields})


@pytest.fixture(scope="module")
def model(base_url: str) -> OpenAILike:
    return made(base_url)


@pytest.fixture(scope="module")
def calling(base_url: str) -> OpenAILike:
    """The client for a model that calls functions."""
    return made(base_url, is_function_calling_model=True)


def about(*blocks: Any, words: str = "What is this?") -> list[ChatMessage]:
    """A question about the blocks."""
    return [ChatMessage(role="user", blocks=[*blocks, TextBlock(text=words)])]


PICTURES: dict[str, Callable[[], ImageBlock]] = {
    "bytes": lambda: ImageBlock(image=COAT.read_bytes()),
    "path": lambda: ImageBlock(path=COAT),
}


@pytest.mark.parametrize("given", PICTURES)
def test_picture(model: OpenAILike, said: Said, given: str) -> None:
    """`chat` with an `ImageBlock` by its {given}"""
    assert "coat" in said(model.chat(about(PICTURES[given]())).message.content)


def test_picture_elsewhere(model: OpenAILike, refused: Refused) -> None:
    """`chat` with an `ImageBlock` by a `url` on another host"""
    with pytest.raises(openai.APIStatusError) as error:
        model.chat(about(ImageBlock(url="https://example.org/coat.png")))
    assert error.value.status_code in (400, 422)
    assert "--allowed-media-host" in refused(error.value)


def test_document(model: OpenAILike, said: Said) -> None:
    """`chat` with a cloud in a `DocumentBlock`"""
    block = DocumentBlock(
        data=CHAIR.read_bytes(), title="chair.ply", document_mimetype="application/octet-stream"
    )
    assert "chair" in said(model.chat(about(block)).message.content)


def test_streams(model: OpenAILike, said: Said) -> None:
    """`stream_chat`, `stream_complete`"""
    parts = list(model.stream_chat(about(ImageBlock(image=COAT.read_bytes()))))
    assert "coat" in said("".join(part.delta or "" for part in parts))
    parts = list(model.stream_complete("Hello!"))
    assert parts[-1].text == GREETING


def test_complete(model: OpenAILike, said: Said) -> None:
    """`complete`"""
    assert said(model.complete("Hello!").text) == GREETING.lower()


def test_async(model: OpenAILike, said: Said) -> None:
    """`achat`, `astream_chat`, `acomplete`"""

    async def all_of_them() -> list[str]:
        question = about(ImageBlock(image=COAT.read_bytes()))
        answer = (await model.achat(question)).message.content
        stream = await model.astream_chat(question)
        parts = [part.delta or "" async for part in stream]
        return [answer, "".join(parts), (await model.acomplete("Hello!")).text]

    answer, stream, completion = asyncio.run(all_of_them())
    assert "coat" in said(answer)
    assert (stream, completion) == (answer, GREETING)


def test_text_completion(base_url: str, said: Said) -> None:
    """`is_chat_model=False`: text completion"""
    assert said(made(base_url, is_chat_model=False, max_tokens=5).complete("Hello").text)


def test_system_alone(model: OpenAILike, said: Said) -> None:
    """a system message alone"""
    message = ChatMessage(role=MessageRole.SYSTEM, content="Say hello.")
    assert said(model.chat([message]).message.content)


def test_second_turn(model: OpenAILike, said: Said) -> None:
    """an answer in the history"""
    messages = about(ImageBlock(image=COAT.read_bytes()))
    messages += [model.chat(messages).message, *about(words="What colour is it?")]
    assert "white" in said(model.chat(messages).message.content)


def test_structured_schema(base_url: str, said: Said) -> None:
    """`as_structured_llm`, `should_use_structured_outputs`"""
    model = made(base_url, should_use_structured_outputs=True).as_structured_llm(Garment)
    answer = model.chat(about(ImageBlock(image=COAT.read_bytes())))
    assert answer.raw == Garment(item="coat")
    said(answer.message.content)


def test_structured_tool(calling: OpenAILike, said: Said) -> None:
    """`as_structured_llm`, `is_function_calling_model`"""
    model = calling.as_structured_llm(Garment)
    answer = model.chat(about(ImageBlock(image=COAT.read_bytes())))
    assert answer.raw == Garment(item="coat")
    said(answer.message.content)


def test_structured_predict(base_url: str, said: Said) -> None:
    """`structured_predict`"""
    model = made(base_url, should_use_structured_outputs=True)
    answer = model.structured_predict(Garment, PromptTemplate("This is a {thing}."), thing="coat")
    assert isinstance(answer, Garment)
    said(answer)


def report(item: str) -> str:
    """Report the piece of clothing in a picture."""
    return f"reported {item}"


def test_forced_tool(calling: OpenAILike, said: Said) -> None:
    """`chat_with_tools`, `tool_required`"""
    tool = FunctionTool.from_defaults(report)
    answer = calling.chat_with_tools(
        [tool], chat_history=about(ImageBlock(image=COAT.read_bytes())), tool_required=True
    )
    [call] = calling.get_tool_calls_from_response(answer)
    assert call.tool_name == "report"
    assert said(call.tool_kwargs["item"])


def test_predict_and_call(calling: OpenAILike, said: Said) -> None:
    """`predict_and_call` offers a tool"""
    tool = FunctionTool.from_defaults(report)
    answer = calling.predict_and_call(
        [tool], chat_history=about(ImageBlock(image=COAT.read_bytes())),
        error_on_no_tool_call=False,
    )  # fmt: skip
    assert said(answer.response)


def test_tool_history(calling: OpenAILike, said: Said) -> None:
    """a tool's call in the history"""
    function = {"name": "report", "arguments": '{"item": "coat"}'}
    call = {"id": "1", "type": "function", "function": function}
    messages = [
        *about(ImageBlock(image=COAT.read_bytes())),
        ChatMessage(role="assistant", content="", additional_kwargs={"tool_calls": [call]}),
        ChatMessage(role="tool", content="noted", additional_kwargs={"tool_call_id": "1"}),
        *about(words="What colour is it?"),
    ]
    assert "white" in said(calling.chat(messages).message.content)
