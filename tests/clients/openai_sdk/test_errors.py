"""The `openai` package: error classes, and what the service does not have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import openai
import pytest

from tests.clients.content import COAT, MODEL, ask, picture

CLIENT = "openai"
SUBJECT = "errors"
Said = Callable[[object], str]
Refused = Callable[[BaseException], str]


def test_trailing_slash(base_url: str, said: Said) -> None:
    """a base URL that ends with a slash"""
    with openai.OpenAI(base_url=f"{base_url}/", api_key="any") as client:
        answer = client.chat.completions.create(model=MODEL, messages=ask(picture()))
    assert "coat" in said(answer.choices[0].message.content)


def test_unknown_model(client: openai.OpenAI, refused: Refused) -> None:
    """an unknown model: `NotFoundError`"""
    with pytest.raises(openai.NotFoundError) as error:
        client.chat.completions.create(model="nope", messages=ask())
    assert (error.value.code, error.value.param) == ("model_not_found", "model")
    assert "'nope'" in refused(error.value)
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("nope")


def test_value(client: openai.OpenAI, refused: Refused) -> None:
    """a value out of range: `BadRequestError`"""
    with pytest.raises(openai.BadRequestError) as error:
        client.chat.completions.create(model=MODEL, messages=ask(), temperature=5)
    assert error.value.param == "temperature"
    assert "2" in refused(error.value)


def test_context(client: openai.OpenAI, refused: Refused) -> None:
    """a prompt longer than the context: `BadRequestError` `context_length_exceeded`"""
    with pytest.raises(openai.BadRequestError) as error:
        client.chat.completions.create(model=MODEL, messages=ask(words="hello " * 2000))
    assert error.value.code == "context_length_exceeded"
    assert "1024" in refused(error.value)


def test_broken_picture(client: openai.OpenAI, refused: Refused) -> None:
    """a picture that cannot be decoded: `UnprocessableEntityError`"""
    part = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgoAAAA="}}
    with pytest.raises(openai.UnprocessableEntityError) as error:
        client.chat.completions.create(model=MODEL, messages=ask(part))
    assert error.value.param == "messages[0].content[0].image_url"
    refused(error.value)


@pytest.mark.parametrize(
    ("where", "url"),
    [("another host", "https://example.org/coat.png"), ("the disk", COAT.as_uri())],
)
def test_address(client: openai.OpenAI, refused: Refused, where: str, url: str) -> None:
    """a picture's address on {where}"""
    part = {"type": "image_url", "image_url": {"url": url}}
    with pytest.raises(openai.APIStatusError) as error:
        client.chat.completions.create(model=MODEL, messages=ask(part))
    assert error.value.status_code in (400, 422)
    assert "data:" in refused(error.value) or "--allowed-media-host" in str(error.value)


MISSING: dict[str, Callable[[openai.OpenAI], Any]] = {
    "embeddings": lambda client: client.embeddings.create(model=MODEL, input="hi"),
    "moderations": lambda client: client.moderations.create(input="hi"),
    "images": lambda client: client.images.generate(model=MODEL, prompt="a coat"),
    "audio": lambda client: client.audio.transcriptions.create(
        model=MODEL, file=("a.wav", b"RIFF")
    ),
    "uploads": lambda client: client.uploads.create(
        bytes=1, filename="a.png", mime_type="image/png", purpose="vision"
    ),
    "fine_tuning": lambda client: client.fine_tuning.jobs.list(),
    "vector_stores": lambda client: client.vector_stores.list(),
    "chat.completions.list": lambda client: client.chat.completions.list(),
}


@pytest.mark.parametrize("route", MISSING)
def test_missing_route(client: openai.OpenAI, refused: Refused, route: str) -> None:
    """`{route}`"""
    with pytest.raises(openai.APIStatusError) as error:
        MISSING[route](client)
    message = refused(error.value)
    if route == "chat.completions.list":
        assert (error.value.status_code, error.value.code) == (405, "method_not_allowed")
        return
    assert (error.value.status_code, error.value.code) == (404, "not_found")
    assert "POST /v1/chat/completions" in str(error.value.body)
    assert "not found" in message
