"""Messages of the terminal client, and files as content parts."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lamm_model.formats.pictures.picture_formats import MEDIA_TYPES
from lamm_model.formats.point_cloud import FORMATS
from lamm_model.media import POINT_CLOUD_SUFFIXES


class ChatError(Exception):
    """An error that the user can fix."""


@dataclass(frozen=True, slots=True)
class CloudOptions:
    """How to read point-cloud files; None leaves it to the format."""

    units: str = "m"
    up_axis: str | None = None
    columns: int | None = None
    sample: str | None = None
    camera: Mapping[str, Any] | None = None

    def format_of(self, path: Path) -> str:
        """The suffix in lower case; `depth` for PNG files if there is a camera."""
        suffix = path.suffix.lower().lstrip(".")
        return "depth" if suffix == "png" and self.camera is not None else suffix

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
    kind = MEDIA_TYPES.get(path.suffix.lower().lstrip("."), "application/octet-stream")
    return {"type": "image_url", "image_url": {"url": _data_url(path, kind)}}


def cloud_part(path: Path, options: CloudOptions) -> dict[str, Any]:
    """The content part of a point-cloud file or, with a camera, of a depth picture.

    Raises:
        ChatError: it cannot be read, or has an unknown suffix.
    """
    format = options.format_of(path)
    if format not in FORMATS:
        known = ", ".join(POINT_CLOUD_SUFFIXES)
        raise ChatError(
            f"{path}: {format!r} is not a point-cloud format; expected one of {known}, or png with "
            "--camera"
        )
    value: dict[str, Any] = {
        "url": _data_url(path, "application/octet-stream"),
        "format": format,
        **options.fields(format),
    }
    return {"type": "point_cloud_url", "point_cloud_url": value}


def read_camera(path: Path) -> Mapping[str, Any]:
    """A camera's JSON.

    Raises:
        ChatError: the file cannot be read, or has no JSON object.
    """
    try:
        camera = json.loads(path.expanduser().read_bytes())
    except OSError as error:
        raise ChatError(f"{path}: {error.strerror}") from error
    except ValueError:
        camera = None
    if not isinstance(camera, dict):
        raise ChatError(f"{path}: expected a JSON object with fx, fy, cx and cy")
    return camera


def _data_url(path: Path, kind: str) -> str:
    try:
        data = path.expanduser().read_bytes()
    except OSError as error:
        raise ChatError(f"{path}: {error.strerror}") from error
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
