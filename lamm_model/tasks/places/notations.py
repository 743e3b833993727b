"""How places of each kind are written: for `parse`, `render` and the answer's grammar."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

from typing_extensions import override

from lamm_model.tasks import grammar
from lamm_model.tasks.metrics import box_centre, box_iou
from lamm_model.tasks.models import Numbers
from lamm_model.tasks.reading.coordinates import (
    Group,
    Scale,
    groups,
    is_share,
    joined_pairs,
    shares,
)
from lamm_model.tasks.reading.named_numbers import Role
from lamm_model.tasks.reading.units import DEGREES
from lamm_model.tasks.reading.yaw import with_yaws
from lamm_model.tasks.rotated_boxes import box_3d_iou, is_yaw, yaw_of


@dataclass(frozen=True, slots=True)
class Reading:
    """A group of numbers read as a place.

    Attributes:
        given: the numbers as written, in the answer's frame; None in an unknown frame.
        used: the place after clipping and reordering; None if it cannot be used.
        intact: whether nothing was repaired or guessed.
    """

    given: Numbers | None = None
    used: Numbers | None = None
    intact: bool = False


class Notation(ABC):
    """How places of one kind are written: `[x, y, ...]` with a fixed number of decimals.

    Attributes:
        field: the answer's field for a place.
        half: how many numbers a half of a box has; two halves may be written apart.
        is_flat: whether places are in a picture, so that a frame applies.
        decimals: digits after the point.
        pattern: one place in llguidance's Lark.
        overlap: intersection over union of two places that have an area.
    """

    field = "bbox"
    half = 2
    is_flat = True
    decimals = 2
    pattern: str
    overlap: ClassVar[Callable[..., float]]

    def numbers(self, text: str) -> list[Group]:
        """All groups of numbers in a tidy text, two halves of a box joined."""
        return list(joined_pairs(groups(text), text, self.half))

    def is_place(self, group: Group) -> bool:
        """Whether a group has the numbers of a place."""
        return len(group.values) == 2 * self.half

    @abstractmethod
    def read(self, group: Group, scale: Scale) -> Reading:
        """A group that is a place, its numbers divided by `scale` where they are not shares."""

    def write(self, values: Numbers) -> str:
        """A place as text."""
        return f"[{', '.join(f'{value:.{self.decimals}f}' for value in values)}]"


class PictureBoxes(Notation):
    """[x1, y1, x2, y2] as shares of the picture's sides; corners may be in any order."""

    pattern = (
        rf"/\[{grammar.in_order(f', {grammar.SHARE}, ')}, {grammar.SHARE}\]/"
        rf" & /\[{grammar.SHARE}, {grammar.in_order(f', {grammar.SHARE}, ')}\]/"
    )
    overlap = staticmethod(box_iou)

    @override
    def read(self, group: Group, scale: Scale) -> Reading:
        values, intact = shares(group, scale)
        if values is None:
            return Reading()
        left, upper, right, lower = values
        box = (min(left, right), min(upper, lower), max(left, right), max(upper, lower))
        return Reading(_given(group, scale), box, intact and box == values)


class PicturePoints(Notation):
    """[x, y] as shares of the picture's sides; a box counts as its centre.

    `joined`: in a text with boxes, two adjacent points may be a box too.
    """

    field = "point"
    decimals = 3
    pattern = rf"/\[{grammar.FINE_SHARE}, {grammar.FINE_SHARE}\]/"

    def __init__(self, *, joined: bool) -> None:
        self._joined = joined

    @override
    def numbers(self, text: str) -> list[Group]:
        found, joined = groups(text), super().numbers(text)
        if self._joined and any(len(group.values) == 4 for group in found):
            return joined
        # "From (0.1, 0.2) to (0.5, 0.6)" is a box, whatever else the two points may be.
        cornered = len(joined) < len(found) and any(group.role is Role.LOW for group in found)
        return [replace(g, sure=False) for g in found] if self._joined and cornered else found

    @override
    def is_place(self, group: Group) -> bool:
        return len(group.values) in {2, 4} and group.role is not Role.EXTENT

    @override
    def read(self, group: Group, scale: Scale) -> Reading:
        values, intact = shares(group, scale)
        if values is None:
            return Reading()
        given = _given(group, scale)
        if len(values) == 2:
            return Reading(given, values, intact)
        return Reading(box_centre(given), box_centre(values))


class CloudBoxes(Notation):
    """[x, y, z, l, w, h] in metres, optionally with yaw; a negative extent is made positive.

    A yaw in degrees, or of more than one turn, makes a box unusable: nothing is converted. The
    pattern has no yaw, which the models that are constrained by it have not learned.
    """

    half = 3
    is_flat = False
    pattern = rf"/\[({grammar.METRES}, ){{3}}{grammar.EXTENT}(, {grammar.EXTENT}){{2}}\]/"
    overlap = staticmethod(box_3d_iou)

    @override
    def numbers(self, text: str) -> list[Group]:
        return with_yaws(super().numbers(text), text)

    @override
    def is_place(self, group: Group) -> bool:
        return len(group.values) in {6, 7}

    @override
    def read(self, group: Group, scale: Scale) -> Reading:
        if group.unit == DEGREES or not is_yaw(yaw_of(group.values)):
            return Reading(group.values)
        box = (*group.values[:3], *map(abs, group.values[3:6]), *group.values[6:])
        intact = box == group.values and group.unit in {None, "m"} and group.sure
        return Reading(group.values, box, intact)


def _given(group: Group, scale: Scale) -> Numbers:
    if is_share(group) or scale is None:
        return group.values
    return tuple(v / scale[i % 2] for i, v in enumerate(group.values))
