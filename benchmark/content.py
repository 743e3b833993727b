"""Media files as chat content parts: what goes into a message beside its text."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from benchmark.errors import BenchmarkError

IMAGE_TYPES = {
    ".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".webp": "image/webp",
    ".bmp": "image/bmp", ".gif": "image/gif",
}  # fmt: skip
CLOUD_FORMATS = ("npy", "npz", "ply", "pcd", "xyz", "bin")


def media_part(path: Path, content: bytes) -> dict[str, Any]:
    """The content part of one picture or cloud, inline as a data: URL.

    Raises:
        BenchmarkError: the file name's ending is of no known format.
    """
    suffix = path.suffix.lower()
    if suffix in IMAGE_TYPES:
        return image_part(content, IMAGE_TYPES[suffix])
    if suffix[1:] in CLOUD_FORMATS:
        url = data_url(content, "application/octet-stream")
        return {
            "type": "point_cloud_url",
            "point_cloud_url": {"url": url, "format": suffix[1:]},
        }
    known = ", ".join([*IMAGE_TYPES, *(f".{name}" for name in CLOUD_FORMATS)])
    raise BenchmarkError(f"{path.name}: {suffix or 'no ending'!r} is none of {known}")


def image_part(content: bytes, mime: str) -> dict[str, Any]:
    """The content part of a picture given as bytes."""
    return {"type": "image_url", "image_url": {"url": data_url(content, mime)}}


def user_message(text: str, part: dict[str, Any] | None) -> dict[str, Any]:
    """One user message; the medium stands before the text, as LAMM was trained."""
    if part is None:
        return {"role": "user", "content": text}
    return {"role": "user", "content": [part, {"type": "text", "text": text}]}


def data_url(content: bytes, mime: str) -> str:
    """Bytes as a base64 data: URL (RFC 2397)."""
    return f"data:{mime};base64,{base64.b64encode(content).decode('ascii')}"
