"""Base models of inputs and answers, and the places that an answer holds. Torch-free."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Annotated, Any, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic.fields import FieldInfo

from lamm_model.tasks.metrics import Box
from lamm_model.tasks.reading.coordinates import Point
from lamm_model.tasks.reading.places import label_pattern_fault
from lamm_model.tasks.rotated_boxes import Box3D

Numbers = tuple[float, ...]


class PlaceKind(StrEnum):
    """The kinds of places; each value is the field of `Mark` that holds one."""

    BOX = "box"
    POINT = "point"
    BOX_3D = "box_3d"


# Types of the fields that hold a place. A field may also be a tuple of any length of one of them.
PictureBox = Annotated[Box, PlaceKind.BOX]
PicturePoint = Annotated[Point, PlaceKind.POINT]
CloudBox = Annotated[Box3D, Field(min_length=6, max_length=7), PlaceKind.BOX_3D]


def _separable(label: str) -> str:
    if fault := label_pattern_fault(label):
        raise ValueError(fault)
    return label


# A label that a text can separate from the coordinates beside it.
Label = Annotated[str, Field(min_length=1), AfterValidator(_separable)]


@dataclass(frozen=True, slots=True)
class Mark:
    """One thing to draw, in the frame that the model saw: a place with its label, or words alone.

    Attributes:
        text: the label or the words; may be empty.
        box: x1, y1, x2, y2 as shares of the picture's sides, from the top left.
        point: x, y as shares of the picture's sides.
        box_3d: x, y, z, l, w, h in metres, z up, and optionally yaw; see `rotated_boxes`.
        reach: distance from `point` within which an answer is right, as shares of each side.
        joints: the 14 points of a body as shares, in the order of `JOINTS`.
    """

    text: str = ""
    box: Box | None = None
    point: Point | None = None
    box_3d: Box3D | None = None
    reach: Point | None = None
    joints: tuple[Point, ...] = ()


@dataclass(frozen=True, slots=True)
class Place:
    """One place of an answer: its path in the answer, its numbers, and the label beside it."""

    path: str
    kind: PlaceKind
    values: Numbers
    label: str | None

    def mark(self) -> Mark:
        """The place as it is drawn."""
        numbers: dict[str, Any] = {self.kind: self.values}
        return Mark(self.label or "", **numbers)


@dataclass(frozen=True, slots=True)
class PlaceField:
    """A field that holds a place (`kind`) or a model with places; `many`: a tuple of them."""

    kind: PlaceKind | None
    model: type[AnswerModel] | None
    many: bool


class TaskModel(BaseModel):
    """Base of inputs and answers: immutable, unknown fields refused, finite numbers only."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class AnswerModel(TaskModel):
    """Base of answers and targets."""

    @classmethod
    @functools.cache
    def place_fields(cls) -> Mapping[str, PlaceField]:
        """The fields that hold places, by name."""
        fields = {name: _place_field(info) for name, info in cls.model_fields.items()}
        return {name: field for name, field in fields.items() if field is not None}

    def places(self) -> Iterator[Place]:
        """Every place of the answer, in order."""
        label = getattr(self, "label", None)
        for name, field in self.place_fields().items():
            value = getattr(self, name)
            items = (
                {f"{name}[{i}]": v for i, v in enumerate(value)} if field.many else {name: value}
            )
            for path, item in items.items():
                if field.kind is not None:
                    yield Place(path, field.kind, item, label)
                else:
                    yield from (replace(p, path=f"{path}.{p.path}") for p in item.places())

    def marks(self) -> tuple[Mark, ...]:
        """The places as they are drawn; a target adds the area in which an answer is right."""
        return tuple(place.mark() for place in self.places())


def _place_field(info: FieldInfo) -> PlaceField | None:
    if (kind := _kind(info.metadata)) is not None:
        return PlaceField(kind, None, many=False)
    arguments = get_args(info.annotation)
    many = len(arguments) == 2 and arguments[1] is Ellipsis
    model = arguments[0] if many else info.annotation
    if many and (kind := _kind(get_args(model)[1:])) is not None:
        return PlaceField(kind, None, many)
    if isinstance(model, type) and issubclass(model, AnswerModel) and model.place_fields():
        return PlaceField(None, model, many)
    return None


def _kind(marked: Iterable[Any]) -> PlaceKind | None:
    return next((one for one in marked if isinstance(one, PlaceKind)), None)
