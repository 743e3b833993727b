"""Labels with places in free text: the label of each group of coordinates."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from lamm_model.tasks.reading.classes import find_classes
from lamm_model.tasks.reading.coordinates import Group
from lamm_model.tasks.reading.denials import negates, says_nothing
from lamm_model.tasks.reading.named_numbers import without_names
from lamm_model.tasks.reading.words import token_matches, tokens

# These words introduce an exception: something is present.
_STILL = re.compile(r"\b(?:but|however|except|besides|apart|only|just)\b", re.IGNORECASE)
_OPENING = re.compile(r"[\[{]")
_PIECE = re.compile(r"[;:,\n]|\.(?!\d)|\band\b|\bbut\b")
# Maximum length of the sentence before a place.
_SENTENCE = 200
_POSSESSIVE = re.compile(r"(?<=\w)'s\b")
_ARTICLES = frozenset({"a", "an", "the", "another", "his", "her", "its"})
_NEAR = frozenset({
    "near", "beside", "behind", "under", "above", "below", "by", "on", "with", "holding", "riding"
})  # fmt: skip
_NEXT_TO = frozenset({
    ("next", "to"), ("close", "to"), ("left", "of"), ("right", "of"), ("front", "of"), ("top", "of")
})  # fmt: skip
# Words that may follow the name of a thing without being a part of it.
_LINKS = frozenset({
    "about", "across", "against", "alone", "along", "am", "appear", "appears", "area", "areas",
    "around", "asleep", "awake", "be", "because", "been", "behind", "being", "below", "between",
    "both", "bounds", "but", "can", "cannot", "clearly", "coords", "corner", "corners", "could",
    "covers", "crop", "does", "down", "extends", "extent", "facing", "fills", "first", "for",
    "frame", "from", "had", "have", "here", "high", "if", "inside", "instance", "instances", "into",
    "lies", "location", "locations", "lower", "marked", "may", "middle", "might", "next", "nor",
    "not", "number", "occupies", "only", "or", "out", "over", "partly", "patch", "pixel", "pixels",
    "place", "present", "px", "range", "ranges", "reaches", "rect", "rectangle", "region",
    "regions", "runs", "seems", "side", "sits", "spans", "spot", "stands", "starts", "takes",
    "that", "this", "to", "too", "up", "upper", "visible", "was", "wears", "were", "where", "which",
    "while", "who", "whose", "will", "within", "without", "worn", "would", "xywh", "xyxy"
})  # fmt: skip
_PARTICIPLES = ("ing", "ed", "ly")
# What ends an item of a list, and a line that holds a label and no place.
_NEW_ITEM = re.compile(r"[;{}|]|\n|(?<!\d)\.\s")
_HEADING = re.compile(r"\w[^\n\w]*:[^\n\w]*\n")
# Code fences, tags and brackets around labels.
_MARKUP = re.compile(
    r"```\w*|</\w*>|<(?:answer|b|bbox|box|class|em|i|item|label|li|loc|name|obj|object|p|phrase|point"
    r"|points|ref|strong|td|tr|ul)?>|[\[\](){}<>]",
    re.IGNORECASE,
)
# What a label cannot have, see `label_pattern_fault`.
_BREAKS = re.compile(r"[\[\](){}<>;\n]")
_FILLER = frozenset({
    "a", "an", "the", "and", "there", "is", "are", "at", "in", "located", "with", "box",
    "bounding", "object", "item", "of", "on", "it", "i", "see", "found", "also", "one", "its",
    "can", "as", "follows", "picture", "image", "another", "second", "then", "left", "right",
    "top", "bottom", "position", "point", "label", "bbox", "point_2d", "bbox_2d", "scene", "room",
    "center", "centre", "coordinate", "coordinates", "shows", "show", "contains", "depicts", "has",
    "so", "type", "name", "class", "category", "id", "confidence", "conf", "score", "probability",
    "sure", "size", "order", "format", "percent"
})  # fmt: skip


def label_pattern_fault(label: str) -> str | None:
    """Why a label cannot be separated from the coordinates after it; None if it can."""
    if set(label) & set("[](){}<>;\n"):
        return f"label {label!r} has a bracket, a semicolon or a line break"
    return None


def says_nothing_is_there(text: str, labels: Sequence[str] | None) -> bool:
    """Whether a text without a place states that there is no object, and does not break off.

    A text that names an object without its place does not.
    """
    if not says_nothing(text) or _OPENING.search(text) or _STILL.search(text):
        return False
    return all(match.negated for match in find_classes(text, labels or ()))


def cut_short(text: str, found: Sequence[Group]) -> bool:
    """Whether a bracket is open or holds no place, as in an answer that was cut off."""
    spans = [(group.start, group.end) for group in found]
    inner = [m.start() for m in _OPENING.finditer(text)]
    unread = [at for at in inner if not any(start <= at < end for start, end in spans)]
    # Brackets around the whole list, as in JSON, contain the places.
    unenclosed = any(not any(start > at for start, _ in spans) for at in unread)
    return unenclosed or len(inner) > len(re.findall(r"[\]}]", text))


def labelled(
    text: str, found: Sequence[Group], labels: Sequence[str] | None
) -> Iterator[tuple[str | None, Group]]:
    """Each group with the label before it (or after it, if there is none before the first group).

    A group without a word of its own has the label before it in the same list, or that of the
    heading; after a semicolon, a new line or a sentence it has none. A group whose words are none
    of the labels has those words as its label: it is something else. Groups of negated labels are
    left out.
    """
    if not found:
        return
    text = without_names(text)
    first = text[: found[0].start]
    before = bool(label_of(first, labels) or label_of(first, None))
    previous: tuple[str | None, bool] = None, False
    is_heading = False
    for index, group in enumerate(found):
        if before:
            segment = text[found[index - 1].end if index else 0 : group.start]
        else:
            following = found[index + 1].start if index + 1 < len(found) else len(text)
            segment = text[group.end : following]
        own = label_of(segment, labels) or label_of(segment, None)
        if own is not None:
            previous, is_heading = own, _HEADING.search(segment) is not None
        elif not before or (_NEW_ITEM.search(segment) and not is_heading):
            previous = None, False
        label, denied = previous
        if not denied:
            yield label, group


def label_of(segment: str, labels: Sequence[str] | None) -> tuple[str, bool] | None:
    """The label in a segment next to a place, and whether it is negated; None without one."""
    if labels is not None:
        # "The dog's box" refers to the dog.
        named = find_classes(segment, labels)
        if not named:
            segment = _POSSESSIVE.sub("", segment)
            named = find_classes(segment, labels)
        if not named:
            return None
        words = tokens(segment)
        # "The dog next to the person is at" gives the place of the dog.
        own = [match for match in named if not _is_landmark(words, match.start)] or named
        if _goes_on(segment, own[-1].end):
            return None
        return labels[own[-1].label], own[-1].negated or _denies(words[own[-1].end :])
    pieces = _PIECE.split(_POSSESSIVE.sub("", _MARKUP.sub(" ", segment)))
    worded = [words for piece in pieces if (words := _words(piece))]
    label = " ".join(worded[-1]).strip("\"' ") if worded else ""
    return (label, _denies(tokens(label))) if label else None


def stated_label(
    words: str, labels: Sequence[str] | None, *, in_prose: bool
) -> tuple[str | None, bool]:
    """The label that a notation gives to a place, and whether it is negated.

    `in_prose`: the words are the sentence before the place, of which the last name counts. Words
    that are none of the labels are the label: it is something else.
    """
    if in_prose:
        return label_of(words, labels) or label_of(words, None) or (None, False)
    plain = " ".join(_BREAKS.sub(" ", words).split()).strip("\"'")
    found = label_of(plain, labels) if labels is not None else None
    return found or (plain if tokens(plain) else None, False)


def is_denied(text: str, group: Group) -> bool:
    """Whether the part of the sentence directly before a place negates it."""
    before = text[max(0, group.start - _SENTENCE) : group.start]
    return _denies(next((w for p in reversed(_PIECE.split(before)) if (w := tokens(p))), []))


def _is_landmark(words: Sequence[str], start: int) -> bool:
    """Whether the label at `start` is a landmark: another object is near it."""
    before = [word for word in words[max(0, start - 4) : start] if word not in _ARTICLES]
    return bool(before) and (before[-1] in _NEAR or tuple(before[-2:]) in _NEXT_TO)


def _goes_on(segment: str, end: int) -> bool:
    """Whether the name that ends before token `end` is the start of another thing's name.

    "A table lamp" is no table, but "a table standing there" is one.
    """
    found = list(token_matches(segment))
    if end >= len(found) or found[end - 1].end() + 1 < found[end].start():
        return False
    text = found[0].string
    if text[found[end - 1].end() : found[end].start()] not in {" ", "-"}:
        return False
    word = found[end][0]
    if word in _FILLER or word in _NEAR or word in _ARTICLES or word in _LINKS:
        return False
    return not (word.isdigit() or "'" in word or len(word) == 1 or word.endswith(_PARTICIPLES))


def _denies(words: Sequence[str]) -> bool:
    return any(negates(words, index) for index in range(len(words)))


def _words(piece: str) -> list[str]:
    """Words of a piece, filler stripped from both ends."""
    words = piece.split()
    while words and _idle(words[0]):
        words = words[1:]
    while words and _idle(words[-1]):
        words = words[:-1]
    return words


def _idle(word: str) -> bool:
    """Whether a word is filler, punctuation, or a number such as a confidence."""
    return word.casefold().strip("\"'") in _FILLER or all(map(str.isdigit, tokens(word)))
