"""OpenAI's own SDK and its `responses`, over a real socket."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai
import pytest
from openai.types.responses import ResponseInputParam
from pydantic import BaseModel

from service.app import create_app
from service.config.settings import Settings
from service.engine.base import RequestFailedError
from tests.service.chat_requests import IMAGE_TOKENS, POINT_TOKENS, REPLY, png
from tests.service.endpoints.test_openai_sdk import Failing
from tests.service.listening import listening
from tests.service.responses_requests import asked, file, picture

MODEL = "tiny-lamm"
CHAIR = Path(__file__).resolve().parents[3] / "examples" / "chair.ply"


class Item(BaseModel):
    """What is asked for by a schema."""

    name: str
    legs: int


class Speaking(Failing):
    """Says what it is told to, a word at a time."""

    def say(self, reply: str) -> None:
        self._words = tuple(re.findall(r"\s*\S+|\s+", reply))


@dataclass(frozen=True)
class Served:
    """A running service and its engine."""

    url: str
    engine: Speaking


@pytest.fixture(scope="module")
def running(settings: Settings) -> Iterator[Served]:
    engine = Speaking(settings)
    engine.delay = 0.0
    with listening(create_app(settings, engine)) as url:
        yield Served(url, engine)


@pytest.fixture
def engine(running: Served) -> Speaking:
    running.engine.say(REPLY)
    return running.engine


@pytest.fixture
def sdk(running: Served, engine: Speaking) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{running.url}/v1", api_key="any", max_retries=0) as sdk:
        yield sdk


def question(*parts: dict[str, Any]) -> ResponseInputParam:
    found: ResponseInputParam = asked(*parts)["input"]
    return found


def modalities(response: Any) -> tuple[int, int]:
    """Tokens of pictures and of clouds, which the SDK keeps as further fields."""
    details = response.usage.input_tokens_details
    return details.image_tokens, details.point_cloud_tokens


def test_a_text(sdk: openai.OpenAI) -> None:
    response = sdk.responses.create(model=MODEL, input="What is this?", instructions="Be brief.")
    assert (response.output_text, response.status, response.error) == (REPLY, "completed", None)
    assert response.instructions == "Be brief."
    assert response.usage is not None
    assert response.usage.output_tokens == len(REPLY.split())
    cut = sdk.responses.create(model=MODEL, input="What is this?", max_output_tokens=2)
    assert cut.incomplete_details is not None
    assert (cut.output_text, cut.incomplete_details.reason) == ("A red", "max_output_tokens")


def test_pictures_and_clouds(sdk: openai.OpenAI) -> None:
    sent = question(picture(), file(CHAIR.read_bytes(), "chair.ply"))
    response = sdk.responses.create(model=MODEL, input=sent)
    assert response.output_text == REPLY
    assert modalities(response) == (IMAGE_TOKENS, POINT_TOKENS)


def test_stored_files(sdk: openai.OpenAI) -> None:
    stored = sdk.files.create(file=("a.png", png()), purpose="user_data")
    cloud = sdk.files.create(file=("chair.ply", CHAIR.read_bytes()), purpose="user_data")
    for part in (
        {"type": "input_image", "file_id": stored.id},
        {"type": "input_file", "file_id": stored.id},
    ):
        assert modalities(sdk.responses.create(model=MODEL, input=question(part))) == (
            IMAGE_TOKENS, 0,
        )  # fmt: skip
    part = {"type": "input_file", "file_id": cloud.id}
    response = sdk.responses.create(model=MODEL, input=question(part))
    assert modalities(response) == (0, POINT_TOKENS)


def test_a_conversation_goes_on_with_the_answer_itself(sdk: openai.OpenAI) -> None:
    first = sdk.responses.create(model=MODEL, input="What is this?")
    history: Any = [
        {"role": "user", "content": "What is this?"},
        *[one.model_dump() for one in first.output],
        {"role": "user", "content": "And now?"},
    ]
    second = sdk.responses.create(model=MODEL, input=history)
    assert first.usage is not None
    assert second.usage is not None
    assert second.usage.input_tokens > first.usage.total_tokens


def test_a_stream(sdk: openai.OpenAI) -> None:
    with sdk.responses.stream(model=MODEL, input=question(picture())) as stream:
        deltas = [one.delta for one in stream if one.type == "response.output_text.delta"]
        final = stream.get_final_response()
    assert "".join(deltas) == final.output_text == REPLY
    assert len(deltas) == len(REPLY.split())
    assert modalities(final) == (IMAGE_TOKENS, 0)
    raw = sdk.responses.create(model=MODEL, input="What is this?", stream=True)
    events = list(raw)
    assert events[0].type == "response.created"
    assert events[-1].type == "response.completed"
    assert [one.sequence_number for one in events] == list(range(len(events)))


def test_an_answer_is_parsed(sdk: openai.OpenAI, engine: Speaking) -> None:
    engine.say(json.dumps({"name": "chair", "legs": 4}))
    response = sdk.responses.parse(model=MODEL, input="What is this?", text_format=Item)
    assert response.output_parsed == Item(name="chair", legs=4)
    with sdk.responses.stream(model=MODEL, input="What is this?", text_format=Item) as stream:
        assert stream.get_final_response().output_parsed == Item(name="chair", legs=4)


async def test_the_async_client(running: Served, engine: Speaking) -> None:
    async with openai.AsyncOpenAI(base_url=f"{running.url}/v1", api_key="any") as sdk:
        assert (await sdk.responses.create(model=MODEL, input="What is this?")).output_text == REPLY
        async with sdk.responses.stream(model=MODEL, input="What is this?") as stream:
            assert (await stream.get_final_response()).output_text == REPLY


def test_refusals_have_the_sdk_s_types(sdk: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="answers are not stored") as caught:
        sdk.responses.create(model=MODEL, input="a", store=True)
    assert caught.value.param == "store"
    with pytest.raises(openai.BadRequestError, match="send the whole conversation in input"):
        sdk.responses.create(model=MODEL, input="a", previous_response_id="resp_1")
    with pytest.raises(openai.BadRequestError, match=r"tools\[0\] has type 'web_search'"):
        sdk.responses.create(model=MODEL, input="a", tools=[{"type": "web_search"}])
    with pytest.raises(openai.BadRequestError, match="maximum context length") as caught:
        sdk.responses.create(model=MODEL, input="word " * 1000)
    assert (caught.value.code, caught.value.param) == ("context_length_exceeded", "input")
    with pytest.raises(openai.NotFoundError, match="'gpt-7' is not served"):
        sdk.responses.create(model="gpt-7", input="a")
    with pytest.raises(openai.NotFoundError, match="answers are not stored"):
        sdk.responses.retrieve("resp_1")
    with pytest.raises(openai.NotFoundError, match="answers are not stored"):
        sdk.responses.delete("resp_1")


def test_a_failure_in_a_stream_is_raised(sdk: openai.OpenAI, engine: Speaking) -> None:
    engine.failures = [(2, RequestFailedError("CUDA error: 700"))]
    stream = sdk.responses.create(model=MODEL, input="What is this?", stream=True)
    seen: list[str] = []

    def read() -> None:
        for one in stream:
            seen.append(one.type)

    with pytest.raises(openai.APIError, match="this request failed in the engine"):
        read()
    assert seen[-1] == "response.failed"
