"""Coordinates in free text: groups of numbers, and their frame of reference.

Image coordinates become shares of the picture's sides, from the top left; coordinates in clouds
stay in metres.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from lamm_model.tasks.reading.named_numbers import (
    Role,
    box_of,
    by_name,
    centred,
    corners,
    legends_in,
    names_in,
    without_names,
)
from lamm_model.tasks.reading.units import ANGLE, NUMBER, UNIT, is_angle, kind_of
from lamm_model.tasks.reading.words import plain

# A share outside 0-1 by at most this is clipped; beyond it the numbers are in another frame.
OVERSHOOT = 0.1
PERCENT, PER_MILLE = 100.0, 1000.0

Size = tuple[int, int]
Point = tuple[float, float]
Scale = tuple[float, float] | None

_TOKEN = re.compile(rf"({NUMBER})({UNIT}|{ANGLE})?|({UNIT}|{ANGLE})")
_BRACKET = re.compile(rf"[\[({{<]([^\[\](){{}}<>]*)[\])}}>](?:\s?({UNIT})\b)?")
_SPLIT = re.compile(r"\s*[,;]\s*|\s+")
_BARE = re.compile(
    rf"(?<![\w.]){NUMBER}{UNIT}?(?:(?:\s*[,;]\s*(?:and\s+)?|\s+(?:(?:and|by)\s+)?){NUMBER}{UNIT}?)+"
    rf"(?:\s?{ANGLE})?(?![\w])"
)
_JOINT = re.compile(
    r"[\s,:\"'-]*(?:\b(?:to|and|with|its|a|the|of|is|are|at|by|x|sizes?|dimensions?|extents?"
    r"|width|height|bottom|lower|right|corner|max)\b[\s,:\"'-]*)*",
    re.IGNORECASE,
)
# Words before two or three numbers that give their role.
_CENTRE = re.compile(
    r"\bcent(?:er|re)(?:ed)?\b[\"'\s:=]*(?:at|is|point)?[\"'\s:=]*$", re.IGNORECASE
)
_CORNER = re.compile(
    r"\b(?:(?:top|upper)[- ]left|corners?|min|from|between)\b[\"'\s:=]*"
    r"(?:corner)?\s*(?:at|is)?[\"'\s:=]*$",
    re.IGNORECASE,
)
_EXTENT = re.compile(
    r"\b(?:sizes?|dimensions?|extents?|width (?:and|x|by) height)\b[\"'\s:=]*"
    r"(?:of|is|are)?[\"'\s:=]*$",
    re.IGNORECASE,
)
_ROLES = ((_CENTRE, Role.CENTRE), (_CORNER, Role.LOW), (_EXTENT, Role.EXTENT))
_TO = re.compile(r"\b(?:to|max|corner)\b", re.IGNORECASE)
_WORDS_BEFORE = 40
# Seven numbers are a box in a room with its yaw, which alone may have the unit of an angle.
_YAW_AT = 7


@dataclass(frozen=True, slots=True)
class Group:
    """Adjacent numbers, `text[start:end]`; `unit` is "%", "px", "m", "deg" or None.

    Numbers with names are reordered to [x1, y1, x2, y2] (picture) or [x, y, z, l, w, h] (room),
    the latter with yaw if there are seven. "deg" is the unit of a yaw; one in radians has none.
    `role` is the role of two or three numbers, if the text gives it; `sure` is whether all names
    of numbers were understood.
    """

    values: tuple[float, ...]
    unit: str | None
    start: int
    end: int
    bracketed: bool
    role: Role | None = None
    sure: bool = True


def tidy(text: str) -> str:
    """The text with plain characters and single spaces, as this module reads it."""
    return re.sub(r"[^\S\n]+", " ", plain(text))


def groups(text: str) -> list[Group]:
    """Brackets that hold only numbers, in order; if there are none, rows of bare numbers.

    `text` is `tidy`. A bracket with a word in it is skipped without affecting its neighbours.
    """
    bare = without_names(text)
    found = [group for m in _BRACKET.finditer(bare) if (group := _group(m, m[1], True, m[2]))]
    if not found:
        found = [group for m in _BARE.finditer(bare) if (group := _group(m, m[0], False))]
    names, legends = names_in(text), legends_in(text)
    return [_named(group, text, names, legends) for group in found]


def joined_pairs(found: Sequence[Group], text: str, length: int) -> Iterator[Group]:
    """The groups, with two neighbours of `length` numbers each joined to one box.

    Only a comma, a dash and words such as "to" and "with size" may separate the two. Without such
    words or names, two points of a picture are corners, and two triples are centre and size.
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
            yield _joined(first, second, text)
            index += 2
        else:
            yield first
            index += 1


