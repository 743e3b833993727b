"""The `litellm` package, by its providers `openai` and `hosted_vllm`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import litellm
import pytest

from tests.clients.content import (
    CHAIR,
    COAT,
    MODEL,
    TOOL,
    Garment,
    ask,
    cloud,
    data_url,
    picture,
    tool_history,
)  # fmt: skip

CLIENT = "litellm"
Said = Callable[[object], str]
Refused = Callable[[BaseException], str]

litellm.suppress_debug_info = True
litellm.telemetry = False
PROVIDERS = pytest.mark.parametrize("provider", ["openai", "hosted_vllm"])


@pytest.fixture
def to(base_url: str) -> dict[str, Any]:
    """Where calls go."""
    return {"api_base": base_url, "api_key": "any", "num_retries": 0}


def content(answer: Any) -> str:
    """The first choice's text."""
    return str(answer.choices[0].message.content)


def joined(chunks: Any) -> str:
    """The text of a stream."""
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


@PROVIDERS
def test_chat(to: dict[str, Any], said: Said, provider: str) -> None:
    """chat about a picture"""
    answer = litellm.completion(model=f"{provider}/{MODEL}", messages=ask(picture()), **to)
    assert "coat" in said(content(answer))
    assert answer.usage.prompt_tokens > 64


@PROVIDERS
def test_bare_image_url(to: dict[str, Any], said: Said, provider: str) -> None:
    """a bare string as `image_url`"""
    part = {"type": "image_url", "image_url": data_url(COAT)}
    answer = litellm.completion(model=f"{provider}/{MODEL}", messages=ask(part), **to)
    assert "coat" in said(content(answer))


def cloud_file() -> dict[str, Any]:
    """The chair as a `file` part."""
    url = data_url(CHAIR, "application/octet-stream")
    return {"type": "file", "file": {"file_data": url, "filename": "chair.ply"}}


@PROVIDERS
def test_cloud_file(to: dict[str, Any], said: Said, provider: str) -> None:
    """a cloud in a `file` part"""
    answer = litellm.completion(model=f"{provider}/{MODEL}", messages=ask(cloud_file()), **to)
    assert "chair" in said(content(answer))


def test_cloud_part(to: dict[str, Any], refused: Refused) -> None:
    """a `point_cloud_url` part (litellm itself)"""
    with pytest.raises(Exception, match="valid OpenAI chat completion messages") as error:
        litellm.completion(model=f"openai/{MODEL}", messages=ask(cloud()), **to)
    assert refused(error.value)


def test_cloud_in_extra_body(to: dict[str, Any], said: Said) -> None:
    """a `point_cloud_url` part in `extra_body`"""
    answer = litellm.completion(
        model=f"openai/{MODEL}", messages=ask(), extra_body={"messages": ask(cloud())}, **to
    )
    assert "chair" in said(content(answer))


@PROVIDERS
def test_stream(to: dict[str, Any], said: Said, provider: str) -> None:
    """stream with usage"""
    chunks = list(
        litellm.completion(
            model=f"{provider}/{MODEL}", messages=ask(picture()), stream=True,
            stream_options={"include_usage": True}, **to,
        )
    )  # fmt: skip
    assert "coat" in said(joined(chunks))
    assert litellm.stream_chunk_builder(chunks).usage.completion_tokens > 2


def test_file_part(to: dict[str, Any], said: Said) -> None:
    """a picture in a `file` part"""
    part = {"type": "file", "file": {"file_data": data_url(COAT), "format": "image/png"}}
    answer = litellm.completion(model=f"openai/{MODEL}", messages=ask(part), **to)
    assert "coat" in said(content(answer))


def test_async(to: dict[str, Any], said: Said) -> None:
    """`acompletion`, and its stream"""

    async def both() -> tuple[str, str]:
        options = {"model": f"openai/{MODEL}", "messages": ask(picture()), **to}
        answer = await litellm.acompletion(**options)
        chunks = await litellm.acompletion(**options, stream=True)
        return content(answer), joined([chunk async for chunk in chunks])

    first, second = asyncio.run(both())
    assert "coat" in said(first)
    assert second == first


def test_batch(to: dict[str, Any], said: Said) -> None:
    """`batch_completion`"""
    answers = litellm.batch_completion(
        model=f"openai/{MODEL}", messages=[ask(picture()), ask(cloud_file())], **to
    )
    assert "coat" in content(answers[0])
    assert "chair" in said(content(answers[1]))


