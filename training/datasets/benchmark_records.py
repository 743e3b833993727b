"""The records of the benchmark's meta files, one type per form of answer.

`training.datasets.layout` maps files to types. Field names are the files' own, as OpenLAMM's
benchmark loader and scorers read them (@ d5ca246).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from lamm_model.tasks.label_sets import JOINTS
from lamm_model.tasks.rotated_boxes import Box3D, yaw_fault
from training.data.records import Text
from training.datasets.complaints import Kind
from training.datasets.published_records import (
    CloudRecord,
    Doubt,
    PictureRecord,
    QuestionRecord,
    TextOrInteger,
    integer_as_text,
)

# Tolerance for normalised boxes that leave the picture by rounding.
_FRAME_SLACK = 0.01

Box2D = tuple[float, float, float, float]
BoxInRoom = Annotated[Box3D, Field(min_length=6, max_length=7)]


class Classification(PictureRecord, QuestionRecord):
    """CIFAR10 and UCMerced: one label."""

    label: Text


class HairColour(PictureRecord, QuestionRecord):
    """CelebA(Hair): the name of a colour."""

    attr: Text


class Smile(PictureRecord, QuestionRecord):
    """CelebA(Smile): "1" for a smile, "-1" for none."""

    attr: Annotated[Literal["1", "-1"], BeforeValidator(integer_as_text)]


class ChoiceRecord(QuestionRecord):
    """A multiple-choice question; `gt_choice` is the index of the right option, from 0."""

    gt_choice: int = Field(ge=0)
    gt_choices: tuple[TextOrInteger, ...] = Field(min_length=2)

    @model_validator(mode="after")
    def _the_answer_is_an_option(self) -> Self:
        if self.gt_choice >= len(self.gt_choices):
            fault = f"gt_choice is {self.gt_choice}; expected 0 to {len(self.gt_choices) - 1}"
            raise PydanticCustomError(Kind.SCHEMA, fault)
        return self


class PictureChoice(PictureRecord, ChoiceRecord):
    """SQAimage and AI2D."""


class CloudChoice(CloudRecord, ChoiceRecord):
    """ScanQA."""


class Caption(PictureRecord, QuestionRecord):
    """flickr30k: sentences that each describe the picture."""

    sentences: tuple[Text, ...] = Field(min_length=1)


class Words(PictureRecord, QuestionRecord):
    """SVT: the words in the picture."""

    word_list: tuple[TextOrInteger, ...] = Field(min_length=1)


class Counting(PictureRecord, QuestionRecord):
    """FSC147: the number of objects."""

    num: int = Field(ge=0)


class CountedPoints(Counting):
    """FSC147 for locating: one point per object, in pixels."""

    points: tuple[tuple[float, float], ...]

    def doubts(self) -> Iterator[Doubt]:
        if len(self.points) != self.num:
            yield Doubt(Kind.BOX, f"num is {self.num}, but points has {len(self.points)} points")
        if any(min(point) < 0 for point in self.points):
            yield Doubt(Kind.BOX, "a point has a negative coordinate; expected pixels")


class Keypoints(PictureRecord, QuestionRecord):
    """LSP: x and y in pixels of each of `JOINTS`, and optionally its visibility."""

    gt_joints: tuple[tuple[float, float] | tuple[float, float, float], ...]

    @model_validator(mode="after")
    def _has_all_joints(self) -> Self:
        if len(self.gt_joints) != len(JOINTS):
            fault = f"gt_joints has {len(self.gt_joints)} joints; expected {len(JOINTS)}"
            raise PydanticCustomError(Kind.SCHEMA, fault)
        return self


class _Labelled(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    label: Text


class PictureObject(_Labelled):
    """A labelled box [x1, y1, x2, y2], as fractions of the picture's width and height."""

    bbox: Box2D


class Detection(PictureRecord, QuestionRecord):
    """VOC2012, for detection and for locating."""

    object: tuple[PictureObject, ...] = Field(min_length=1)

    def doubts(self) -> Iterator[Doubt]:
        for number, found in enumerate(self.object):
            box = f"object[{number}]: box {_plain(found.bbox)}"
            left, top, right, bottom = found.bbox
            if not (left < right and top < bottom):
                yield Doubt(Kind.BOX, f"{box} has no area")
            elif min(found.bbox) < -_FRAME_SLACK or max(found.bbox) > 1 + _FRAME_SLACK:
                yield Doubt(Kind.BOX, f"{box} is outside 0 to 1")


class RoomObject(_Labelled):
    """A labelled box [x, y, z, l, w, h] in metres, optionally with yaw; see `rotated_boxes`."""

    bbox: BoxInRoom


class RoomDetection(CloudRecord, QuestionRecord):
    """ScanNet."""

    object: tuple[RoomObject, ...] = Field(min_length=1)

    def doubts(self) -> Iterator[Doubt]:
        for number, found in enumerate(self.object):
            for doubt in _box_doubts(found.bbox):
                yield Doubt(Kind.BOX, f"object[{number}]: {doubt}")


class Grounding(CloudRecord, QuestionRecord):
    """ScanRefer: the box of the one object that the query describes, in metres."""

    object: BoxInRoom

    def doubts(self) -> Iterator[Doubt]:
        for doubt in _box_doubts(self.object):
            yield Doubt(Kind.BOX, doubt)


def _box_doubts(box: Box3D) -> Iterator[str]:
    if min(box[3:6]) <= 0:
        yield f"box {_plain(box)} has no volume"
    if fault := yaw_fault(box):
        yield fault


def _plain(numbers: Sequence[float]) -> str:
    return "[" + ", ".join(f"{number:g}" for number in numbers) + "]"
