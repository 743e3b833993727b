"""The `openai` package: conversations of every shape."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import openai

from tests.clients.content import MODEL, ask, picture, text, tool_history, user

CLIENT = "openai"
SUBJECT = "conversations"
Said = Callable[[object], str]


def content(answer: Any) -> str:
    """The first choice's text."""
    return str(answer.choices[0].message.content)


def test_developer_and_system(client: openai.OpenAI, said: Said) -> None:
    """system and developer messages, named"""
    messages: list[Any] = [
        {"role": "system", "content": "Be brief.", "name": "a"},
        {"role": "developer", "content": [text("Be kind.")]},
        user(picture()),
    ]
    answer = client.chat.completions.create(model=MODEL, messages=messages)
    assert content(answer)
    said(content(answer))


def test_system_alone(client: openai.OpenAI, said: Said) -> None:
    """a system message alone"""
    messages: Any = [{"role": "system", "content": "Say hello."}]
    assert said(content(client.chat.completions.create(model=MODEL, messages=messages)))


def test_assistant_first(client: openai.OpenAI, said: Said) -> None:
    """an assistant's message first"""
    messages: Any = [{"role": "assistant", "content": "Hello!"}, user(picture())]
    answer = client.chat.completions.create(model=MODEL, messages=messages)
    assert "coat" in said(content(answer))


def test_refusal_in_history(client: openai.OpenAI, said: Said) -> None:
    """a refusal in the history"""
    refusal = {"role": "assistant", "content": [{"type": "refusal", "refusal": "I cannot."}]}
    messages: Any = [user(words="Hello!"), refusal, user(picture())]
    answer = client.chat.completions.create(model=MODEL, messages=messages)
    assert "coat" in said(content(answer))


def test_tool_history(client: openai.OpenAI, said: Said) -> None:
    """a tool's call in the history"""
    answer = client.chat.completions.create(model=MODEL, messages=tool_history())
    assert said(content(answer))


def test_answer_as_history(client: openai.OpenAI, said: Said) -> None:
    """an answer in the history"""
    messages = ask(picture())
    first = client.chat.completions.create(model=MODEL, messages=messages)
    messages += [first.choices[0].message, *ask(words="What colour is it?")]
    answer = client.chat.completions.create(model=MODEL, messages=messages)
    assert "white" in said(content(answer))


def test_continue_final_message(client: openai.OpenAI, said: Said) -> None:
    """`continue_final_message` through `extra_body`"""
    messages = [*ask(picture()), {"role": "assistant", "content": "It is"}]
    answer = client.chat.completions.create(
        model=MODEL, messages=messages,
        extra_body={"continue_final_message": True, "add_generation_prompt": False},
    )  # fmt: skip
    assert "coat" in said(content(answer))