def test_router(to: dict[str, Any], said: Said) -> None:
    """`Router` over two deployments"""
    deployments = [
        {"model_name": "lamm", "litellm_params": {"model": f"{provider}/{MODEL}", **to}}
        for provider in ("openai", "hosted_vllm")
    ]
    router = litellm.Router(model_list=deployments, num_retries=0)
    answer = router.completion(model="lamm", messages=ask(picture()))
    assert "coat" in said(content(answer))


@PROVIDERS
def test_schema(to: dict[str, Any], said: Said, provider: str) -> None:
    """`response_format` with a pydantic model"""
    answer = litellm.completion(
        model=f"{provider}/{MODEL}", messages=ask(picture()), response_format=Garment, **to
    )
    assert Garment.model_validate_json(said(content(answer))).item == "coat"


def test_logprobs_and_choices(to: dict[str, Any], said: Said) -> None:
    """`n`, `seed`, `logprobs`"""
    answer = litellm.completion(
        model=f"openai/{MODEL}", messages=ask(picture()), n=2, seed=1, temperature=0.3,
        logprobs=True, top_logprobs=1, **to,
    )  # fmt: skip
    assert len(answer.choices) == 2
    assert "coat" in said(content(answer))
    assert answer.choices[1].logprobs.content[0].logprob <= 0


def test_text_completion(to: dict[str, Any], said: Said) -> None:
    """`text_completion`"""
    answer = litellm.text_completion(
        model=f"text-completion-openai/{MODEL}", prompt="Hello", max_tokens=5, **to
    )
    assert said(answer.choices[0].text)


def test_extra_fields(to: dict[str, Any], said: Said) -> None:
    """fields of the service's own: `top_k`, `priority`"""
    answer = litellm.completion(
        model=f"hosted_vllm/{MODEL}", messages=ask(picture()), top_k=1,
        extra_body={"priority": 10}, **to,
    )  # fmt: skip
    assert "coat" in said(content(answer))


def test_tool_history(to: dict[str, Any], said: Said) -> None:
    """a tool's call in the history"""
    answer = litellm.completion(model=f"openai/{MODEL}", messages=tool_history(), **to)
    assert said(content(answer))


@PROVIDERS
def test_forced_tool(to: dict[str, Any], said: Said, provider: str) -> None:
    """`tool_choice` required"""
    answer = litellm.completion(
        model=f"{provider}/{MODEL}", messages=ask(picture()), tools=[TOOL],
        tool_choice="required", **to,
    )  # fmt: skip
    [call] = answer.choices[0].message.tool_calls
    assert json.loads(said(call.function.arguments)) == {"item": "coat"}


def test_responses(to: dict[str, Any], said: Said) -> None:
    """`responses`"""
    answer = litellm.responses(model=f"openai/{MODEL}", input="Hello!", **to)
    assert "picture" in said(answer.output_text)


def test_responses_tool(to: dict[str, Any], said: Said) -> None:
    """`responses` stream of a tool's call"""
    tool = {"type": "function", **TOOL["function"]}
    events = litellm.responses(
        model=f"openai/{MODEL}", input="Hello!", tools=[tool], tool_choice="required", stream=True,
        **to,
    )  # fmt: skip
    [call] = list(events)[-1].response.output
    assert call.name == "report"
    assert Garment.model_validate_json(said(call.arguments)).item


def test_unknown_model(to: dict[str, Any], refused: Refused) -> None:
    """an unknown model: `NotFoundError`"""
    with pytest.raises(litellm.NotFoundError) as error:
        litellm.completion(model="openai/nope", messages=ask(), **to)
    assert "'nope'" in refused(error.value)


def test_context(to: dict[str, Any], refused: Refused) -> None:
    """a prompt longer than the context: `ContextWindowExceededError`"""
    with pytest.raises(litellm.ContextWindowExceededError) as error:
        litellm.completion(model=f"openai/{MODEL}", messages=ask(words="hello " * 2000), **to)
    assert "1024" in refused(error.value)


def test_embedding(to: dict[str, Any], refused: Refused) -> None:
    """`embedding`"""
    with pytest.raises(litellm.NotFoundError) as error:
        litellm.embedding(model=f"openai/{MODEL}", input="hi", **to)
    assert "POST /v1/embeddings" in refused(error.value)
