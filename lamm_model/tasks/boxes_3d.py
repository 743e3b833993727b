"""Boxes in a point cloud, [x, y, z, l, w, h] in metres: detection and visual grounding.

x, y, z is the centre; l, w, h the extents along the axes of the cloud's own frame.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic import Field, field_validator
from typing_extensions import override

from lamm_model.tasks.base import ParseResult, ParseStatus, Task, TaskModel
from lamm_model.tasks.classification import ClassificationInputs
from lamm_model.tasks.metrics import (
    Box3D,
    DetectionCounts,
    Estimate,
    box_3d_iou,
    matched_counts,
    precision_recall_f1,
    proportion,
)
from lamm_model.tasks.reading.coordinates import Group, groups, joined_pairs, tidy
from lamm_model.tasks.reading.places import (
    cut_short,
    is_denied,
    label_pattern_fault,
    labelled,
    says_nothing_is_there,
)
from lamm_model.tasks.reading.words import tokens
from lamm_model.tasks.sample import Sample

THRESHOLDS = (0.25, 0.5)


class Box3DAnswer(TaskModel):
    """One box."""

    bbox: Box3D

    @field_validator("bbox")
    @classmethod
    def _extents(cls, bbox: Box3D) -> Box3D:
        if min(bbox[3:]) < 0:
            raise ValueError(f"bbox {bbox} has an extent below 0")
        return bbox


class GroundingTarget(Box3DAnswer):
    """The box meant; `unique`: whether the scene has one object of its class (None: unknown)."""

    unique: bool | None = None


class Object3D(Box3DAnswer):
    """One object with its label."""

    label: str = Field(min_length=1)

    @field_validator("label")
    @classmethod
    def _no_brackets(cls, label: str) -> str:
        if fault := label_pattern_fault(label):
            raise ValueError(fault)
        return label


class Detection3DAnswer(TaskModel):
    """The objects found, in the order they were named."""

    objects: tuple[Object3D, ...]


class Detection3DInputs(ClassificationInputs):
    """`labels`: the closed set to look for; None leaves the words to the model."""


class GroundingInputs(TaskModel):
    """`description`: the words that single out one object of the scene."""

    description: str = Field(min_length=1, max_length=4000)


class Detection3DTask(Task[Detection3DInputs, Detection3DAnswer]):
    """Find objects of a scene and their boxes."""

    inputs_model = Detection3DInputs
    answer_model = Detection3DAnswer
    max_tokens = 512
    primary_metric = "f1@0.5"

    def prompt(self, inputs: Detection3DInputs) -> str:
        """Asks for labels and boxes; a closed set is written out."""
        question = (
            f"Which objects are in this {self.noun()}, and where? "
            "Give a box [x, y, z, l, w, h] in metres for each."
        )
        if inputs.labels is None:
            return question
        return f"{question} Objects may be: {', '.join(inputs.labels)}."

    def parse(self, text: str, inputs: Detection3DInputs) -> ParseResult[Detection3DAnswer]:
        """Every box with the label before it (or after it); negative extents are turned round."""
        text = tidy(text)
        numbers = list(joined_pairs(groups(text), text, 3))
        boxes = [group for group in numbers if len(group.values) == 6]
        if not boxes:
            if says_nothing_is_there(text, inputs.labels):
                return ParseResult(Detection3DAnswer(objects=()), ParseStatus.OK)
            return ParseResult.unparsed()
        there = list(labelled(text, boxes, inputs.labels))
        whole = boxes == numbers and boxes[0].bracketed and not cut_short(text, boxes)
        whole = whole and len(there) == len(boxes)
        objects: list[Object3D] = []
        for label, group in there:
            bbox, intact = _read_box(group)
            whole = whole and intact and label is not None
            if label is not None:
                objects.append(Object3D(label=label, bbox=bbox))
        if not objects:
            return ParseResult.unparsed()
        status = ParseStatus.OK if whole else ParseStatus.PARTIAL
        return ParseResult(Detection3DAnswer(objects=tuple(objects)), status)

    @override
    def render(self, answer: Detection3DAnswer, inputs: Detection3DInputs) -> str:
        """`chair [1.20, -0.35, 0.40, 0.50, 0.50, 0.80]; table [...]`, in centimetres' precision."""
        if not answer.objects:
            return "There are no objects."
        return "; ".join(f"{found.label} {_written(found.bbox)}" for found in answer.objects)

    def read_sample(self, sample: Sample) -> tuple[Detection3DInputs, Detection3DAnswer]:
        """Target: `[{"label", "bbox": [x, y, z, l, w, h]}, ...]`."""
        if not isinstance(sample.target, list):
            raise ValueError(f"target is {sample.target!r}; it must be a list of label and bbox")
        objects = tuple(Object3D.model_validate(item) for item in sample.target)
        return Detection3DInputs(labels=sample.labels), Detection3DAnswer(objects=objects)

    def is_hit(self, answer: Detection3DAnswer | None, target: Detection3DAnswer) -> bool:
        """Every object found, none made up, at an IoU of at least 0.5."""
        return answer is not None and counts_3d(answer, target, 0.5).f1 == 1.0

    def score(
        self, pairs: Sequence[tuple[Detection3DAnswer | None, Detection3DAnswer]]
    ) -> Mapping[str, Estimate]:
        """`precision`, `recall` and `f1` at 0.25 and 0.5 over all objects, one to one."""
        if not pairs:
            return {}
        scores: dict[str, Estimate] = {}
        for threshold in THRESHOLDS:
            counts = [counts_3d(answer, target, threshold) for answer, target in pairs]
            scores |= precision_recall_f1(counts, f"@{threshold}")
        return scores


