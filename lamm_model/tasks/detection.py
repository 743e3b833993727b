"""Detection of objects in a picture: labels with boxes [x1, y1, x2, y2] as shares of its sides."""

from __future__ import annotations

from pydantic import ValidationInfo, field_validator
from typing_extensions import override

from lamm_model.conversation import Modality
from lamm_model.tasks.classification import LABELS_EXAMPLE
from lamm_model.tasks.metrics import Box
from lamm_model.tasks.models import AnswerModel, Label, PictureBox
from lamm_model.tasks.places.listed import PlacesTask, SoughtInputs
from lamm_model.tasks.places.notations import PictureBoxes
from lamm_model.tasks.reading.coordinates import Size
from lamm_model.tasks.sample import Sample


class DetectionInputs(SoughtInputs):
    """`labels`: the closed set to look for; with None the model uses its own words.

    `size`: width and height of the picture, needed to read an answer in pixels.
    """

    size: Size | None = None


class DetectedObject(AnswerModel):
    """One object; `bbox` is [x1, y1, x2, y2] in 0-1 from the top left, x1 <= x2 and y1 <= y2."""

    label: Label
    bbox: PictureBox

    @field_validator("bbox")
    @classmethod
    def _ordered_shares(cls, bbox: Box, info: ValidationInfo) -> Box:
        x1, y1, x2, y2 = bbox
        if not (0 <= x1 <= x2 <= 1 and 0 <= y1 <= y2 <= 1):
            raise ValueError(
                f"bbox {bbox} of {info.data.get('label')!r} is not 0 <= x1 <= x2 <= 1 and "
                "0 <= y1 <= y2 <= 1"
            )
        return bbox


class DetectionAnswer(AnswerModel):
    """The objects found, in the order of the text."""

    objects: tuple[DetectedObject, ...]


class DetectionTask(PlacesTask[DetectionInputs, DetectionAnswer]):
    """Detection of objects with boxes."""

    inputs_model = DetectionInputs
    answer_model = DetectionAnswer
    max_tokens = 256
    primary_metric = "f1@0.5"
    notation = PictureBoxes()
    question = "Which items are in this {noun}, and where? Give a box for each."
    things = "items"

    @override
    def read_sample(self, sample: Sample) -> tuple[DetectionInputs, DetectionAnswer]:
        """Target: `[{"label", "bbox"}, ...]`."""
        if not isinstance(sample.target, list):
            raise ValueError(f"target is {sample.target!r}; expected a list of label and bbox")
        objects = tuple(DetectedObject.model_validate(item) for item in sample.target)
        inputs = DetectionInputs(labels=sample.labels, size=sample.size)
        return inputs, DetectionAnswer(objects=objects)


TASKS = (
    DetectionTask(
        "detection",
        Modality.IMAGE,
        "Find the objects in a picture, a label and a box each.",
        LABELS_EXAMPLE,
    ),
)
