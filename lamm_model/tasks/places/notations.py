"""How places of each kind are written in a text: read by `parse`, written by `render`, held to by
a grammar.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from typing_extensions import override

from lamm_model.tasks import grammar
from lamm_model.tasks.metrics import box_3d_iou, box_iou
from lamm_model.tasks.models import Numbers
from lamm_model.tasks.reading.coordinates import (
    Group,
    Size,
    groups,
    is_share,
    joined_pairs,
    scale_of,
    shares,
)
from lamm_model.tasks.reading.named_numbers import Role

Scale = Size | tuple[float, float] | None


@dataclass(frozen=True, slots=True)
class Reading:
    """A group of numbers read as a place.

    Attributes:
        given: the numbers as written, in the answer's frame; None in a frame that cannot be told.
        used: the place; None where `given` is, or too far outside.
        intact: whether nothing was repaired or guessed.
    """

    given: Numbers | None
    used: Numbers | None
    intact: bool


class Notation(ABC):
    """How places of one kind are written: `[x, y, ...]` with a fixed number of decimals.

    Attributes:
        field: the answer's field for a place.
        decimals: digits after the point.
        pattern: one place in llguidance's Lark.
    """

    field: str
    decimals: int
    pattern: str

    @abstractmethod
    def numbers(self, text: str) -> list[Group]:
        """All groups of numbers in a tidy text, two halves of a place joined."""

    @abstractmethod
    def is_place(self, group: Group) -> bool:
        """Whether a group has the numbers of a place."""

    @abstractmethod
    def read(self, group: Group, scale: Scale) -> Reading:
        """A group that is a place, its numbers divided by `scale` where they are not shares."""

    def scale(self, found: Sequence[Group], size: Size | None) -> Scale:
        """The divisor of x and y, see `scale_of`."""
        return scale_of(found, size)

    def overlap(self, first: Any, second: Any) -> float:
        """Intersection over union of two places; 0 for places without an area."""
        raise NotImplementedError

    def write(self, values: Numbers) -> str:
        """A place as text."""
        return f"[{', '.join(f'{value:.{self.decimals}f}' for value in values)}]"


class PictureBoxes(Notation):
    """[x1, y1, x2, y2] as shares of the picture's sides; corners may be written in any order."""

    field = "bbox"
    decimals = 2
    pattern = (
        rf"/\[{grammar.in_order(f', {grammar.SHARE}, ')}, {grammar.SHARE}\]/"
        rf" & /\[{grammar.SHARE}, {grammar.in_order(f', {grammar.SHARE}, ')}\]/"
    )

    @override
    def numbers(self, text: str) -> list[Group]:
        return list(joined_pairs(groups(text), text, 2))

    @override
    def is_place(self, group: Group) -> bool:
        return len(group.values) == 4

    @override
    def read(self, group: Group, scale: Scale) -> Reading:
        values, intact = shares(group, scale)
        if values is None:
            return Reading(None, None, False)
        left, upper, right, lower = values
        box = (min(left, right), min(upper, lower), max(left, right), max(upper, lower))
        return Reading(_given(group, scale), box, intact and box == values)

    @override
    def overlap(self, first: Any, second: Any) -> float:
        return box_iou(first, second)


class PicturePoints(Notation):
    """[x, y] as shares of the picture's sides; a box counts as its centre.

    `joined`: where a text has boxes, two points next to each other may be one too.
    """

    field = "point"
    decimals = 3
    pattern = rf"/\[{grammar.FINE_SHARE}, {grammar.FINE_SHARE}\]/"

    def __init__(self, *, joined: bool) -> None:
        self._joined = joined

    @override
    def numbers(self, text: str) -> list[Group]:
        found = groups(text)
        if not self._joined:
            return found
        joined = list(joined_pairs(found, text, 2))
        if any(len(group.values) == 4 for group in found):
            return joined
        if len(joined) < len(found) and any(group.role is Role.LOW for group in found):
            # "From (0.1, 0.2) to (0.5, 0.6)" is a box, whatever else the two points may be.
            return [replace(group, sure=False) for group in found]
        return found

    @override
    def is_place(self, group: Group) -> bool:
        return len(group.values) in {2, 4} and group.role is not Role.EXTENT

    @override
    def read(self, group: Group, scale: Scale) -> Reading:
        values, intact = shares(group, scale)
        if values is None:
            return Reading(None, None, False)
        given = _given(group, scale)
        if len(values) == 2:
            return Reading(given, values, intact)
        return Reading(_centre(given), _centre(values), False)


class CloudBoxes(Notation):
    """[x, y, z, l, w, h] in metres; an extent below 0 is turned round."""

    field = "bbox"
    decimals = 2
    pattern = rf"/\[({grammar.METRES}, ){{3}}{grammar.EXTENT}(, {grammar.EXTENT}){{2}}\]/"

    @override
    def numbers(self, text: str) -> list[Group]:
        return list(joined_pairs(groups(text), text, 3))

    @override
    def is_place(self, group: Group) -> bool:
        return len(group.values) == 6

    @override
    def scale(self, found: Sequence[Group], size: Size | None) -> Scale:
        return None

    @override
    def read(self, group: Group, scale: Scale) -> Reading:
        box = (*group.values[:3], *map(abs, group.values[3:]))
        intact = box == group.values and group.unit in {None, "m"} and group.sure
        return Reading(group.values, box, intact)

    @override
    def overlap(self, first: Any, second: Any) -> float:
        return box_3d_iou(first, second)


def _given(group: Group, scale: Scale) -> Numbers:
    if is_share(group) or scale is None:
        return group.values
    return tuple(v / scale[i % 2] for i, v in enumerate(group.values))


def _centre(box: Numbers) -> Numbers:
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