class GroundingTask(Task[GroundingInputs, Box3DAnswer]):
    """Find the object of a scene that a description means."""

    inputs_model = GroundingInputs
    answer_model = Box3DAnswer
    max_tokens = 64
    primary_metric = "accuracy@0.5"

    def prompt(self, inputs: GroundingInputs) -> str:
        """Asks for one box."""
        return (
            f"Where in this {self.noun()} is the object described here? {inputs.description} "
            "Answer with a box [x, y, z, l, w, h] in metres."
        )

    @override
    def parse(self, text: str, inputs: GroundingInputs) -> ParseResult[Box3DAnswer]:
        """The first box; others beside it make the result partial."""
        text = tidy(text)
        numbers = list(joined_pairs(groups(text), text, 3))
        boxes = [g for g in numbers if len(g.values) == 6 and not is_denied(text, g)]
        if not boxes:
            return ParseResult.unparsed()
        bbox, intact = _read_box(boxes[0])
        alone = len({group.values for group in numbers}) == 1 and boxes[0].bracketed
        status = ParseStatus.OK if intact and alone else ParseStatus.PARTIAL
        return ParseResult(Box3DAnswer(bbox=bbox), status)

    @override
    def render(self, answer: Box3DAnswer, inputs: GroundingInputs) -> str:
        """`[1.20, -0.35, 0.40, 0.50, 0.50, 0.80]`, in centimetres' precision."""
        return _written(answer.bbox)

    def read_sample(self, sample: Sample) -> tuple[GroundingInputs, GroundingTarget]:
        """Target: six numbers, or `{"bbox": six numbers, "unique": true or false}`."""
        target = sample.target if isinstance(sample.target, dict) else {"bbox": sample.target}
        answer = GroundingTarget.model_validate(target)
        return GroundingInputs(description=sample.question), answer

    def is_hit(self, answer: Box3DAnswer | None, target: Box3DAnswer) -> bool:
        """An IoU of at least 0.5."""
        return answer is not None and box_3d_iou(answer.bbox, target.bbox) >= 0.5

    def score(
        self, pairs: Sequence[tuple[Box3DAnswer | None, Box3DAnswer]]
    ) -> Mapping[str, Estimate]:
        """`accuracy@0.25` and `accuracy@0.5`; an unparsed answer is wrong."""
        if not pairs:
            return {}
        ious = [0.0 if a is None else box_3d_iou(a.bbox, t.bbox) for a, t in pairs]
        return {
            f"accuracy@{threshold}": proportion(sum(iou >= threshold for iou in ious), len(ious))
            for threshold in THRESHOLDS
        }


def counts_3d(
    answer: Detection3DAnswer | None, target: Detection3DAnswer, threshold: float
) -> DetectionCounts:
    """One-to-one matches of same label and IoU of at least `threshold`."""
    return matched_counts(
        () if answer is None else answer.objects,
        target.objects,
        lambda seen, there: (
            tokens(seen.label) == tokens(there.label)
            and box_3d_iou(seen.bbox, there.bbox) >= threshold
        ),
    )


def _read_box(group: Group) -> tuple[Box3D, bool]:
    """A box with extents of 0 or more, and whether it needed no repair."""
    x, y, z, length, width, height = group.values
    box = (x, y, z, abs(length), abs(width), abs(height))
    return box, box == group.values and group.unit in {None, "m"} and group.sure


def _written(bbox: Box3D) -> str:
    return f"[{', '.join(f'{value:.2f}' for value in bbox)}]"
