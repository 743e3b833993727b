"""Places in answers: from the frame that the model saw to that of the file that was sent. Pure.

Called by `task_models` and `task_runner`. Task answers hold shares of the sides of what the encoder
saw, or metres with z up; clients get pixels and shares of the original picture, or metres and file
units along the axes of the original cloud.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lamm_model.media import METRES
from lamm_model.tasks import AnyTask
from lamm_model.tasks.base import TaskModel
from lamm_model.tasks.boxes_3d import Detection3DTask, GroundingTask
from lamm_model.tasks.detection import DetectionTask
from lamm_model.tasks.points import KeypointTask, LocatingTask
from lamm_model.tasks.reading.coordinates import (
    Group,
    Size,
    groups,
    is_share,
    joined_pairs,
    scale_of,
    shares,
    tidy,
)

_MAX_WRITTEN = 200
_TOLERANCE = 1e-9


@dataclass(frozen=True, slots=True)
class PictureFrame:
    """A picture of `width` x `height` pixels; the model saw `size` of it, see `Transform`."""

    width: int
    height: int
    size: Size
    scale: tuple[float, float]
    offset: tuple[int, int]

    @classmethod
    def of(cls, info: Mapping[str, Any]) -> PictureFrame:
        """From a prepared picture's `info`."""
        transform = info["transform"]
        size, scale = transform["size"], transform["scale"]
        offset = transform.get("offset", (0, 0))
        return cls(
            info["width"], info["height"], (size[0], size[1]), (scale[0], scale[1]),
            (offset[0], offset[1]),
        )  # fmt: skip

    @property
    def answer_size(self) -> Size:
        """Width and height in which a model that answers in pixels may be thought to count.

        A squashed picture is the whole one; of a cropped one, only the crop was seen.
        """
        return self.size if self.offset != (0, 0) else (self.width, self.height)

    def pixels(self, values: Sequence[float]) -> list[float]:
        """x, y, x, y ... in shares of what was seen -> pixels of the picture, within it."""
        found: list[float] = []
        for index, value in enumerate(values):
            axis = index % 2
            whole = (self.width, self.height)[axis]
            pixel = (value * self.size[axis] + self.offset[axis]) / self.scale[axis]
            found.append(round(min(max(pixel, 0.0), whole), 2))
        return found

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
    """A cloud whose file counts in `units` with `up_axis` up; `bounds` in metres, z up."""

    units: str
    up_axis: str
    bounds: tuple[Sequence[float], Sequence[float]]

    def along_file(self, point: Sequence[float]) -> list[float]:
        """Metres with z up -> metres along the file's axes."""
        x, y, z = point
        return [x, z, -y] if self.up_axis == "y" else [x, y, z]

    def file_bounds(self) -> list[list[float]]:
        """Least and largest coordinates, metres along the file's axes."""
        first, second = (self.along_file(corner) for corner in self.bounds)
        pairs = list(zip(first, second, strict=True))
        return [[min(pair) for pair in pairs], [max(pair) for pair in pairs]]

    def fields(self, name: str, values: Sequence[float]) -> dict[str, Any]:
        """A box in metres and in the file's units, and whether it lies outside of the cloud."""
        extents = values[3:]
        if self.up_axis == "y":
            extents = [extents[0], extents[2], extents[1]]
        box = [*self.along_file(values[:3]), *extents]
        low, high = self.bounds
        outside = any(
            values[i] + values[i + 3] / 2 < low[i] or values[i] - values[i + 3] / 2 > high[i]
            for i in range(3)
        )
        return {
            name: [round(v, 6) for v in box],
            f"{name}_in_units": [round(v / METRES[self.units], 6) for v in box],
            "outside_cloud": outside,
        }


Frame = PictureFrame | CloudFrame


