"""Detection of objects in a picture: labels with boxes [x1, y1, x2, y2] as shares of its sides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic import Field, ValidationInfo, field_validator
from typing_extensions import override

from lamm_model.tasks.base import ParseResult, ParseStatus, Task, TaskModel
from lamm_model.tasks.classification import ClassificationInputs
from lamm_model.tasks.metrics import (
    Box,
    DetectionCounts,
    Estimate,
    box_iou,
    matched_counts,
    precision_recall_f1,
)
from lamm_model.tasks.reading.coordinates import (
    Group,
    Size,
    groups,
    joined_pairs,
    scale_of,
    shares,
    tidy,
)
from lamm_model.tasks.reading.places import (
    cut_short,
    label_pattern_fault,
    labelled,
    says_nothing_is_there,
)
from lamm_model.tasks.reading.words import tokens
from lamm_model.tasks.sample import Sample

IOU_THRESHOLD = 0.5


class DetectionInputs(ClassificationInputs):
    """`labels`: the closed set to look for; None leaves the words to the model.

    `size`: width and height of the picture, so that an answer in pixels can be read.
    """

    size: Size | None = None


class DetectedObject(TaskModel):
    """One object; `bbox` is [x1, y1, x2, y2], 0-1 from the top left, x1 <= x2 and y1 <= y2."""

    label: str = Field(min_length=1)
    bbox: Box

    @field_validator("label")
    @classmethod
    def _no_brackets(cls, label: str) -> str:
        if fault := label_pattern_fault(label):
            raise ValueError(fault)
        return label

    @field_validator("bbox")
    @classmethod
    def _ordered_shares(cls, bbox: Box, info: ValidationInfo) -> Box:
        x1, y1, x2, y2 = bbox
        if not (0 <= x1 <= x2 <= 1 and 0 <= y1 <= y2 <= 1):
            raise ValueError(
                f"bbox {bbox} of {info.data.get('label')!r} is not 0 <= x1 <= x2 <= 1, y alike"
            )
        return bbox


class DetectionAnswer(TaskModel):
    """The objects found, in the order they were named."""

    objects: tuple[DetectedObject, ...]


class DetectionTask(Task[DetectionInputs, DetectionAnswer]):
    """Find objects and their boxes."""

    inputs_model = DetectionInputs
    answer_model = DetectionAnswer
    max_tokens = 256
    primary_metric = "f1@0.5"

    def prompt(self, inputs: DetectionInputs) -> str:
        """Asks for labels and boxes; a closed set is written out."""
        question = f"Which items are in this {self.noun()}, and where? Give a box for each."
        return (
            question
            if inputs.labels is None
            else f"{question} Items may be: {', '.join(inputs.labels)}."
        )

    def parse(self, text: str, inputs: DetectionInputs) -> ParseResult[DetectionAnswer]:
        """Every box with the label before it (or after it, where the first box has none before).

        Boxes clipped, reordered, cut short, in a guessed frame, in one that cannot be told, or
        without a label make the result partial.
        """
        text = tidy(text)
        numbers = list(joined_pairs(groups(text), text, 2))
        boxes = [group for group in numbers if len(group.values) == 4]
        if not boxes:
            if says_nothing_is_there(text, inputs.labels):
                return ParseResult(DetectionAnswer(objects=()), ParseStatus.OK)
            return ParseResult.unparsed()
        scale = scale_of(boxes, inputs.size)
        there = list(labelled(text, boxes, inputs.labels))
        whole = boxes == numbers and boxes[0].bracketed and not cut_short(text, boxes)
        whole = whole and len(there) == len(boxes)
        objects: list[DetectedObject] = []
        for label, group in there:
            bbox, intact = _read_box(group, scale)
            whole = whole and intact and label is not None
            if label is not None and bbox is not None:
                objects.append(DetectedObject(label=label, bbox=bbox))
        if not objects:
            return ParseResult.unparsed()
        status = ParseStatus.OK if whole else ParseStatus.PARTIAL
        return ParseResult(DetectionAnswer(objects=tuple(objects)), status)

    @override
    def render(self, answer: DetectionAnswer, inputs: DetectionInputs) -> str:
        """`coat [0.10, 0.20, 0.45, 0.60]; sneaker [...]`, rounded to two decimals."""
        if not answer.objects:
            return "There are no items."
        return "; ".join(
            f"{o.label} [{', '.join(f'{v:.2f}' for v in o.bbox)}]" for o in answer.objects
        )

    def read_sample(self, sample: Sample) -> tuple[DetectionInputs, DetectionAnswer]:
        """Target: `[{"label", "bbox"}, ...]`."""
        if not isinstance(sample.target, list):
            raise ValueError(f"target is {sample.target!r}; it must be a list of label and bbox")
        objects = tuple(DetectedObject.model_validate(item) for item in sample.target)
        inputs = DetectionInputs(labels=sample.labels, size=sample.size)
        return inputs, DetectionAnswer(objects=objects)

    def is_hit(self, answer: DetectionAnswer | None, target: DetectionAnswer) -> bool:
        """Every object found, none made up."""
        return answer is not None and _counts(answer, target).f1 == 1.0

    def score(
        self, pairs: Sequence[tuple[DetectionAnswer | None, DetectionAnswer]]
    ) -> Mapping[str, Estimate]:
        """`precision@0.5`, `recall@0.5`, `f1@0.5` over all objects; unparsed found nothing."""
        if not pairs:
            return {}
        counts = [_counts(answer, target) for answer, target in pairs]
        return precision_recall_f1(counts, f"@{IOU_THRESHOLD}")


def _counts(answer: DetectionAnswer | None, target: DetectionAnswer) -> DetectionCounts:
    """One-to-one matches of same label and IoU of at least 0.5."""
    return matched_counts(
        () if answer is None else answer.objects,
        target.objects,
        lambda seen, there: (
            tokens(seen.label) == tokens(there.label)
            and box_iou(seen.bbox, there.bbox) >= IOU_THRESHOLD
        ),
    )


def _read_box(group: Group, scale: tuple[float, float] | None) -> tuple[Box | None, bool]:
    """A box in order and within 0-1 (None: another frame), and whether it needed no repair."""
    values, intact = shares(group, scale)
    if values is None:
        return None, False
    left, upper, right, lower = values
    box = (min(left, right), min(upper, lower), max(left, right), max(upper, lower))
    return box, intact and box == values
