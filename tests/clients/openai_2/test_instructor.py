"""The `instructor` package, in its modes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import instructor
import openai
import pytest
from instructor import Mode
from instructor.core import IncompleteOutputException, InstructorRetryException
from pydantic import field_validator

from tests.clients.content import MODEL, QUESTION, Described, Garment, ask, picture

CLIENT = "instructor"
Said = Callable[[object], str]
Refused = Callable[[BaseException], str]


@pytest.fixture(scope="module")
def client(base_url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=base_url, api_key="any", max_retries=0) as made:
        yield made


def is_coat(answer: Any) -> bool:
    """Whether the answer is the right garment; instructor makes a subclass of the model."""
    return isinstance(answer, Garment) and answer.item == "coat"


def create(client: openai.OpenAI, mode: Mode, model: Any = Garment, **options: Any) -> Any:
    """An answer about the picture."""
    asked = {"model": MODEL, "messages": ask(picture()), "max_retries": 0}
    made = instructor.from_openai(client, mode=mode)
    return made.chat.completions.create(response_model=model, **{**asked, **options})


@pytest.mark.parametrize("mode", [Mode.TOOLS, Mode.JSON_SCHEMA])
def test_mode(client: openai.OpenAI, said: Said, mode: Mode) -> None:
    """`{mode}`"""
    answer = create(client, mode)
    assert is_coat(answer)
    said(answer)


@pytest.mark.parametrize("mode", [Mode.JSON, Mode.MD_JSON])
def test_schema_in_words(client: openai.OpenAI, refused: Refused, mode: Mode) -> None:
    """`{mode}` (lamm-mini does not follow a schema in words)"""
    with pytest.raises((InstructorRetryException, IncompleteOutputException)) as error:
        create(client, mode)
    assert refused(error.value)


def test_parallel_tools(client: openai.OpenAI, refused: Refused) -> None:
    """`Mode.PARALLEL_TOOLS` (it sends `tool_choice` auto)"""
    with pytest.raises(InstructorRetryException, match="No tool calls in response") as error:
        create(client, Mode.PARALLEL_TOOLS, Iterable[Garment])
    assert refused(error.value)


def test_free_strings(client: openai.OpenAI, said: Said) -> None:
    """`Mode.JSON_SCHEMA` with free strings"""
    answer = create(client, Mode.JSON_SCHEMA, Described)
    assert isinstance(answer, Described)
    said(answer)


def test_partial(client: openai.OpenAI, said: Said) -> None:
    """`create_partial`: a stream of a model that fills"""
    made = instructor.from_openai(client, mode=Mode.JSON_SCHEMA)
    parts = list(
        made.chat.completions.create_partial(
            model=MODEL, messages=ask(picture()), response_model=Described, max_retries=0
        )
    )
    assert parts[-1].item
    said(parts[-1])


def test_iterable(client: openai.OpenAI, said: Said) -> None:
    """`create_iterable`"""
    made = instructor.from_openai(client, mode=Mode.JSON_SCHEMA)
    found = list(
        made.chat.completions.create_iterable(
            model=MODEL, messages=ask(picture()), response_model=Garment, max_retries=0
        )
    )
    assert all(isinstance(one, Garment) for one in found)
    said(found)


def test_with_completion(client: openai.OpenAI, said: Said) -> None:
    """`create_with_completion`"""
    made = instructor.from_openai(client, mode=Mode.JSON_SCHEMA)
    answer, completion = made.chat.completions.create_with_completion(
        model=MODEL, messages=ask(picture()), response_model=Garment, max_retries=0
    )
    assert is_coat(answer)
    assert completion.usage.prompt_tokens > 64
    said(answer)


@pytest.mark.parametrize("mode", [Mode.JSON_SCHEMA, Mode.TOOLS])
def test_retry(client: openai.OpenAI, said: Said, mode: Mode) -> None:
    """a retry, `{mode}`"""
    tries = []

    class Strict(Garment):
        """A garment that is right only at the second look."""

        @field_validator("item")
        @classmethod
        def _second_look(cls, item: str) -> str:
            tries.append(item)
            if len(tries) == 1:
                raise ValueError("look again")
            return item

    answer = create(client, mode, Strict, max_retries=2)
    assert len(tries) == 2
    said(answer)


def test_async(base_url: str, said: Said) -> None:
    """`AsyncInstructor`"""

    async def call() -> Any:
        async with openai.AsyncOpenAI(base_url=base_url, api_key="any") as client:
            made = instructor.from_openai(client, mode=Mode.JSON_SCHEMA)
            return await made.chat.completions.create(
                model=MODEL, messages=ask(picture()), response_model=Garment
            )

    assert is_coat(asyncio.run(call()))
    said("coat")


def test_responses(client: openai.OpenAI, said: Said) -> None:
    """`Mode.RESPONSES_TOOLS`"""
    url = picture()["image_url"]["url"]
    parts = [{"type": "input_image", "image_url": url}, {"type": "input_text", "text": QUESTION}]
    answer = create(client, Mode.RESPONSES_TOOLS, messages=[{"role": "user", "content": parts}])
    assert is_coat(answer)
    said(answer)


def test_picture_of_its_own(client: openai.OpenAI, said: Said) -> None:
    """`instructor.Image`"""
    image = instructor.Image.from_base64(picture()["image_url"]["url"])
    messages = [{"role": "user", "content": ["What is this?", image]}]
    answer = create(client, Mode.JSON_SCHEMA, messages=messages)
    assert is_coat(answer)
    said(answer)
