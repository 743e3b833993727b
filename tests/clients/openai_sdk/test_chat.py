"""The `openai` package: chat, streams and text completions."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import openai
import pytest

from tests.clients.content import (
    COAT,
    GREETING,
    MODEL,
    ask,
    cloud,
    data_url,
    picture,
)  # fmt: skip

CLIENT = "openai"
SUBJECT = "chat, streams, text completions"
Said = Callable[[object], str]


def content(answer: Any) -> str:
    """The first choice's text."""
    return str(answer.choices[0].message.content)


def joined(chunks: Any) -> str:
    """The text of a stream."""
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


@pytest.mark.parametrize(
    ("about", "part", "expected"), [("a picture", picture, "coat"), ("a cloud", cloud, "chair")]
)
def test_chat(
    client: openai.OpenAI, said: Said, about: str, part: Callable[[], Any], expected: str
) -> None:
    """chat about {about}"""
    answer = client.chat.completions.create(model=MODEL, messages=ask(part()))
    assert expected in said(content(answer))
    assert answer.choices[0].finish_reason == "stop"


def test_picture_and_cloud(client: openai.OpenAI, said: Said) -> None:
    """a picture and a cloud in one message"""
    answer = client.chat.completions.create(model=MODEL, messages=ask(picture(), cloud()))
    assert said(content(answer)).startswith("it is a")
    details = answer.usage.prompt_tokens_details.model_dump()
    assert (details["image_tokens"], details["point_cloud_tokens"]) == (64, 64)


def test_extra_body(client: openai.OpenAI, said: Said) -> None:
    """`extra_body` with a cloud and the service's own fields"""
    answer = client.chat.completions.create(
        model=MODEL, messages=ask(), extra_body={"messages": ask(cloud()), "top_k": 1, "min_p": 0.1}
    )
    assert "chair" in said(content(answer))


def test_bare_image_url(client: openai.OpenAI, said: Said) -> None:
    """a bare string as `image_url`"""
    part = {"type": "image_url", "image_url": data_url(COAT)}
    answer = client.chat.completions.create(model=MODEL, messages=ask(part))
    assert "coat" in said(content(answer))


