"""Requests and files that the service's tests send."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
from PIL import Image

REPLY = "A red chair with four legs."
CONTEXT = 256
IMAGE_TOKENS, POINT_TOKENS = 16, 8


def data_url(data: bytes, kind: str = "application/octet-stream") -> str:
    """A base64 data: URL."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def png(width: int = 8, height: int = 6) -> bytes:
    """A picture."""
    stream = io.BytesIO()
    Image.new("RGB", (width, height), "red").save(stream, "PNG")
    return stream.getvalue()


def npy(array: np.ndarray[Any, Any]) -> bytes:
    """An npy file."""
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def image(data: bytes | None = None) -> dict[str, Any]:
    """A picture's content part."""
    return {
        "type": "image_url",
        "image_url": {"url": data_url(png() if data is None else data, "image/png")},
    }


def cloud(data: bytes | None = None, format: str = "npy", **more: Any) -> dict[str, Any]:
    """A cloud's content part."""
    if data is None:
        data = npy(np.arange(300, dtype=np.float32).reshape(100, 3))
    return {
        "type": "point_cloud_url",
        "point_cloud_url": {"url": data_url(data), "format": format, **more},
    }


def chat_body(*parts: dict[str, Any], text: str = "What is this?", **more: Any) -> dict[str, Any]:
    """A request of one question."""
    content: Any = [*parts, {"type": "text", "text": text}] if parts else text
    return {"model": "tiny-lamm", "messages": [{"role": "user", "content": content}], **more}
