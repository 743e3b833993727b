"""Places in answers: from the model's frame to that of the original file.

Task answers hold shares of the sides of the encoder's input, or metres with z up in the encoder's
frame; clients get pixels and shares of the original picture, or metres and file units along the
axes of the file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lamm_model.media import METRES
from lamm_model.tasks import AnyTask
from lamm_model.tasks.models import AnswerModel, TaskModel
from lamm_model.tasks.reading.coordinates import Size
from lamm_model.tasks.rotated_boxes import is_outside
from service.media.facts import along_file

_MAX_WRITTEN = 200
_TOLERANCE = 1e-9


@dataclass(frozen=True, slots=True)
class PictureFrame:
    """A picture of `width` x `height` pixels; the model sees `size`, see `Transform`."""

    width: int
    height: int
    size: Size
    scale: tuple[float, float]
    offset: tuple[int, int]

    @classmethod
    def of(cls, info: Mapping[str, Any]) -> PictureFrame:
        """The frame of a prepared picture, from its `info`."""
        transform = info["transform"]
        size, scale = transform["size"], transform["scale"]
        offset = transform.get("offset", (0, 0))
        return cls(
            info["width"], info["height"], (size[0], size[1]), (scale[0], scale[1]),
            (offset[0], offset[1]),
        )  # fmt: skip

    @property
    def answer_size(self) -> Size:
        """Width and height for reading an answer in pixels.

        The whole picture if it was squashed, only the crop if it was cropped.
        """
        return self.size if self.offset != (0, 0) else (self.width, self.height)

    def pixels(self, values: Sequence[float]) -> list[float]:
        """x, y, x, y ... in shares of the model's input -> pixels of the picture, clipped to it."""
        found: list[float] = []
        for index, value in enumerate(values):
            axis = index % 2
            whole = (self.width, self.height)[axis]
            pixel = (value * self.size[axis] + self.offset[axis]) / self.scale[axis]
            found.append(round(min(max(pixel, 0.0), whole), 2))
        return found

    def names(self, name: str) -> tuple[str, ...]:
        """The fields that `fields` fills."""
        return name, f"{name}_normalized"

    def fields(self, name: str, values: Sequence[float]) -> dict[str, Any]:
        """A place in pixels, and the same in shares of the picture's sides."""
        pixels = self.pixels(values)
        sides = (self.width, self.height)
        return {
            name: pixels,
            f"{name}_normalized": [round(v / sides[i % 2], 6) for i, v in enumerate(pixels)],
        }


@dataclass(frozen=True, slots=True)
class CloudFrame:
    """A cloud whose file has these `units` and `up_axis`; `bounds` are in metres, z up.

    The model saw the cloud moved by `shift` (metres, z up).
    """

    units: str
    up_axis: str
    bounds: tuple[Sequence[float], Sequence[float]]
    shift: Sequence[float] = (0.0, 0.0, 0.0)

    def unshifted(self, box: Sequence[float]) -> list[float]:
        """A box in the model's frame -> where it is in the cloud as sent; yaw stays as it is."""
        moved = [value - by for value, by in zip(box, self.shift, strict=False)]
        return [*moved, *box[3:]]

    def along_file(self, point: Sequence[float]) -> list[float]:
        """Metres with z up -> metres along the file's axes."""
        return along_file(point, self.up_axis)

    def file_bounds(self) -> list[list[float]]:
        """Minimum and maximum coordinates, metres along the file's axes."""
        first, second = (self.along_file(corner) for corner in self.bounds)
        pairs = list(zip(first, second, strict=True))
        return [[min(pair) for pair in pairs], [max(pair) for pair in pairs]]

    def names(self, name: str) -> tuple[str, ...]:
        """The fields that `fields` fills."""
        return name, f"{name}_in_units", "outside_cloud"

    def fields(self, name: str, values: Sequence[float]) -> dict[str, Any]:
        """A box in metres and in the file's units, and whether it is outside the cloud.

        A yaw is the same in all frames: it is about the up axis, and what is up stays up.
        """
        values = self.unshifted(values)
        extents, yaw = values[3:6], [round(angle, 6) for angle in values[6:]]
        if self.up_axis == "y":
            extents = [extents[0], extents[2], extents[1]]
        box = [*self.along_file(values[:3]), *extents]
        return {
            name: [round(v, 6) for v in box] + yaw,
            f"{name}_in_units": [round(v / METRES[self.units], 6) for v in box] + yaw,
            "outside_cloud": is_outside(values, *self.bounds),
        }


Frame = PictureFrame | CloudFrame


def placed(answer: AnswerModel, frame: Frame) -> dict[str, Any]:
    """An answer's fields, with every place in the frame of the file."""
    fields = type(answer).place_fields()
    found: dict[str, Any] = {}
    for name in type(answer).model_fields:
        value, field = getattr(answer, name), fields.get(name)
        if field is None:
            found[name] = value
        elif field.kind is None:
            found[name] = [placed(one, frame) for one in value]
        elif field.many:
            rows = [frame.fields(name, one) for one in value]
            found |= {key: [row[key] for row in rows] for key in frame.names(name)}
        else:
            found |= frame.fields(name, value)
    return found


@dataclass(frozen=True, slots=True)
class Clipped:
    """A place as the model wrote it, and its numbers before and after clipping."""

    field: str
    written: str
    given: tuple[float, ...]
    used: tuple[float, ...]


def repairs(
    task: AnyTask, text: str, inputs: TaskModel, answer: AnswerModel | None
) -> tuple[list[Clipped], list[str]]:
    """Places in a text that were moved into range, and places that the answer does not have."""
    clipped: list[Clipped] = []
    dropped: list[str] = []
    free = {} if answer is None else {place.path: place.values for place in answer.places()}
    for one in task.written_places(text, inputs):
        field = next((path for path, place in free.items() if _same(place, one.used)), None)
        written = one.text[:_MAX_WRITTEN]
        if field is None or one.given is None or one.used is None:
            dropped.append(written)
            continue
        del free[field]
        # Reordered corners are the same place.
        if sorted(one.given) != sorted(one.used) and not _same(one.given, one.used):
            clipped.append(Clipped(field, written, one.given, one.used))
    return clipped, dropped


def _same(first: Sequence[float], second: Sequence[float] | None) -> bool:
    return (
        second is not None
        and len(first) == len(second)
        and all(abs(a - b) <= _TOLERANCE for a, b in zip(first, second, strict=True))
    )
