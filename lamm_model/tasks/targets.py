"""Objects with points, and targets whose regions decide whether a point is right."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Self

from pydantic import ValidationInfo, field_validator, model_validator
from typing_extensions import override

from lamm_model.tasks.detection import DetectedObject
from lamm_model.tasks.label_sets import JOINTS
from lamm_model.tasks.metrics import Box, DetectionCounts, box_centre, matched_counts
from lamm_model.tasks.models import AnswerModel, Label, Mark, PicturePoint, TaskModel
from lamm_model.tasks.reading.coordinates import Point, Size
from lamm_model.tasks.reading.words import tokens
from lamm_model.tasks.sample import Sample

# FSC147 annotates points: an answer within this share of the sides is on the object.
POINT_RADIUS = 0.1


class LocatedObject(AnswerModel):
    """An object as a point; `label` is None if the text names none."""

    label: Label | None = None
    point: PicturePoint

    @field_validator("point")
    @classmethod
    def _shares(cls, point: Point, info: ValidationInfo) -> Point:
        return checked_shares(point, f"point of {info.data.get('label')!r}")


class LocatingAnswer(AnswerModel):
    """The objects found: all have a label, or none has."""

    objects: tuple[LocatedObject, ...]

    @model_validator(mode="after")
    def _all_or_none_labelled(self) -> Self:
        unlabelled = sum(found.label is None for found in self.objects)
        if 0 < unlabelled < len(self.objects):
            raise ValueError(
                f"{unlabelled} of {len(self.objects)} objects have no label; expected all or none"
            )
        return self


class Region(TaskModel):
    """The area in which a point is right: `box`, or a circle of `radius` around its centre."""

    label: str | None
    box: Box
    radius: float | None = None

    def holds(self, found: LocatedObject) -> bool:
        """Whether an answer is in the area and has the region's label, if the region has one."""
        if self.label is not None and (
            found.label is None or tokens(self.label) != tokens(found.label)
        ):
            return False
        x, y = found.point
        x1, y1, x2, y2 = self.box
        if self.radius is None:
            return x1 <= x <= x2 and y1 <= y <= y2
        return math.dist((x, y), box_centre(self.box)) <= self.radius

    def mark(self) -> Mark:
        """The box, or its centre with a reach."""
        if self.radius is None:
            return Mark(self.label or "", box=self.box)
        reach = (self.radius, self.radius)
        return Mark(self.label or "", point=box_centre(self.box), reach=reach)


class LocatingTarget(LocatingAnswer):
    """The centres of all objects, and the `regions` in which a point is right."""

    regions: tuple[Region, ...]

    @override
    def marks(self) -> tuple[Mark, ...]:
        """The regions instead of their centres."""
        return tuple(region.mark() for region in self.regions)


def region_counts(answer: LocatingAnswer | None, target: LocatingAnswer) -> DetectionCounts:
    """Points matched one to one with regions."""
    found = () if answer is None else answer.objects
    regions = target.regions if isinstance(target, LocatingTarget) else ()
    return matched_counts(found, regions, lambda seen, region: region.holds(seen))


def read_joints(rows: Any) -> list[Point]:
    """14 points in pixels from rows of x, y and an optional flag.

    Raises:
        ValueError: there are not 14 rows of two or three numbers.
    """
    if not isinstance(rows, list | tuple) or len(rows) != len(JOINTS):
        raise ValueError(f"joints are {rows!r}; expected a list of {len(JOINTS)} rows")
    return [_pixel(row) for row in rows]


def read_locating_target(sample: Sample) -> LocatingTarget:
    """The regions of a sample's objects. The target has one of three forms.

    - `{"objects": [{"label", "bbox": [x1, y1, x2, y2] in shares}]}`: a point in the box (VOC2012).
    - `{"joints": [14 rows in pixels]}`: a point in the box around the joints (LSP).
    - `{"points": [[x, y] in pixels]}`: a point within a tenth of the sides (FSC147).

    Raises:
        ValueError: the target has another form, or it is in pixels and the sample has no size.
    """
    target = sample.target
    if not isinstance(target, dict) or len(target) != 1:
        raise ValueError(f"target is {target!r}; expected one of the keys objects, joints, points")
    if "objects" in target:
        found = [DetectedObject.model_validate(there) for there in _rows(target["objects"])]
        regions = [Region(label=there.label, box=there.bbox) for there in found]
    elif "joints" in target:
        points = [in_shares(joint, _size(sample)) for joint in read_joints(target["joints"])]
        regions = [Region(label=None, box=_around(points))]
    elif "points" in target:
        rows = [in_shares(_pixel(row), _size(sample)) for row in _rows(target["points"])]
        regions = [Region(label=None, box=(*p, *p), radius=POINT_RADIUS) for p in rows]
    else:
        raise ValueError(f"target has {list(target)}; expected objects, joints or points")
    objects = tuple(LocatedObject(label=r.label, point=clipped(box_centre(r.box))) for r in regions)
    return LocatingTarget(objects=objects, regions=tuple(regions))


def in_shares(point: Point, size: Size) -> Point:
    """A point in pixels as shares of the sides of a picture of `size`."""
    return point[0] / size[0], point[1] / size[1]


def clipped(point: Point) -> Point:
    """The nearest point within the picture."""
    return min(1.0, max(0.0, point[0])), min(1.0, max(0.0, point[1]))


def checked_shares(point: Point, name: str) -> Point:
    """The point, if both numbers are shares.

    Raises:
        ValueError: a number is below 0 or above 1; `name` is the field in the message.
    """
    if not all(0 <= share <= 1 for share in point):
        raise ValueError(f"{name} is {point}; expected two numbers from 0 to 1")
    return point


def _size(sample: Sample) -> Size:
    if sample.size is None:
        raise ValueError("the target is in pixels, but the sample has no size")
    return sample.size


def _rows(rows: Any) -> Sequence[Any]:
    if not isinstance(rows, list | tuple):
        raise ValueError(f"{rows!r} is not a list of objects or points")
    return rows


def _pixel(row: Any) -> Point:
    numbers = isinstance(row, list | tuple) and all(isinstance(v, int | float) for v in row)
    if not numbers or len(row) not in {2, 3}:
        raise ValueError(f"{row!r} is not a point; expected x, y and an optional flag")
    return float(row[0]), float(row[1])


def _around(points: Sequence[Point]) -> Box:
    xs, ys = [x for x, _ in points], [y for _, y in points]
    return min(xs), min(ys), max(xs), max(ys)
