"""JSON in an answer: whole, in a code fence, among sentences, or cut off. Python literals too."""

from __future__ import annotations

import ast
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lamm_model.tasks.dialects.base import Telling, Told, numbers, shown, telling
from lamm_model.tasks.models import Numbers
from lamm_model.tasks.rotated_boxes import is_yaw

# Positions at which JSON is tried in vain before the rest of a text is given up.
MAX_ATTEMPTS = 100
# What the last of three angles counts, and its radians: Qwen3-VL's unit, and Gemini's.
_ANGLES = {"bbox_3d": ("half turns", math.pi), "box_3d": ("degrees", math.pi / 180)}
_START = re.compile(r"[\[{]")
_LABELS = ("label", "name", "class", "category", "object", "text", "sub_label", "description")
_LISTS = (("bboxes", "labels"), ("boxes", "labels"), ("points", "labels"))


def values_in(text: str) -> tuple[list[Any], bool]:
    """The JSON values of a text, outermost first, and whether no bracket was left over.

    A list that is cut off gives its whole members. A text that is one Python literal, as a server
    may print a dictionary, is read too.
    """
    found: list[Any] = []
    failures, at, decoder = 0, 0, json.JSONDecoder()
    while (match := _START.search(text, at)) is not None and failures < MAX_ATTEMPTS:
        try:
            value, at = decoder.raw_decode(text, match.start())
        except (ValueError, RecursionError):
            failures, at = failures + 1, match.end()
            continue
        found.append(value)
    if failures and (literal := _literal(text)) is not None:
        return [literal], True
    return found, failures == 0


def records(values: Sequence[Any]) -> Iterator[Mapping[str, Any]]:
    """Every object within the values, in order."""
    waiting = list(reversed(values))
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            yield value
            value = list(value.values())
        if isinstance(value, list):
            waiting.extend(one for one in reversed(value) if isinstance(one, dict | list))


def read_json(text: str, keys: Mapping[str, tuple[int, ...]]) -> Telling | None:
    """Labelled places of JSON objects.

    Args:
        text: the answer.
        keys: the names of the fields that hold places, with the counts of numbers that a place may
            have. A field may also hold a list of places, all with the object's label.
    """
    if not any(key in text for key in (*keys, *(name for name, _ in _LISTS))):
        # An empty list is an answer: there is nothing.
        is_empty = re.fullmatch(r"\s*(?:```\w*\s*)?\[\s*\]\s*(?:```\s*)?", text[:200]) is not None
        return Telling() if is_empty else None
    values, whole = values_in(text)
    places: list[Told] = []
    faults: list[str] = [] if whole else ["JSON that is cut off or malformed"]
    for record in records(values):
        for key, lengths in keys.items():
            if key in record:
                _take(record[key], _label(record), key, lengths, places, faults)
        for key, names in _LISTS:
            if key in record and names in record:
                _parallel(record[key], record[names], key, places, faults)
    return telling(places, faults)


def _take(
    value: Any,
    label: str,
    key: str,
    lengths: tuple[int, ...],
    places: list[Told],
    faults: list[str],
) -> None:
    rows = value if isinstance(value, list) and value and isinstance(value[0], list) else [value]
    if value == []:
        faults.append(f"{key} of {shown(label)} is empty")
        return
    for row in rows:
        found = numbers(row) if isinstance(row, list) else None
        if found is None or len(found) not in lengths:
            faults.append(f"{key} {shown(row)} of {shown(label)} is not a place")
        else:
            places.extend(_placed(found, label, key, faults))


def _placed(found: Numbers, label: str, key: str, faults: list[str]) -> Iterator[Told]:
    if len(found) != 9:
        yield Told(found, label)
        return
    unit, radians = _ANGLES[key]
    if not is_yaw(found[8] * radians):
        faults.append(f"yaw {found[8]:g} of {shown(label)} is more than a turn; {key} has {unit}")
        return
    if any(found[6:8]):
        faults.append(f"roll and pitch {found[6:8]} of {shown(label)} are left out")
    yield Told((*found[:6], found[8] * radians), label)


def _parallel(rows: Any, names: Any, key: str, places: list[Told], faults: list[str]) -> None:
    """A list of places beside a list of labels."""
    if not isinstance(rows, list) or not isinstance(names, list):
        faults.append(f"{key} and labels are not two lists")
        return
    if len(rows) != len(names):
        faults.append(f"{len(rows)} {key} and {len(names)} labels; expected as many")
        return
    for row, name in zip(rows, names, strict=True):
        _take(row, str(name), key, (2, 4), places, faults)


def _label(record: Mapping[str, Any]) -> str:
    return next((record[n] for n in _LABELS if isinstance(record.get(n), str)), "")


def _literal(text: str) -> Any:
    """A text that is one Python list or dictionary; None if it is anything else."""
    text = text.strip()
    if not text.startswith(("{", "[")) or "\\" in text:
        return None
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None
