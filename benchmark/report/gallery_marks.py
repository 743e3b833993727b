"""What a typed answer or target draws over its picture or cloud: boxes, points, a body's joints.

Called by `gallery`. Answers of other tasks draw nothing.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from lamm_model.tasks.base import TaskModel
from lamm_model.tasks.boxes_3d import Box3DAnswer, Detection3DAnswer
from lamm_model.tasks.detection import DetectionAnswer
from lamm_model.tasks.metrics import Box, Box3D
from lamm_model.tasks.targets import JointTarget, LocatingAnswer, LocatingTarget, PointAnswer

Point = tuple[float, float]
# The share of the torso within which a joint counts as found.
JOINT_RADIUS = 0.2


class _Mark(BaseModel):
    model_config = ConfigDict(frozen=True)

    label: str | None = None


class BoxMark(_Mark):
    """A box [x1, y1, x2, y2], shares of the sides from the top left."""

    box: Box


class PointMark(_Mark):
    """A point [x, y] in shares; `reach`: how far from it still counts, in shares of each side."""

    point: Point
    reach: Point | None = None


class Box3DMark(_Mark):
    """A box [x, y, z, l, w, h] in metres around its centre."""

    box: Box3D


class Marks(BaseModel):
    """All that is drawn for one answer; `joints` are a body's 14 points in shares, or none."""

    model_config = ConfigDict(frozen=True)

    boxes: tuple[BoxMark, ...] = ()
    points: tuple[PointMark, ...] = ()
    joints: tuple[Point, ...] = ()
    boxes_3d: tuple[Box3DMark, ...] = ()

    @property
    def empty(self) -> bool:
        """Whether there is nothing to draw."""
        return not (self.boxes or self.points or self.joints or self.boxes_3d)


def marks_of(answer: TaskModel | None) -> Marks:  # noqa: PLR0911 - a case a type
    """The marks of an answer or a target; none for None (unparsed) and for tasks without places."""
    match answer:
        case DetectionAnswer():
            return Marks(boxes=tuple(BoxMark(label=o.label, box=o.bbox) for o in answer.objects))
        case LocatingTarget():
            return _regions(answer)
        case LocatingAnswer():
            points = (PointMark(label=o.label, point=o.point) for o in answer.objects)
            return Marks(points=tuple(points))
        case JointTarget():
            return _joint(answer)
        case PointAnswer():
            return Marks(points=(PointMark(point=answer.point),))
        case Detection3DAnswer():
            found = (Box3DMark(label=o.label, box=o.bbox) for o in answer.objects)
            return Marks(boxes_3d=tuple(found))
        case Box3DAnswer():
            return Marks(boxes_3d=(Box3DMark(box=answer.bbox),))
        case _:
            return Marks()


def _regions(target: LocatingTarget) -> Marks:
    boxes, points = [], []
    for region in target.regions:
        if region.radius is None:
            boxes.append(BoxMark(label=region.label, box=region.box))
        else:
            x1, y1, x2, y2 = region.box
            reach = (region.radius, region.radius)
            centre = ((x1 + x2) / 2, (y1 + y2) / 2)
            points.append(PointMark(label=region.label, point=centre, reach=reach))
    return Marks(boxes=tuple(boxes), points=tuple(points))


def _joint(target: JointTarget) -> Marks:
    width, height = target.size
    radius = JOINT_RADIUS * target.torso
    point = PointMark(
        label=target.joint, point=target.point, reach=(radius / width, radius / height)
    )
    joints = tuple((x / width, y / height) for x, y in target.joints)
    return Marks(points=(point,), joints=joints)
