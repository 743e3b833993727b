"""The `openai` package: files, batches and models."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import openai
import pytest

from tests.clients.content import CHAIR, COAT, MODEL, ask, data_url, picture

CLIENT = "openai"
SUBJECT = "files, batches, models"
Said = Callable[[object], str]
Refused = Callable[[BaseException], str]


def chat(client: openai.OpenAI, part: dict[str, Any]) -> str:
    answer = client.chat.completions.create(model=MODEL, messages=ask(part))
    return str(answer.choices[0].message.content)


@pytest.mark.parametrize("purpose", ["vision", "user_data", "assistants"])
def test_file(client: openai.OpenAI, said: Said, purpose: Any) -> None:
    """`files` of each purpose, by id in a `file` part"""
    file = client.files.create(file=COAT, purpose=purpose)
    assert (file.bytes, file.purpose) == (COAT.stat().st_size, purpose)
    assert "coat" in said(chat(client, {"type": "file", "file": {"file_id": file.id}}))
    assert file.id in [one.id for one in client.files.list(purpose=purpose)]
    assert client.files.retrieve(file.id).filename == "coat.png"
    assert client.files.content(file.id).read() == COAT.read_bytes()
    assert client.files.delete(file.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(file.id)


def test_file_of_cloud(client: openai.OpenAI, said: Said) -> None:
    """`files` with `expires_after`: a cloud, by id"""
    file = client.files.create(
        file=CHAIR, purpose="user_data", expires_after={"anchor": "created_at", "seconds": 3600}
    )
    assert 3500 < (file.expires_at or 0) - time.time() <= 3600
    assert "chair" in said(chat(client, {"type": "file", "file": {"file_id": file.id}}))
    part = {"type": "point_cloud_url", "point_cloud_url": {"file_id": file.id, "format": "ply"}}
    assert "chair" in said(chat(client, part))
    client.files.delete(file.id)


def test_file_pages(client: openai.OpenAI, said: Said) -> None:
    """`files.list` page by page"""
    made = [
        client.files.create(file=(f"{n}.txt", f"{n} 0 0".encode()), purpose="user_data")
        for n in range(3)
    ]
    listed = [one.id for one in client.files.list(limit=2, order="asc")]
    assert {one.id for one in made} <= set(listed)
    said(f"{len(made)} files in pages of 2")
    for one in made:
        client.files.delete(one.id)


def test_unknown_purpose(client: openai.OpenAI, refused: Refused) -> None:
    """`files`: upload for `fine-tune`"""
    with pytest.raises(openai.BadRequestError) as error:
        client.files.create(file=("a.jsonl", b"{}"), purpose="fine-tune")
    assert "purpose is 'fine-tune'" in refused(error.value)


@pytest.mark.parametrize(
    ("about", "name"), [("with a name", {"filename": "coat.png"}), ("without a name", {})]
)
def test_file_data(client: openai.OpenAI, said: Said, about: str, name: dict[str, str]) -> None:
    """picture: `file` part {about}"""
    part = {"type": "file", "file": {"file_data": data_url(COAT), **name}}
    assert "coat" in said(chat(client, part))


def test_nameless_cloud(client: openai.OpenAI, said: Said) -> None:
    """cloud: `file` part without a name"""
    url = data_url(CHAIR, "application/octet-stream")
    assert "chair" in said(chat(client, {"type": "file", "file": {"file_data": url}}))


def test_document(client: openai.OpenAI, refused: Refused) -> None:
    """a PDF in a `file` part"""
    part = {
        "type": "file",
        "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0xLjQK"},
    }
    with pytest.raises(openai.APIStatusError) as error:
        chat(client, part)
    assert error.value.status_code == 415
    assert "a.pdf" in refused(error.value)


def test_batch(client: openai.OpenAI, said: Said) -> None:
    """`batches`: create, poll, read, list"""
    body = {"model": MODEL, "messages": ask(picture())}
    line = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": body}
    file = client.files.create(file=("in.jsonl", json.dumps(line).encode()), purpose="batch")
    batch = client.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
    )
    until = time.monotonic() + 60
    while batch.status not in ("completed", "failed", "expired", "cancelled"):
        assert time.monotonic() < until, batch
        time.sleep(0.1)
        batch = client.batches.retrieve(batch.id)
    assert batch.status == "completed"
    [answer] = client.files.content(batch.output_file_id or "").text.splitlines()
    found = json.loads(answer)
    assert found["custom_id"] == "a"
    message = found["response"]["body"]["choices"][0]["message"]
    assert "coat" in said(message["content"])
    assert batch.id in [one.id for one in client.batches.list()]


def test_models(client: openai.OpenAI, said: Said) -> None:
    """`models`: list, retrieve"""
    listed = [model.id for model in client.models.list()]
    assert MODEL in listed
    assert client.models.retrieve(MODEL).id == MODEL
    said(", ".join(listed))
