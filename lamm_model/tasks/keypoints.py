"""Keypoints: one joint of a body in a picture, as a point."""

from __future__ import annotations

from pydantic import Field, field_validator
from typing_extensions import override

from lamm_model.conversation import Modality
from lamm_model.tasks.label_sets import JOINTS
from lamm_model.tasks.models import Mark, TaskModel
from lamm_model.tasks.notations import PicturePoints
from lamm_model.tasks.place_tasks import OnePlaceTask
from lamm_model.tasks.reading.coordinates import Size
from lamm_model.tasks.sample import Sample
from lamm_model.tasks.targets import (
    TORSO_SHARE,
    JointTarget,
    PointAnswer,
    read_joint_target,
)


class KeypointInputs(TaskModel):
    """`joint`: which point of the body; `size`: width and height, to read answers in pixels."""

    joint: str = Field(min_length=1, max_length=100)
    size: Size | None = None

    @field_validator("joint")
    @classmethod
    def _one_of_fourteen(cls, joint: str) -> str:
        if joint not in JOINTS:
            raise ValueError(f"joint {joint!r} is none of {', '.join(JOINTS)}")
        return joint


class KeypointTask(OnePlaceTask[KeypointInputs, PointAnswer]):
    """Find one joint of a body."""

    inputs_model = KeypointInputs
    answer_model = PointAnswer
    primary_metric = "pck@0.2_torso"
    notation = PicturePoints(joined=False)
    metric = "pck@{}_torso"
    thresholds = (TORSO_SHARE,)

    @override
    def prompt(self, inputs: KeypointInputs) -> str:
        """Asks for one joint."""
        return (
            f"Where is the {inputs.joint} of the person in this {self.noun}? "
            "Answer with a point [x, y], both from 0 to 1."
        )

    @override
    def read_sample(self, sample: Sample) -> tuple[KeypointInputs, JointTarget]:
        """Target: `{"joint": name, "joints": [[x, y] or [x, y, flag] in pixels, 14 of them]}`."""
        target = read_joint_target(sample)
        return KeypointInputs(joint=target.joint, size=sample.size), target

    @override
    def is_near(self, answer: PointAnswer, target: PointAnswer, threshold: float) -> bool:
        """Within this share of the torso's length of the joint, measured in pixels (PCK)."""
        return isinstance(target, JointTarget) and target.within_torso(answer.point, threshold)

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
