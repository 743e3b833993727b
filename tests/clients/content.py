"""What every client is asked: the examples as content parts, and the answers' schemas."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel

ROOT = Path(__file__).resolve().parents[2]
MODEL = "lamm-mini"
COAT = ROOT / "examples" / "coat.png"
CHAIR = ROOT / "examples" / "chair.ply"
QUESTION = "What is this?"
GREETING = "Hello! Send me a picture or a point cloud and ask away."


class Garment(BaseModel):
    """A piece of clothing in a picture."""

    item: Literal["coat", "bag", "shirt"]


class Described(BaseModel):
    """A piece of clothing, its strings free."""

    item: str
    colour: str | None = None


# A function that the model may call, as JSON.
TOOL: Any = {
    "type": "function",
    "function": {
        "name": "report",
        "description": "Report the piece of clothing in a picture",
        "parameters": Garment.model_json_schema(),
    },
}


def encoded(path: Path) -> str:
    """A file as base64."""
    return base64.b64encode(path.read_bytes()).decode()


def data_url(path: Path, kind: str = "image/png") -> str:
    """A file as a `data:` URL."""
    return f"data:{kind};base64,{encoded(path)}"


def picture() -> dict[str, Any]:
    """The coat as an `image_url` part."""
    return {"type": "image_url", "image_url": {"url": data_url(COAT)}}


def cloud() -> dict[str, Any]:
    """The chair as a `point_cloud_url` part."""
    url = data_url(CHAIR, "application/octet-stream")
    return {"type": "point_cloud_url", "point_cloud_url": {"url": url, "format": "ply"}}


def text(words: str = QUESTION) -> dict[str, Any]:
    """A text part."""
    return {"type": "text", "text": words}


def user(*parts: dict[str, Any], words: str = QUESTION) -> dict[str, Any]:
    """A user's message: the parts, then the question."""
    return {"role": "user", "content": [*parts, text(words)]}


def ask(*parts: dict[str, Any], words: str = QUESTION) -> list[Any]:
    """The messages of a question about the parts."""
    return [user(*parts, words=words)]


def tool_history() -> list[Any]:
    """A question, the call that it led to, and the call's result."""
    call = {"name": "weather", "arguments": json.dumps({"city": "Basel"})}
    return [
        {"role": "user", "content": "What is the weather in Basel?"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "call_1", "type": "function", "function": call}],
        },
        {"role": "tool", "tool_call_id": "call_1", "content": "sunny"},
        {"role": "user", "content": "Hello!"},
    ]