def scale_of(found: Sequence[Group], size: Size | None) -> Scale:
    """The divisor of (x, y) for the groups that are not shares of 0-1 already.

    Units take precedence. Otherwise numbers up to 100 are percent (unless the whole picture is that
    small and contains them); larger numbers are pixels if they are inside `size` (width, height),
    or else 0-1000. None: the frame is unknown, as for pixels without a size.
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
    """Whether a group has no unit and only numbers that are shares of the picture's sides."""
    return group.unit is None and all(-OVERSHOOT <= v <= 1 + OVERSHOOT for v in group.values)


def shares(group: Group, scale: Scale) -> tuple[tuple[float, ...] | None, bool]:
    """x, y, x, y ... of a group as shares of 0-1, and whether they needed no repair.

    None: an unknown frame, or too far outside. Values slightly outside are clipped.
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
    # A frame without a unit was guessed.
    known = is_share(group) or group.unit is not None
    return clipped, clipped == values and known and group.sure


def _named(
    group: Group, text: str, names: Sequence[tuple[int, str]], legends: Mapping[int, Sequence[str]]
) -> Group:
    """A group with its numbers ordered by their names or a legend, and with its role."""
    # In a row without brackets, the name of the first number is before the row.
    first = group.start if group.bracketed else group.start - _WORDS_BEFORE
    own = [name for at, name in names if first <= at < group.end]
    before = text[max(0, group.start - _WORDS_BEFORE) : group.start]
    used = own or legends.get(len(group.values), ())
    if not used:
        if len(group.values) > 3:
            return group
        role = next((role for pattern, role in _ROLES if pattern.search(before)), None)
        return replace(group, role=role)
    reading = by_name(used, group.values) if len(used) == len(group.values) else None
    if reading is None:
        return replace(group, sure=False)
    return replace(group, values=reading.values, role=reading.role)


def _joined(first: Group, second: Group, text: str) -> Group:
    """Two neighbours as one box: two corners in a picture, centre and size in a room."""
    sure = first.sure and second.sure
    flat = len(first.values) == 2
    values = first.values + second.values
    if second.role is Role.EXTENT and flat:
        if first.role is Role.CENTRE:
            values = corners(first.values, second.values)
        else:
            pairs = zip(first.values, second.values, strict=True)
            values = box_of(first.values, [start + extent for start, extent in pairs])
            # The point may be the centre of the box or its corner.
            sure = sure and first.role is Role.LOW
    elif not flat and second.role is not Role.EXTENT:
        between = text[first.end : second.start]
        if first.role is Role.LOW or _TO.search(between):
            values = centred(first.values, second.values)
        # A dash may join two corners, or a centre and a size.
        sure = sure and between.strip() != "-"
    return Group(values, first.unit, first.start, second.end, first.bracketed, sure=sure)


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
            if is_angle(unit) and len(values) != _YAW_AT:
                return None
            units.append(unit)
    if unit_after:
        units.append(unit_after)
    # A larger number is not a coordinate, and its square may overflow.
    if not values or any(abs(value) > 1e9 for value in values):
        return None
    return Group(tuple(values), kind_of(units), match.start(), match.end(), bracketed)


def _fits(group: Group, size: Size) -> bool:
    return all(
        -OVERSHOOT * size[i % 2] <= v <= (1 + OVERSHOOT) * size[i % 2]
        for i, v in enumerate(group.values)
    )
