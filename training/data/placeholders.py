"""Placeholders of media in the texts of a record, as training tools spell them.

LAMM puts all media before the first question. A placeholder at the start or end of that question,
or on a line of its own, is removed; anywhere else it would stay in the text as noise.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from lamm_model.conversation import Modality

_PICTURE = r"images?|image[_-]placeholder|image_?here|image_pad|img|picture"
_CLOUD = r"pcl|pcd?|points?|point[_-]?clouds?|point[_-]placeholder"
_OTHER = r"videos?|video_pad|audios?|speech|sound"
_NUMBER = r"(?:[ _-]?\d+)?"
_FLAGS = re.IGNORECASE
_ONE = re.compile(
    rf"<\|?(?:(?P<picture>{_PICTURE})|(?P<cloud>{_CLOUD})|(?:{_OTHER})){_NUMBER}\|?>", _FLAGS
)
_ANY = rf"<\|?(?:{_PICTURE}|{_CLOUD}|{_OTHER}){_NUMBER}\|?>"
_RUN = re.compile(rf"\s*(?:{_ANY}\s*)+", _FLAGS)
_END = re.compile(rf"(?:{_ANY}\s*)+\Z", _FLAGS)


class Placeholder(NamedTuple):
    """A placeholder as the text spells it; `modality` is None for media that LAMM does not read."""

    text: str
    modality: Modality | None


def find_placeholders(text: str) -> list[Placeholder]:
    """All placeholders, in order."""
    return [Placeholder(found[0], _modality(found)) for found in _ONE.finditer(text)]


def without_placeholders(question: str) -> str:
    """The question without the placeholders on lines of their own, at its start and at its end."""
    text = "\n".join(line for line in question.split("\n") if not _RUN.fullmatch(line))
    if start := _RUN.match(text):
        text = text[start.end() :]
    if end := _END.search(text):
        text = text[: end.start()].rstrip()
    return text


def _modality(found: re.Match[str]) -> Modality | None:
    if found["picture"]:
        return Modality.IMAGE
    return Modality.POINT_CLOUD if found["cloud"] else None
