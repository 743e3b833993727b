"""Keypoints: one joint of a body in a picture, as a point."""

from __future__ import annotations

import math

from pydantic import Field, field_validator
from typing_extensions import override

from lamm_model.conversation import Modality
from lamm_model.tasks.label_sets import JOINTS
from lamm_model.tasks.models import AnswerModel, Mark, PicturePoint, TaskModel
from lamm_model.tasks.places.notations import PicturePoints
from lamm_model.tasks.places.single import OnePlaceTask
from lamm_model.tasks.reading.coordinates import Point, Size
from lamm_model.tasks.sample import Sample
from lamm_model.tasks.targets import checked_shares, clipped, in_shares, read_joints

# The share of the torso's length within which a joint counts as found (PCK@0.2).
TORSO_SHARE = 0.2
_RIGHT_SHOULDER, _LEFT_HIP = JOINTS.index("right shoulder"), JOINTS.index("left hip")
_LEFT_SHOULDER, _RIGHT_HIP = JOINTS.index("left shoulder"), JOINTS.index("right hip")


class KeypointInputs(TaskModel):
    """`joint`: the point of the body to find.

    `size`: width and height of the picture, needed to read an answer in pixels.
    """

    joint: str = Field(min_length=1, max_length=100)
    size: Size | None = None

    @field_validator("joint")
    @classmethod
    def _one_of_fourteen(cls, joint: str) -> str:
        if joint not in JOINTS:
            raise ValueError(f"joint {joint!r} is not one of {', '.join(JOINTS)}")
        return joint


class PointAnswer(AnswerModel):
    """A point [x, y] as shares of the picture's sides, from the top left."""

    point: PicturePoint

    @field_validator("point")
    @classmethod
    def _shares(cls, point: Point) -> Point:
        return checked_shares(point, "point")


class JointTarget(PointAnswer):
    """A joint and all 14 `joints` of its body, in pixels of a picture of `size`.

    `flag` is the third number of the joint's annotation; its meaning differs between data sets.
    """

    joint: str
    joints: tuple[Point, ...]
    size: Size
    flag: int | None = None

    @property
    def torso(self) -> float:
        """Pixels between shoulder and opposite hip, along the longer diagonal."""
        return max(
            math.dist(self.joints[_RIGHT_SHOULDER], self.joints[_LEFT_HIP]),
            math.dist(self.joints[_LEFT_SHOULDER], self.joints[_RIGHT_HIP]),
        )

    def distance(self, point: Point) -> float:
        """Distance in pixels between the joint and a point given in shares."""
        width, height = self.size
        return math.dist(
            (point[0] * width, point[1] * height), self.joints[JOINTS.index(self.joint)]
        )

    def within_torso(self, point: Point, share: float) -> bool:
        """Whether a point is within `share` of the torso's length of the joint."""
        return self.distance(point) <= share * self.torso

    @override
    def marks(self) -> tuple[Mark, ...]:
        """The joint with its reach, and the body around it."""
        width, height = self.size
        radius = TORSO_SHARE * self.torso
        return (
            Mark(self.joint, point=self.point, reach=(radius / width, radius / height)),
            Mark(joints=tuple((x / width, y / height) for x, y in self.joints)),
        )


class KeypointTask(OnePlaceTask[KeypointInputs, PointAnswer]):
    """Localisation of one joint of a body."""

    inputs_model = KeypointInputs
    answer_model = PointAnswer
    primary_metric = "pck@0.2_torso"
    notation = PicturePoints(joined=False)
    metric = "pck@{}_torso"
    thresholds = (TORSO_SHARE,)

    @override
    def prompt(self, inputs: KeypointInputs) -> str:
        return (
            f"Where is the {inputs.joint} of the person in this {self.noun}? "
            "Answer with a point [x, y], both from 0 to 1."
        )

    @override
    def read_sample(self, sample: Sample) -> tuple[KeypointInputs, JointTarget]:
        """Target: `{"joint": name, "joints": 14 rows [x, y] or [x, y, flag] in pixels}`."""
        target = read_joint_target(sample)
        return KeypointInputs(joint=target.joint, size=sample.size), target

    @override
    def is_near(self, answer: PointAnswer, target: PointAnswer, threshold: float) -> bool:
        """Within this share of the torso's length, measured in pixels (PCK)."""
        return isinstance(target, JointTarget) and target.within_torso(answer.point, threshold)

    @override
    def sought(self, inputs: KeypointInputs) -> str:
        return inputs.joint

    @override
    def marks(self, answer: PointAnswer, inputs: KeypointInputs) -> tuple[Mark, ...]:
        """The point with the joint's name."""
        return (Mark(inputs.joint, point=answer.point),)


TASKS = (
    KeypointTask(
        "keypoints",
        Modality.IMAGE,
        "Find one of 14 joints of a person in a picture.",
        {"joint": "right knee"},
    ),
)


def read_joint_target(sample: Sample) -> JointTarget:
    """A sample's joint, its body and the size of the picture.

    Raises:
        ValueError: the sample has no size, the joint is unknown, or there are not 14 joints.
    """
    target, size = sample.target, sample.size
    if not isinstance(target, dict) or set(target) != {"joint", "joints"}:
        raise ValueError(f"target is {target!r}; expected the keys 'joint' and 'joints'")
    if size is None:
        raise ValueError("the joints are in pixels, but the sample has no size")
    if target["joint"] not in JOINTS:
        raise ValueError(f"joint {target['joint']!r} is not one of {', '.join(JOINTS)}")
    joints = read_joints(target["joints"])
    index = JOINTS.index(target["joint"])
    annotated = target["joints"][index]
    return JointTarget(
        point=clipped(in_shares(joints[index], size)),
        joint=target["joint"],
        joints=tuple(joints),
        size=size,
        flag=int(annotated[2]) if len(annotated) > 2 else None,
    )