def test_stream_with_usage(client: openai.OpenAI, said: Said) -> None:
    """stream with `include_usage`"""
    chunks = list(
        client.chat.completions.create(
            model=MODEL,
            messages=ask(picture()),
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    assert "coat" in said(joined(chunks))
    assert [chunk.usage is not None for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    assert chunks[-1].usage.prompt_tokens_details.image_tokens == 64


def test_stream_helper(client: openai.OpenAI, said: Said) -> None:
    """`chat.completions.stream`"""
    with client.chat.completions.stream(model=MODEL, messages=ask(picture())) as stream:
        kinds = {event.type for event in stream}
        assert "coat" in said(content(stream.get_final_completion()))
    assert {"chunk", "content.delta", "content.done"} <= kinds


def test_async(base_url: str, said: Said) -> None:
    """`AsyncOpenAI`, three calls at once"""

    async def three() -> list[str]:
        async with openai.AsyncOpenAI(base_url=base_url, api_key="any") as client:
            calls = [
                client.chat.completions.create(model=MODEL, messages=ask(picture()))
                for _ in range(3)
            ]
            return [content(answer) for answer in await asyncio.gather(*calls)]

    answers = asyncio.run(three())
    assert all("coat" in said(answer) for answer in answers)
    assert len(answers) == 3


def test_async_stream(base_url: str, said: Said) -> None:
    """`AsyncOpenAI` stream"""

    async def stream() -> str:
        async with openai.AsyncOpenAI(base_url=base_url, api_key="any") as client:
            chunks = await client.chat.completions.create(
                model=MODEL, messages=ask(picture()), stream=True
            )
            return joined([chunk async for chunk in chunks])

    assert "coat" in said(asyncio.run(stream()))


def test_raw_response(client: openai.OpenAI, said: Said) -> None:
    """`with_raw_response`, with its request id"""
    raw = client.chat.completions.with_raw_response.create(
        model=MODEL, messages=ask(picture()), extra_headers={"X-Request-Id": "mine"}
    )
    assert raw.headers["x-request-id"] == "mine"
    assert raw.parse()._request_id == "mine"
    assert "coat" in said(content(raw.parse()))


def test_streaming_response(client: openai.OpenAI, said: Said) -> None:
    """`with_streaming_response`"""
    with client.chat.completions.with_streaming_response.create(
        model=MODEL, messages=ask(picture()), stream=True
    ) as response:
        lines = [line for line in response.iter_lines() if line]
    assert lines[-1] == "data: [DONE]"
    assert any("coat" in said(line) for line in lines)


def test_closed_stream(client: openai.OpenAI, said: Said) -> None:
    """a stream that is closed early"""
    stream = client.chat.completions.create(model=MODEL, messages=ask(picture()), stream=True)
    next(iter(stream))
    stream.close()
    answer = client.chat.completions.create(model=MODEL, messages=ask(picture()))
    assert "coat" in said(content(answer))


def test_choices(client: openai.OpenAI, said: Said) -> None:
    """`n=2` with a seed"""
    answer = client.chat.completions.create(
        model=MODEL, messages=ask(picture()), n=2, seed=7, temperature=0.5
    )
    assert [choice.index for choice in answer.choices] == [0, 1]
    assert all(said(choice.message.content).endswith(".") for choice in answer.choices)


def test_logprobs(client: openai.OpenAI, said: Said) -> None:
    """`logprobs` with two alternatives"""
    answer = client.chat.completions.create(
        model=MODEL, messages=ask(picture()), logprobs=True, top_logprobs=2
    )
    tokens = answer.choices[0].logprobs.content
    assert "coat" in said("".join(token.token for token in tokens))
    assert all(token.logprob <= 0 and len(token.top_logprobs) == 2 for token in tokens)


def test_length_and_stop(client: openai.OpenAI, said: Said) -> None:
    """`max_completion_tokens` and `stop`"""
    cut = client.chat.completions.create(
        model=MODEL, messages=ask(picture()), max_completion_tokens=2
    )
    assert (cut.choices[0].finish_reason, cut.usage.completion_tokens) == ("length", 2)
    stopped = client.chat.completions.create(model=MODEL, messages=ask(picture()), stop=[" coat"])
    assert said(content(stopped)) == "it is a"
    assert stopped.choices[0].finish_reason == "stop"


def test_fields_of_other_services(client: openai.OpenAI, said: Said) -> None:
    """`store`, `metadata`, `service_tier`, `reasoning_effort`, `safety_identifier`"""
    answer = client.chat.completions.create(
        model=MODEL, messages=ask(picture()), store=False, metadata={"a": "b"},
        service_tier="auto", reasoning_effort="low", safety_identifier="someone", user="someone",
        prompt_cache_key="coats",
    )  # fmt: skip
    assert "coat" in said(content(answer))


def test_greeting(client: openai.OpenAI, said: Said) -> None:
    """chat without a medium"""
    answer = client.chat.completions.create(model=MODEL, messages=ask(words="Hello!"))
    assert said(content(answer)) == GREETING.lower()


def test_text_completion(client: openai.OpenAI, said: Said) -> None:
    """text completion, two prompts"""
    answer = client.completions.create(model=MODEL, prompt=["Hello", "Thank you"], max_tokens=5)
    assert [choice.index for choice in answer.choices] == [0, 1]
    assert said(answer.choices[0].text)
    assert answer.usage.completion_tokens <= 10


def test_text_completion_stream(client: openai.OpenAI, said: Said) -> None:
    """text completion stream"""
    options: Any = {"model": MODEL, "prompt": "Hello", "max_tokens": 5}
    chunks = client.completions.create(**options, stream=True)
    whole = client.completions.create(**options).choices[0].text
    assert "".join(chunk.choices[0].text for chunk in chunks if chunk.choices) == whole
    said(whole)
