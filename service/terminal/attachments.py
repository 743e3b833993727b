"""Messages of the terminal client, and files as content parts."""

from __future__ import annotations

import base64
import mimetypes
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lamm_model.formats.point_cloud import FORMATS
from lamm_model.media import POINT_CLOUD_FORMATS


class ChatError(Exception):
    """An error that the user can fix."""


@dataclass(frozen=True, slots=True)
class CloudOptions:
    """How to read point-cloud files; None leaves it to the format."""

    units: str = "m"
    up_axis: str | None = None
    columns: int | None = None
    sample: str | None = None

    def fields(self, format: str) -> dict[str, Any]:
        """The request's fields for a file of that format; those for other formats are left out."""
        known = FORMATS[format].fields if format in FORMATS else frozenset[str]()
        given = {name: getattr(self, name) for name in ("units", "up_axis", *sorted(known))}
        return {name: value for name, value in given.items() if value is not None}


@dataclass(slots=True)
class Conversation:
    """Messages so far, and media for the next question."""

    system: str | None = None
    messages: list[dict[str, Any]] = field(default_factory=list)
    pending: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forgets everything but the system prompt."""
        self.pending = []
        self.messages = [] if self.system is None else [{"role": "system", "content": self.system}]

    def ask(self, question: str) -> None:
        """Adds the next question with its pending media."""
        parts = [*self.pending, {"type": "text", "text": question}]
        self.messages.append({"role": "user", "content": parts})
        self.pending = []

    def answer(self, text: str) -> None:
        """Adds the answer to the last question."""
        self.messages.append({"role": "assistant", "content": text})

    def take_back(self) -> None:
        """Removes the last question, which failed; its media are pending again."""
        parts = self.messages.pop()["content"]
        self.pending = [part for part in parts if part["type"] != "text"]


def image_part(path: Path) -> dict[str, Any]:
    """The content part of a picture file.

    Raises:
        ChatError: it cannot be read.
    """
    kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return {"type": "image_url", "image_url": {"url": _data_url(path, kind)}}


def cloud_part(path: Path, options: CloudOptions) -> dict[str, Any]:
    """The content part of a point-cloud file; the suffix names its format.

    Raises:
        ChatError: it cannot be read, or has an unknown suffix.
    """
    suffix = suffix_of(path)
    if suffix not in POINT_CLOUD_FORMATS:
        known = ", ".join(POINT_CLOUD_FORMATS)
        raise ChatError(f"{path}: {suffix!r} is not a point-cloud format; expected one of {known}")
    value: dict[str, Any] = {
        "url": _data_url(path, "application/octet-stream"),
        "format": suffix,
        **options.fields(suffix),
    }
    return {"type": "point_cloud_url", "point_cloud_url": value}


def suffix_of(path: Path) -> str:
    """The suffix in lower case, without its point."""
    return path.suffix.lower().lstrip(".")


def _data_url(path: Path, kind: str) -> str:
    try:
        data = path.expanduser().read_bytes()
    except OSError as error:
        raise ChatError(f"{path}: {error.strerror}") from error
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
