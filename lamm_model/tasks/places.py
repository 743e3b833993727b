"""Labels with places in free text: which label stands with which group of coordinates.

Called by detection, locating and 3D detection.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from lamm_model.tasks.coordinates import Group
from lamm_model.tasks.label_sets import find_classes
from lamm_model.tasks.parsing import tokens

_NOTHING = re.compile(r"\b(?:no|not any|nothing|none)\b", re.IGNORECASE)
_OPENING = re.compile(r"[\[{]")
# Fences, tags and brackets that stand around labels.
_MARKUP = re.compile(r"```\w*|</?\w*>|[\[\](){}<>]")
_FILLER = frozenset({
    "a", "an", "the", "and", "there", "is", "are", "at", "in", "located", "with", "box",
    "bounding", "object", "item", "of", "on", "it", "i", "see", "found", "also", "one", "its",
    "can", "as", "follows", "picture", "image", "another", "second", "then", "left", "right",
    "top", "bottom", "position", "point", "label", "bbox", "point_2d", "bbox_2d", "scene", "room",
    "center", "centre", "coordinate", "coordinates", "shows", "show", "contains", "depicts", "has"
})  # fmt: skip


def label_pattern_fault(label: str) -> str | None:
    """Why a label could not be told from the coordinates beside it, or None."""
    if set(label) & set("[](){}<>;\n"):
        return f"label {label!r} holds a bracket, a semicolon or a line break"
    return None


def says_nothing_is_there(text: str) -> bool:
    """Whether a text without any place says that there is none, rather than breaking off."""
    return bool(_NOTHING.search(text)) and not _OPENING.search(text)


def cut_short(text: str, found: Sequence[Group]) -> bool:
    """Whether brackets were opened that hold no place: an answer that broke off, or a stray one."""
    spans = [(group.start, group.end) for group in found]
    inner = [m.start() for m in _OPENING.finditer(text)]
    unread = [at for at in inner if not any(start <= at < end for start, end in spans)]
    # Brackets around the whole list, as in JSON, hold the places.
    return any(not any(start > at for start, _ in spans) for at in unread) or len(
        re.findall(r"[\[{]", text)
    ) > len(re.findall(r"[\]}]", text))


def labelled(
    text: str, found: Sequence[Group], labels: Sequence[str] | None
) -> Iterator[tuple[str | None, Group]]:
    """Each group with the label before it (or after it, where the first one has none before).

    A group without a label of its own takes the one of the group before.
    """
    if not found:
        return
    before = label_of(text[: found[0].start], labels) is not None
    previous: str | None = None
    for index, group in enumerate(found):
        if before:
            segment = text[found[index - 1].end if index else 0 : group.start]
        else:
            following = found[index + 1].start if index + 1 < len(found) else len(text)
            segment = text[group.end : following]
        previous = label_of(segment, labels) or previous
        yield previous, group


def label_of(segment: str, labels: Sequence[str] | None) -> str | None:
    """The label that a stretch of text next to a place names, or None."""
    if labels is not None:
        named = find_classes(segment, labels)
        return labels[named[-1].label] if named else None
    pieces = re.split(r"[;:,.\n]|\band\b", _MARKUP.sub(" ", segment))
    worded = [words for piece in pieces if (words := _words(piece))]
    return " ".join(worded[-1]).strip("\"' ") or None if worded else None


def _words(piece: str) -> list[str]:
    """Words of a piece without filler at either end."""
    words = piece.split()
    while words and _idle(words[0]):
        words = words[1:]
    while words and _idle(words[-1]):
        words = words[:-1]
    return words


def _idle(word: str) -> bool:
    return word.casefold().strip("\"'") in _FILLER or not tokens(word)
