"""The marks of a typed answer or target on its medium: boxes, points, the joints of a body."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from lamm_model.tasks.metrics import Box
from lamm_model.tasks.models import AnswerModel
from lamm_model.tasks.rotated_boxes import Box3D

Point = tuple[float, float]


class _Mark(BaseModel):
    model_config = ConfigDict(frozen=True)

    label: str | None = None


class BoxMark(_Mark):
    """A box [x1, y1, x2, y2] as shares of the sides, from the top left."""

    box: Box


class PointMark(_Mark):
    """A point [x, y] in shares; `reach`: the tolerance around it, in shares of each side."""

    point: Point
    reach: Point | None = None


class Box3DMark(_Mark):
    """A box [x, y, z, l, w, h] or [x, y, z, l, w, h, yaw] in metres, see `rotated_boxes`."""

    box: Box3D


class Marks(BaseModel):
    """All marks of one answer; `joints` are the 14 points of a body in shares, or empty."""

    model_config = ConfigDict(frozen=True)

    boxes: tuple[BoxMark, ...] = ()
    points: tuple[PointMark, ...] = ()
    joints: tuple[Point, ...] = ()
    boxes_3d: tuple[Box3DMark, ...] = ()

    @property
    def empty(self) -> bool:
        """Whether there is nothing to draw."""
        return not (self.boxes or self.points or self.joints or self.boxes_3d)


def marks_of(answer: AnswerModel | None) -> Marks:
    """The marks of an answer or target; empty for None (unparsed) and for tasks without places."""
    marks = () if answer is None else answer.marks()
    return Marks(
        boxes=tuple(BoxMark(label=m.text or None, box=m.box) for m in marks if m.box),
        points=tuple(
            PointMark(label=m.text or None, point=m.point, reach=m.reach) for m in marks if m.point
        ),
        joints=tuple(joint for m in marks for joint in m.joints),
        boxes_3d=tuple(Box3DMark(label=m.text or None, box=m.box_3d) for m in marks if m.box_3d),
    )
