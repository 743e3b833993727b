"""Boxes in a point cloud: detection and visual grounding.

A box is [x, y, z, l, w, h] in metres, or [x, y, z, l, w, h, yaw] if it is rotated, as
`rotated_boxes` defines them. An answer has a yaw exactly where its text states one.
"""

from __future__ import annotations

from pydantic import Field, field_validator
from typing_extensions import override

from lamm_model.conversation import Modality
from lamm_model.tasks.classification import LABELS_EXAMPLE
from lamm_model.tasks.models import AnswerModel, CloudBox, Label, TaskModel
from lamm_model.tasks.places.base import ReadText
from lamm_model.tasks.places.listed import PlacesTask, SoughtInputs
from lamm_model.tasks.places.notations import CloudBoxes
from lamm_model.tasks.places.single import OnePlaceTask
from lamm_model.tasks.rotated_boxes import Box3D, box_3d_fault
from lamm_model.tasks.sample import Sample


class Box3DAnswer(AnswerModel):
    """One box."""

    bbox: CloudBox

    @field_validator("bbox")
    @classmethod
    def _is_box(cls, bbox: Box3D) -> Box3D:
        if fault := box_3d_fault(bbox):
            raise ValueError(fault)
        return bbox


class GroundingTarget(Box3DAnswer):
    """The target box; `unique`: whether the scene has one object of its class (None: unknown)."""

    unique: bool | None = None


class Object3D(Box3DAnswer):
    """One object with its label and box."""

    label: Label


class Detection3DAnswer(AnswerModel):
    """The objects found, in the order of the text."""

    objects: tuple[Object3D, ...]


class Detection3DInputs(SoughtInputs):
    """`labels`: the closed set to look for; with None the model uses its own words."""


class GroundingInputs(TaskModel):
    """`description`: a referring expression for one object of the scene."""

    description: str = Field(min_length=1, max_length=4000)


class Detection3DTask(PlacesTask[Detection3DInputs, Detection3DAnswer]):
    """Detection of the objects of a scene."""

    inputs_model = Detection3DInputs
    answer_model = Detection3DAnswer
    max_tokens = 512
    primary_metric = "f1@0.5"
    notation = CloudBoxes()
    question = (
        "Which objects are in this {noun}, and where? "
        "Give a box [x, y, z, l, w, h] in metres for each."
    )
    thresholds = (0.25, 0.5)

    @override
    def read_sample(self, sample: Sample) -> tuple[Detection3DInputs, Detection3DAnswer]:
        """Target: `[{"label", "bbox": [x, y, z, l, w, h] and optionally yaw}, ...]`."""
        if not isinstance(sample.target, list):
            raise ValueError(f"target is {sample.target!r}; expected a list of label and bbox")
        objects = tuple(Object3D.model_validate(item) for item in sample.target)
        return Detection3DInputs(labels=sample.labels), Detection3DAnswer(objects=objects)


class GroundingTask(OnePlaceTask[GroundingInputs, Box3DAnswer]):
    """Visual grounding: the object that a description refers to."""

    inputs_model = GroundingInputs
    answer_model = Box3DAnswer
    max_tokens = 64
    primary_metric = "accuracy@0.5"
    notation = CloudBoxes()
    metric = "accuracy@{}"
    thresholds = (0.25, 0.5)

    @override
    def prompt(self, inputs: GroundingInputs) -> str:
        return (
            f"Where in this {self.noun} is the object described here? {inputs.description} "
            "Answer with a box [x, y, z, l, w, h] in metres."
        )

    @override
    def read_sample(self, sample: Sample) -> tuple[GroundingInputs, GroundingTarget]:
        """Target: six or seven numbers, or `{"bbox": the numbers, "unique": true or false}`."""
        target = sample.target if isinstance(sample.target, dict) else {"bbox": sample.target}
        answer = GroundingTarget.model_validate(target)
        return GroundingInputs(description=sample.question), answer

    @override
    def is_near(self, answer: Box3DAnswer, target: Box3DAnswer, threshold: float) -> bool:
        """An IoU of at least `threshold`."""
        return self.notation.overlap(answer.bbox, target.bbox) >= threshold

    @override
    def _is_alone(self, read: ReadText) -> bool:
        # A repeated box is still one box.
        return len({group.values for group in read.numbers}) == 1


TASKS = (
    Detection3DTask(
        "detection_3d",
        Modality.POINT_CLOUD,
        "Find the objects of a scene, a label and a box in metres each.",
        LABELS_EXAMPLE,
    ),
    GroundingTask(
        "grounding_3d",
        Modality.POINT_CLOUD,
        "Find the object of a scene that words describe.",
        {"description": "the chair nearest to the window"},
    ),
)
