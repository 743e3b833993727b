"""Names of the numbers of a box or point, and the meaning that they give to the numbers.

A name precedes its number (`x1=0.1`, `"width": 0.3`), or all names form a legend
(`(x, y, w, h): [0.1, 0.1, 0.3, 0.3]`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

_NAME = (
    r"[\"']?(?:(?:c|cent(?:er|re)[_ ]?)[xyz]|[xyz](?:[0-9]|[_ ]?(?:min|max|cent(?:er|re)|c))?"
    r"|left|top|right|bottom|upper|lower|length|width|height|depth|yaw|heading|[lwhd])[\"']?"
)
# "x is" in a sentence names a number as `x=` does.
_BEFORE_NUMBER = re.compile(rf"(?<!\w)({_NAME})\s*(?:[=:]|\bis\b)(?=\s*[-+.\d])", re.IGNORECASE)
# A legend starts with a coordinate, unlike "left, right" in a sentence.
_LEGEND = re.compile(
    rf"(?<!\w)(?=[\"']?(?:c|x|y)){_NAME}(?:\s*,\s*(?:and\s+)?{_NAME}){{2,6}}(?!\w)", re.IGNORECASE
)
_ONE_NAME = re.compile(_NAME, re.IGNORECASE)
_YAWS = frozenset({"yaw", "heading"})
# Sums are rounded to this many decimals to hide floating-point error.
_DECIMALS = 9


class Role(StrEnum):
    """The role of numbers: position, centre, extent, lower or upper border of a box."""

    AT = "at"
    CENTRE = "centre"
    EXTENT = "extent"
    LOW = "low"
    HIGH = "high"


Name = tuple[int, Role]
_WORDS: Mapping[str, Name] = MappingProxyType(
    {
        "left": (0, Role.LOW), "right": (0, Role.HIGH), "top": (1, Role.LOW),
        "upper": (1, Role.LOW), "bottom": (1, Role.HIGH), "lower": (1, Role.HIGH),
    }
)  # fmt: skip
_EXTENTS: Mapping[int, Mapping[str, int]] = MappingProxyType(
    # In a room, height is the vertical extent only if a length is named too.
    {2: {"w": 0, "h": 1}, 3: {"l": 0, "w": 1, "h": 2}}
)


@dataclass(frozen=True, slots=True)
class Reading:
    """Numbers in canonical order; `role` is that of a point or size, None for a box."""

    values: tuple[float, ...]
    role: Role | None


def names_in(text: str) -> list[tuple[int, str]]:
    """Names that precede a number, with their start index."""
    return [(match.start(), match[1]) for match in _BEFORE_NUMBER.finditer(text)]


def legends_in(text: str) -> dict[int, tuple[str, ...]]:
    """Legends by their number of names; the first legend of each length."""
    found: dict[int, tuple[str, ...]] = {}
    for match in _LEGEND.finditer(text):
        names = tuple(_ONE_NAME.findall(match[0]))
        found.setdefault(len(names), names)
    return found


def without_names(text: str) -> str:
    """The text at its original length, with spaces in place of all names."""
    for pattern in (_BEFORE_NUMBER, _LEGEND):
        text = pattern.sub(lambda match: " " * len(match[0]), text)
    return text


def by_name(names: Sequence[str], values: Sequence[float]) -> Reading | None:
    """Numbers ordered by their names; None if the names do not define their meaning.

    Two or three numbers become a point or a size, four a box [x1, y1, x2, y2], six a box
    [x, y, z, l, w, h] around its centre, and seven such a box with its yaw.
    """
    if len(values) == 7:
        return _with_yaw(names, values)
    dims = 3 if len(values) % 3 == 0 else 2
    placed: list[list[tuple[Role, float]]] = [[] for _ in range(dims)]
    for name, value in zip(_resolved(names, dims), values, strict=True):
        if name is None or name[0] >= dims:
            return None
        placed[name[0]].append((name[1], value))
    if len(values) == dims:
        return _point(placed)
    axes = [_axis(dict(pairs), dims) if len(pairs) == 2 else None for pairs in _told_apart(placed)]
    known = [axis for axis in axes if axis is not None]
    if len(known) != dims or 2 * dims != len(values):
        return None
    return Reading(box_of([first for first, _ in known], [second for _, second in known]), None)


def box_of(first: Sequence[float], second: Sequence[float]) -> tuple[float, ...]:
    """Both halves of a box as one, without floating-point error."""
    return tuple(round(value, _DECIMALS) for value in (*first, *second))


def corners(centre: Sequence[float], extent: Sequence[float]) -> tuple[float, ...]:
    """The two corners of a box with this centre and size."""
    return box_of(
        [c - e / 2 for c, e in zip(centre, extent, strict=True)],
        [c + e / 2 for c, e in zip(centre, extent, strict=True)],
    )


def centred(low: Sequence[float], high: Sequence[float]) -> tuple[float, ...]:
    """Centre and size of a box with these two corners."""
    return box_of(
        [(a + b) / 2 for a, b in zip(low, high, strict=True)],
        [abs(b - a) for a, b in zip(low, high, strict=True)],
    )


def _with_yaw(names: Sequence[str], values: Sequence[float]) -> Reading | None:
    at = [index for index, name in enumerate(names) if name.strip("\"'").casefold() in _YAWS]
    if len(at) != 1:
        return None
    [yaw] = at
    box = by_name([*names[:yaw], *names[yaw + 1 :]], [*values[:yaw], *values[yaw + 1 :]])
    return None if box is None else Reading((*box.values, values[yaw]), None)


def _point(placed: Sequence[Sequence[tuple[Role, float]]]) -> Reading | None:
    roles = {role for pairs in placed for role, _ in pairs}
    if any(len(pairs) != 1 for pairs in placed) or len(roles) != 1:
        return None
    return Reading(tuple(pairs[0][1] for pairs in placed), roles.pop())


def _told_apart(
    placed: Sequence[Sequence[tuple[Role, float]]],
) -> Iterator[list[tuple[Role, float]]]:
    """Names in which x and y repeat ("x: 0.1, y: 0.2, x: 0.5, y: 0.6") as two borders."""
    for pairs in placed:
        if [role for role, _ in pairs] == [Role.AT, Role.AT]:
            yield [(Role.LOW, pairs[0][1]), (Role.HIGH, pairs[1][1])]
        else:
            yield list(pairs)


def _axis(numbers: Mapping[Role, float], dims: int) -> tuple[float, float] | None:
    """Lower and upper border along an axis (picture), or centre and extent (room)."""
    extent = numbers.get(Role.EXTENT)
    low, high = numbers.get(Role.LOW), numbers.get(Role.HIGH)
    if low is not None and high is not None:
        return (low, high) if dims == 2 else ((low + high) / 2, abs(high - low))
    if extent is None or len(numbers) != 2:
        return None
    if Role.CENTRE in numbers or (dims == 3 and Role.AT in numbers):
        centre = numbers.get(Role.CENTRE, numbers.get(Role.AT, 0.0))
        return (centre - extent / 2, centre + extent / 2) if dims == 2 else (centre, extent)
    # In a picture, x and y with a width and a height are the upper left corner, as in COCO.
    start = numbers.get(Role.AT, low)
    if start is None:
        return None
    return (start, start + extent) if dims == 2 else (start + extent / 2, extent)


def _resolved(names: Sequence[str], dims: int) -> list[Name | None]:
    plain = [re.sub(r"[\"'_ ]", "", name.casefold()).replace("centre", "center") for name in names]
    first = "0" if any(name.endswith("0") for name in plain) else "1"
    return [_resolve(name, first, dims) for name in plain]


def _resolve(name: str, first: str, dims: int) -> Name | None:
    if name in _WORDS:
        return _WORDS[name]
    if name[0] in _EXTENTS[dims] and name in {"l", "w", "h", "length", "width", "height"}:
        return _EXTENTS[dims][name[0]], Role.EXTENT
    # "cx" and "center_x" end with their axis; all other names start with it.
    axis, rest = (name[-1], name[:-1]) if name.startswith("c") else (name[0], name[1:])
    if axis not in "xyz":
        return None
    role = {
        "": Role.AT, "c": Role.CENTRE, "center": Role.CENTRE, "min": Role.LOW, "max": Role.HIGH,
        first: Role.LOW, str(int(first) + 1): Role.HIGH,
    }.get(rest)  # fmt: skip
    return None if role is None else ("xyz".index(axis), role)