def placed(answer: TaskModel, frame: Frame) -> dict[str, Any]:
    """An answer's fields, with every `bbox` and `point` in the frame of the file."""
    found: dict[str, Any] = {}
    for name in type(answer).model_fields:
        value = getattr(answer, name)
        if name == "objects":
            found[name] = [placed(one, frame) for one in value]
        elif name in ("bbox", "point"):
            found |= frame.fields(name, value)
        else:
            found[name] = value
    return found


@dataclass(frozen=True, slots=True)
class Clipped:
    """Numbers of a place as the model gave them, and as they stand at `field` of the answer."""

    field: str
    written: str
    given: tuple[float, ...]
    used: tuple[float, ...]


def repairs(
    task: AnyTask, text: str, inputs: TaskModel, answer: TaskModel | None
) -> tuple[list[Clipped], list[str]]:
    """Places in a text that were moved into range, and those that are not in the answer at all."""
    text = tidy(text)
    clipped: list[Clipped] = []
    dropped: list[str] = []
    free = dict(_places(answer)) if answer is not None else {}
    for group, given, used in _written_places(task, text, inputs):
        field = next((name for name, place in free.items() if _same(place, used)), None)
        written = text[group.start : group.end][:_MAX_WRITTEN]
        if field is None or given is None or used is None:
            dropped.append(written)
            continue
        del free[field]
        # Corners in another order are the same place.
        if sorted(given) != sorted(used) and not _same(given, used):
            clipped.append(Clipped(field, written, given, used))
    return clipped, dropped


_Numbers = tuple[float, ...]
_Written = tuple[Group, _Numbers | None, _Numbers | None]


def _places(answer: TaskModel) -> Iterator[tuple[str, _Numbers]]:
    """Every place of an answer by its path."""
    for name in type(answer).model_fields:
        value = getattr(answer, name)
        if name == "objects":
            for index, one in enumerate(value):
                yield from ((f"objects[{index}].{path}", place) for path, place in _places(one))
        elif name in ("bbox", "point"):
            yield name, value


def _written_places(task: AnyTask, text: str, inputs: TaskModel) -> Iterator[_Written]:
    """Each group of numbers that may be a place: itself, its numbers, and what parsing makes of it.

    Numbers are None where they are no place, or in a frame that cannot be told.
    """
    if isinstance(task, Detection3DTask | GroundingTask):
        for group in joined_pairs(groups(text), text, 3):
            used = (*group.values[:3], *map(abs, group.values[3:]))
            whole = len(group.values) == 6
            yield group, (group.values if whole else None), (used if whole else None)
        return
    if not isinstance(task, DetectionTask | LocatingTask | KeypointTask):
        return
    found = groups(text)
    boxes = any(len(group.values) == 4 for group in found)
    if isinstance(task, DetectionTask) or (isinstance(task, LocatingTask) and boxes):
        found = list(joined_pairs(found, text, 2))
    lengths = {4} if isinstance(task, DetectionTask) else {2, 4}
    usable = [group for group in found if len(group.values) in lengths]
    scale = scale_of(usable, getattr(inputs, "size", None))
    for group in found:
        read, _ = shares(group, scale) if group in usable else (None, False)
        if read is None:
            yield group, None, None
            continue
        given = group.values
        if not is_share(group) and scale is not None:
            given = tuple(v / scale[i % 2] for i, v in enumerate(given))
        yield group, *_as_answered(task, given, read)


def _as_answered(task: AnyTask, given: _Numbers, used: _Numbers) -> tuple[_Numbers, _Numbers]:
    if len(used) == 2:
        return given, used
    if isinstance(task, DetectionTask):
        left, upper, right, lower = used
        return given, (
            min(left, right), min(upper, lower), max(left, right), max(upper, lower)
        )  # fmt: skip
    # A box where a point was asked for counts as its centre.
    return _centre(given), _centre(used)


def _centre(box: _Numbers) -> _Numbers:
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2


def _same(first: _Numbers, second: _Numbers | None) -> bool:
    return (
        second is not None
        and len(first) == len(second)
        and all(abs(a - b) <= _TOLERANCE for a, b in zip(first, second, strict=True))
    )
