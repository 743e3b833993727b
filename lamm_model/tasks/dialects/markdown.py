"""Tables in Markdown: a column of labels, and columns of coordinates or one of brackets."""

from __future__ import annotations

import re
from collections.abc import Sequence

from lamm_model.tasks.dialects.base import Dialect, Telling, Told, number, shown, telling
from lamm_model.tasks.models import Numbers
from lamm_model.tasks.reading.named_numbers import by_name

_RULE = re.compile(r"\|?\s*:?-{2,}:?\s*(?:\|\s*:?-{2,}:?\s*){0,40}\|?\s*")
_LABELS = frozenset({"label", "object", "name", "item", "class", "category", "joint", "keypoint"})
_COUNTS = frozenset({2, 4, 6, 7})
_NUMBER = r"-?\d+(?:\.\d+)?"
_UNITS = re.compile(r"[_().%\s-]|\bpx\b|\bpixels?\b", re.IGNORECASE)
_AXIS = re.compile(
    r"(?:c|center|centre)?[xyz](?:\d|min|max|c|center|centre)?|left|top|right|bottom|width|height"
    r"|length|depth|yaw|heading|[lwh]",
    re.IGNORECASE,
)
# A column of angles that is not a yaw in radians.
_ANGLE = re.compile(
    r"(?<![a-z])(?:yaw|heading|rotation|rot|angle|orientation|theta|pitch|roll)(?![a-z])",
    re.IGNORECASE,
)
_BRACKET = re.compile(rf"[\[(]?\s*({_NUMBER}(?:\s*[,;]\s*{_NUMBER}){{1,8}})\s*[\])]?")


def _read(text: str) -> Telling | None:
    lines = [line.strip() for line in text.splitlines()]
    places: list[Told] = []
    faults: list[str] = []
    header: list[str] | None = None
    is_there = False
    for index, line in enumerate(lines):
        if "|" not in line:
            header = None
        elif _RULE.fullmatch(line) and index and "|" in lines[index - 1]:
            header, is_there = _cells(lines[index - 1]), True
            faults += [
                f"column {shown(name)} is not read"
                for name in header
                if _ANGLE.search(name) and not _AXIS.fullmatch(_UNITS.sub("", name))
            ]
        elif header is not None:
            read = _row(header, _cells(line))
            if isinstance(read, Told):
                places.append(read)
            else:
                faults.append(f"row {shown(line)} has no place")
    return telling(places, faults) or (Telling() if is_there else None)


def _cells(line: str) -> list[str]:
    return [cell.strip(" *`\"'") for cell in line.strip().strip("|").split("|")]


def _row(header: Sequence[str], cells: Sequence[str]) -> Told | None:
    if len(cells) != len(header):
        return None
    named = [i for i, name in enumerate(header) if name.casefold() in _LABELS]
    worded = [i for i, cell in enumerate(cells) if cell and number(cell) is None]
    for cell in cells:
        if match := _BRACKET.fullmatch(cell):
            held = tuple(float(one) for one in re.split(r"\s*[,;]\s*", match[1]))
            words = [cells[i] for i in named or worded if not _BRACKET.fullmatch(cells[i])]
            return Told(held, words[0] if words else "") if len(held) in _COUNTS else None
    label = next(iter(named or worded), None)
    columns = [i for i, cell in enumerate(cells) if number(cell) is not None and i != label]
    values = _by_header([header[i] for i in columns], [float(cells[i]) for i in columns])
    if values is None or len(values) not in _COUNTS:
        return None
    return Told(values, "" if label is None else cells[label])


def _by_header(names: Sequence[str], values: Sequence[float]) -> Numbers | None:
    """The numbers in order, by their columns' names; columns of other numbers are left out."""
    plain = [_UNITS.sub("", name) for name in names]
    pairs = [pair for pair in zip(plain, values, strict=True) if _AXIS.fullmatch(pair[0])]
    if len(pairs) not in _COUNTS:
        return None
    reading = by_name([name for name, _ in pairs], [value for _, value in pairs])
    return None if reading is None else reading.values


DIALECTS = (
    Dialect(
        "markdown",
        "models that answer with a table",
        "| label | x1 | y1 | x2 | y2 |\n|---|---|---|---|---|\n| cat | 139 | 768 | 315 | 954 |",
        _read,
    ),
)
