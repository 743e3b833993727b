"""Chat content parts from media files."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cachetools import LRUCache

from benchmark.errors import BenchmarkError

# Pictures and clouds that the service reads (`lamm_model.formats`, which the client does not
# install).
IMAGE_TYPES = {
    ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".jpe": "image/jpeg", ".jfif": "image/jpeg",
    ".png": "image/png", ".webp": "image/webp", ".bmp": "image/bmp", ".dib": "image/bmp",
    ".gif": "image/gif", ".tif": "image/tiff", ".tiff": "image/tiff", ".heic": "image/heic",
    ".heif": "image/heic", ".hif": "image/heic", ".avif": "image/avif",
}  # fmt: skip
CLOUD_FORMATS = (
    "asc", "bin", "csv", "e57", "glb", "gltf", "las", "laz", "npy", "npz", "obj", "off", "pcd",
    "ply", "pts", "stl", "txt", "xyz", "xyzn", "xyzrgb",
)  # fmt: skip
CACHED_BYTES = 64 * 1024 * 1024


def media_part(path: Path, content: bytes) -> dict[str, Any]:
    """The content part of a picture or point cloud, inline as a data: URL.

    Raises:
        BenchmarkError: the file extension is unknown.
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
    raise BenchmarkError(f"{path.name} has the extension {suffix!r}; expected one of {known}")


def image_part(content: bytes, mime: str) -> dict[str, Any]:
    """The content part of a picture given as bytes."""
    return {"type": "image_url", "image_url": {"url": data_url(content, mime)}}


def is_cloud(path: Path) -> bool:
    """Whether a file is a point cloud, for which OpenAI's API has no content part."""
    return path.suffix.lower()[1:] in CLOUD_FORMATS


def user_message(text: str, part: dict[str, Any] | None) -> dict[str, Any]:
    """One user message, the medium before the text as in LAMM's training data."""
    if part is None:
        return {"role": "user", "content": text}
    return {"role": "user", "content": [part, {"type": "text", "text": text}]}


def data_url(content: bytes, mime: str) -> str:
    """Bytes as a base64 data: URL (RFC 2397)."""
    return f"data:{mime};base64,{base64.b64encode(content).decode('ascii')}"


def encode_chat(
    text: str,
    part: bytes | None,
    fields: Mapping[str, Any],
    later: Sequence[Mapping[str, str]] = (),
) -> bytes:
    """The body of a chat request around an encoded part from `MediaCache`.

    Equal to `json.dumps` of `fields` with one `user_message` and the messages `later`. It is joined
    from bytes because escaping the base64 of a picture would be most of the cost of a request.
    """
    if part is None:
        return _encoded({**fields, "messages": [user_message(text, None), *later]})
    head = _encoded({**fields, "messages": []})[: -len(b"]}")]
    words = _encoded({"type": "text", "text": text})
    more = b"".join(b"," + _encoded(message) for message in later)
    return b"".join([head, b'{"role":"user","content":[', part, b",", words, b"]}", more, b"]}"])


class MediaCache:
    """Digests and encoded content parts of media files; each file is read and encoded once.

    Digests are kept for a whole run. Parts are kept in an LRU cache of `max_bytes`: questions about
    one picture follow one another, so a small cache is enough.
    """

    def __init__(self, max_bytes: int = CACHED_BYTES) -> None:
        self._digests: dict[Path, str] = {}
        self._parts: LRUCache[tuple[Path, str], bytes] = LRUCache(max_bytes, getsizeof=len)
        # The digest of a medium is needed just before its content: keep the bytes for that moment.
        self._last: tuple[Path, bytes] | None = None

    def digest(self, path: Path) -> str:
        """SHA-256 of the file's bytes, in hexadecimal.

        Raises:
            OSError: the file cannot be read.
        """
        known = self._digests.get(path)
        if known is None:
            self._last = path, path.read_bytes()
            known = self._digests[path] = hashlib.sha256(self._last[1]).hexdigest()
        return known

    def part(
        self, path: Path, way: str = "", make: Callable[[Path, bytes], dict[str, Any]] = media_part
    ) -> bytes:
        """The content part as JSON, made by `make`; `way` names the parameters of `make`.

        Raises:
            OSError: the file cannot be read.
            BenchmarkError: raised by `make`.
        """
        known = self._parts.get((path, way))
        if known is not None:
            return known
        last, self._last = self._last, None
        content = last[1] if last is not None and last[0] == path else path.read_bytes()
        encoded = _encoded(make(path, content))
        if len(encoded) <= self._parts.maxsize:
            self._parts[path, way] = encoded
        return encoded


# `json.dumps` with separators would create an encoder per call.
_ENCODER = json.JSONEncoder(separators=(",", ":"))


def _encoded(value: Mapping[str, Any]) -> bytes:
    return _ENCODER.encode(value).encode()
