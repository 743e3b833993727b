"""Requests of the Responses API that the service's tests send, and what its streams say."""

from __future__ import annotations

import json
from typing import Any

from tests.service.chat_requests import data_url, png

URL = "/v1/responses"


def asked(*parts: dict[str, Any], question: str = "What is this?", **more: Any) -> dict[str, Any]:
    """A request of one question."""
    content = [*parts, {"type": "input_text", "text": question}]
    found: Any = [{"role": "user", "content": content}] if parts else question
    return {"model": "tiny-lamm", "input": found, **more}


def picture(data: bytes | None = None) -> dict[str, Any]:
    """A picture's part."""
    url = data_url(png() if data is None else data, "image/png")
    return {"type": "input_image", "image_url": url, "detail": "auto"}


def file(data: bytes, name: str) -> dict[str, Any]:
    """A file's part."""
    return {"type": "input_file", "filename": name, "file_data": data_url(data)}


def events(text: str) -> list[dict[str, Any]]:
    """The events of a stream, each named after its type, and numbered; comments are left out."""
    blocks = [one for one in text.strip().split("\n\n") if not one.startswith(":")]
    found: list[dict[str, Any]] = []
    for number, block in enumerate(blocks):
        name, data = block.split("\n")
        found.append(json.loads(data.removeprefix("data: ")))
        assert name == f"event: {found[-1]['type']}"
        assert found[-1]["sequence_number"] == number
    return found
