"""Coordinates in free text: groups of numbers, and the frame they are in.

Called by the tasks that answer with boxes or points. Image coordinates become shares of the
picture's sides, from the top left; coordinates of clouds stay in metres.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lamm_model.tasks.parsing import plain

# A coordinate this far past the border is a slip and is clipped; beyond it is another frame.
OVERSHOOT = 0.1
PERCENT, PER_MILLE = 100.0, 1000.0

Size = tuple[int, int]
Point = tuple[float, float]

_NUMBER = r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?"
_UNIT = r"(?:%|px|pixels?|m|metres?|meters?)"
_TOKEN = re.compile(rf"({_NUMBER})({_UNIT})?|({_UNIT})")
_BRACKET = re.compile(rf"[\[({{<]([^\[\](){{}}<>]*)[\])}}>](?:\s?({_UNIT})\b)?")
_SPLIT = re.compile(r"\s*[,;]\s*|\s+")
_BARE = re.compile(
    rf"(?<![\w.]){_NUMBER}{_UNIT}?(?:(?:\s*[,;]\s*(?:and\s+)?|\s+(?:(?:and|by)\s+)?){_NUMBER}{_UNIT}?)+"
    r"(?![\w])"
)
_JOINT = re.compile(
    r"[\s,:-]*(?:\b(?:to|and|with|its|a|the|of|sizes?|dimensions?|extents?|is|are)\b[\s,:-]*)*",
    re.IGNORECASE,
)
# `x1=`, `"y_max":`, `width =`, and "x is" of a sentence: names of numbers, no numbers themselves.
_KEY = re.compile(
    r"(?<![\w])[\"']?(?:c?[xyz](?:[0-9]|_?(?:min|max|center|c))?|left|top|right|bottom|upper|lower"
    r"|[lwhd]|length|width|height|depth)[\"']?\s*(?:[=:]|\bis\b)(?=\s*[-+.\d])",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Group:
    """Numbers that stand together, `text[start:end]`; `unit` is "%", "px", "m" or None."""

    values: tuple[float, ...]
    unit: str | None
    start: int
    end: int
    bracketed: bool


def tidy(text: str) -> str:
    """Text as the functions here read it: plain characters, names of numbers blanked out."""
    text = re.sub(r"[^\S\n]+", " ", plain(text))
    return _KEY.sub(lambda match: " " * len(match[0]), text)


def groups(text: str) -> list[Group]:
    """Every bracket that holds numbers alone, in order; without any, numbers in a bare row.

    `text` is `tidy`. A bracket with a word in it is no group, and spoils none beside it.
    """
    found = [group for m in _BRACKET.finditer(text) if (group := _group(m, m[1], True, m[2]))]
    if not found:
        found = [group for m in _BARE.finditer(text) if (group := _group(m, m[0], False))]
    return found


def joined_pairs(found: Sequence[Group], text: str, length: int) -> Iterator[Group]:
    """Groups, with two neighbours of `length` numbers each as one: two corners, or centre and size.

    Only a comma, a dash and words such as "to" and "with size" may stand between the two.
    """
    index = 0
    while index < len(found):
        first = found[index]
        second = found[index + 1] if index + 1 < len(found) else None
        if (
            second is not None
            and len(first.values) == len(second.values) == length
            and _JOINT.fullmatch(text[first.end : second.start])
        ):
            values = first.values + second.values
            yield Group(values, first.unit, first.start, second.end, first.bracketed)
            index += 2
        else:
            yield first
            index += 1


def scale_of(found: Sequence[Group], size: Size | None) -> Size | tuple[float, float] | None:
    """What to divide (x, y) by, for the groups that are not shares of 0-1 already.

    Units decide where there are any. Otherwise numbers up to 100 are percent (unless the whole
    picture is that small and holds them), and larger ones pixels where `size` (width, height)
    holds them, else 0-1000. None: the frame cannot be told, as for pixels without a size.
    """
    large = [group for group in found if not is_share(group)]
    units = {group.unit for group in found} - {None}
    if "px" in units:
        return size
    if "%" in units:
        return PERCENT, PERCENT
    fits = size is not None and all(_fits(group, size) for group in large)
    most = max((abs(value) for group in large for value in group.values), default=0.0)
    if most <= PERCENT:
        return size if fits and size is not None and max(size) <= PERCENT else (PERCENT, PERCENT)
    if size is None or most > PER_MILLE * (1 + OVERSHOOT):
        return size if fits else None
    return size if fits else (PER_MILLE, PER_MILLE)


def is_share(group: Group) -> bool:
    """Whether a group without a unit reads as shares of the picture's sides."""
    return group.unit is None and all(-OVERSHOOT <= v <= 1 + OVERSHOOT for v in group.values)


def shares(
    group: Group, scale: tuple[float, float] | None
) -> tuple[tuple[float, ...] | None, bool]:
    """x, y, x, y ... of a group as shares of 0-1, and whether they needed no repair.

    None: another frame, or too far outside. Values a little outside are clipped.
    """
    if is_share(group):
        values = group.values
    elif scale is None:
        return None, False
    else:
        values = tuple(v / scale[i % 2] for i, v in enumerate(group.values))
        if any(not -OVERSHOOT <= v <= 1 + OVERSHOOT for v in values):
            return None, False
    clipped = tuple(min(1.0, max(0.0, v)) for v in values)
    # A frame that no unit names was guessed.
    return clipped, clipped == values and (is_share(group) or group.unit is not None)


def _group(
    match: re.Match[str], content: str, bracketed: bool, unit_after: str | None = None
) -> Group | None:
    values: list[float] = []
    units: list[str] = []
    for token in _SPLIT.split(content.strip(" \n,;")):
        if not bracketed and token in {"and", "by"}:
            continue
        read = _TOKEN.fullmatch(token)
        if read is None:
            return None
        if read[1] is not None:
            values.append(float(read[1]))
        if unit := read[2] or read[3]:
            units.append(unit)
    if unit_after:
        units.append(unit_after)
    # Beyond this a number is no coordinate, and its square no number.
    if not values or any(abs(value) > 1e9 for value in values):
        return None
    kind = None if not units else "%" if units[0] == "%" else "px" if units[0][0] == "p" else "m"
    return Group(tuple(values), kind, match.start(), match.end(), bracketed)


def _fits(group: Group, size: Size) -> bool:
    return all(
        -OVERSHOOT * size[i % 2] <= v <= (1 + OVERSHOOT) * size[i % 2]
        for i, v in enumerate(group.values)
    )
