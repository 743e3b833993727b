"""Pointing: a point on every object of one kind in a picture.

The LAMM-Benchmark has no such task, and lamm-mini was not trained on it.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field, field_validator
from typing_extensions import override

from lamm_model.conversation import Modality
from lamm_model.tasks.detection import DetectedObject
from lamm_model.tasks.metrics import Box, DetectionCounts, box_centre, matched_counts
from lamm_model.tasks.models import AnswerModel, Label, Mark, PicturePoint, TaskModel
from lamm_model.tasks.places.listed import FoundPlace, PlacesTask
from lamm_model.tasks.places.notations import PicturePoints
from lamm_model.tasks.reading.coordinates import Point, Size
from lamm_model.tasks.reading.words import tokens
from lamm_model.tasks.sample import Sample
from lamm_model.tasks.targets import checked_shares


class PointInputs(TaskModel):
    """`label`: the objects to point at.

    `size`: width and height of the picture, needed to read an answer in pixels.
    """

    label: Label = Field(max_length=100)
    size: Size | None = None

    @field_validator("label")
    @classmethod
    def _readable(cls, label: str) -> str:
        if not tokens(label):
            raise ValueError(f"label {label!r} has no letter and no digit")
        return label


class PointsAnswer(AnswerModel):
    """One point [x, y] per object found; empty if there is none."""

    label: str
    points: tuple[PicturePoint, ...]

    @field_validator("points")
    @classmethod
    def _shares(cls, points: tuple[Point, ...]) -> tuple[Point, ...]:
        return tuple(checked_shares(point, "point") for point in points)


class PointsTarget(PointsAnswer):
    """The centres of the objects, and the `boxes` in which a point is right."""

    boxes: tuple[Box, ...]

    @override
    def marks(self) -> tuple[Mark, ...]:
        """The boxes instead of their centres."""
        return tuple(Mark(self.label, box=box) for box in self.boxes)


class PointTask(PlacesTask[PointInputs, PointsAnswer]):
    """Points on all objects of one kind."""

    inputs_model = PointInputs
    answer_model = PointsAnswer
    max_tokens = 256
    primary_metric = "f1"
    notation = PicturePoints(joined=True)
    question = (
        "Where in this {noun} is every {label}? Give a point [x, y] for each, both from 0 to 1."
    )
    thresholds = (None,)

    @override
    def prompt(self, inputs: PointInputs) -> str:
        return self.question.format(noun=self.noun, label=inputs.label)

    @override
    def read_sample(self, sample: Sample) -> tuple[PointInputs, PointsTarget]:
        """Target: `{"label": word, "boxes": [[x1, y1, x2, y2] in shares, ...]}`."""
        if not isinstance(sample.target, dict) or set(sample.target) != {"label", "boxes"}:
            raise ValueError(f"target is {sample.target!r}; expected the keys 'label' and 'boxes'")
        label, rows = sample.target["label"], sample.target["boxes"]
        boxes = [DetectedObject.model_validate({"label": label, "bbox": row}).bbox for row in rows]
        points = tuple(map(box_centre, boxes))
        target = PointsTarget(label=label, points=points, boxes=tuple(boxes))
        return PointInputs(label=label, size=sample.size), target

    @override
    def counts(
        self, answer: PointsAnswer | None, target: PointsAnswer, threshold: float | None
    ) -> DetectionCounts:
        """One-to-one matches of points and boxes."""
        boxes: tuple[Box, ...] = getattr(target, "boxes", ())
        return matched_counts(() if answer is None else answer.points, boxes, _is_inside)

    @override
    def _labels(self, inputs: PointInputs) -> tuple[str, ...]:
        return (inputs.label,)

    @override
    def _chosen(self, found: list[FoundPlace], inputs: PointInputs) -> list[FoundPlace]:
        """The points with the asked label or no label."""
        return [one for one in found if one[0] in {None, inputs.label}]

    @override
    def _answer(self, found: Sequence[FoundPlace], inputs: PointInputs) -> PointsAnswer:
        points = [place for _, place in found]
        return PointsAnswer.model_validate({"label": inputs.label, "points": points})


TASKS = (
    PointTask(
        "point",
        Modality.IMAGE,
        "Point at every object of one kind. Not in LAMM: an answer depends on the checkpoint.",
        {"label": "bag"},
    ),
)


def _is_inside(point: Point, box: Box) -> bool:
    return box[0] <= point[0] <= box[2] and box[1] <= point[1] <= box[3]
