"""A yaw that a text states after the six numbers of a box: `[...], "yaw": 0.5`."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import replace

from lamm_model.tasks.reading.coordinates import Group
from lamm_model.tasks.reading.units import ANGLE, DEGREES, NUMBER, kind_of

_SURE = r"yaw|heading"
# In a room these can only be the yaw, but the text does not say so.
_GUESSED = r"rotation|rotated|turned|angle|theta|orientation"
# Bounded, so that a text of nothing but such words takes no time.
_MARKS = r"[\s,:=\"']{0,8}"
_GAP = (
    rf"{_MARKS}"
    rf"(?:\b(?:and|with|its|a|an|the|of|at|is|by|angle|rotation|yaw)\b{_MARKS}){{0,4}}"
)
_AFTER_BOX = re.compile(
    rf"{_GAP}\b(?:(?P<sure>{_SURE})|{_GUESSED})\b{_GAP}(?P<number>{NUMBER})\s?(?P<unit>{ANGLE})?"
    r"(?![\w.]*\w)",
    re.IGNORECASE,
)
_ANYWHERE = re.compile(
    rf"\b(?:(?:{_SURE}){_GAP}|(?:{_GUESSED}|rot[_a-z]*|pitch|roll)[\"']?\s*(?:[:=]|\b(?:of|by|is)\b)\s*)"
    rf"[\[(]?{NUMBER}",
    re.IGNORECASE,
)


def with_yaws(found: Sequence[Group], text: str) -> list[Group]:
    """Boxes with the yaw that directly follows them as their seventh number.

    `sure` is False for a yaw under a general word such as "rotation", and for all boxes of a text
    that states a rotation elsewhere. A thing may be called "yaw": the number after it is then a
    box's.
    """
    groups = [_with_yaw(group, text) if len(group.values) == 6 else group for group in found]
    starts = [group.start for group in groups]

    def in_a_box(at: int) -> bool:
        index = bisect_right(starts, at) - 1
        return index >= 0 and at < groups[index].end

    loose = any(
        not in_a_box(match.start()) and not in_a_box(match.end() - 1)
        for match in _ANYWHERE.finditer(text)
    )
    return [replace(group, sure=False) for group in groups] if loose else groups


def _with_yaw(group: Group, text: str) -> Group:
    match = _AFTER_BOX.match(text, group.end)
    if match is None:
        return group
    unit = match["unit"] or ""
    degrees = kind_of([unit.lower()] if unit else []) == DEGREES
    return replace(
        group,
        values=(*group.values, float(match["number"])),
        unit=DEGREES if degrees else group.unit,
        end=match.end(),
        sure=group.sure and match["sure"] is not None,
    )
