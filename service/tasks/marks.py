"""Overlays: the kinds that a task has, and an answer's marks in the frame of the file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from itertools import zip_longest
from typing import Any, Literal

from lamm_model.conversation import Modality
from lamm_model.tasks import AnyTask
from lamm_model.tasks.models import AnswerModel, TaskModel
from service.media.overlay_picture import Mark
from service.schemas.tasks import PlaceScore
from service.tasks.places import CloudFrame, Frame

OverlayKind = Literal["png", "ply"]


def overlay_kinds(task: AnyTask) -> tuple[OverlayKind, ...]:
    """The overlays of a task: any answer on a picture, boxes in a cloud."""
    if task.modality is Modality.IMAGE:
        return ("png",)
    return ("ply",) if task.answer_model.place_fields() else ()


def marks_of(
    task: AnyTask,
    answer: AnswerModel,
    inputs: TaskModel,
    frame: Frame,
    scores: Sequence[PlaceScore] = (),
) -> list[dict[str, Any]]:
    """The answer's marks as JSON for a media worker: the fields of `BoxMark` or `Mark`.

    `scores` are those of the answer's places; only calibrated ones are drawn, on pictures.
    """
    marks = task.marks(answer, inputs)
    if isinstance(frame, CloudFrame):
        boxes = [(mark.text, mark.box_3d) for mark in marks if mark.box_3d is not None]
        return [{"text": text, "box": tuple(frame.unshifted(box))} for text, box in boxes]
    drawn: list[dict[str, Any]] = []
    values = [one.value if one.calibrated else None for one in scores]
    for mark, score in zip_longest(marks, values[: len(marks)]):
        places = {"box": mark.box, "point": mark.point}
        pixels: dict[str, Any] = {
            name: tuple(frame.pixels(one)) for name, one in places.items() if one is not None
        }
        drawn.append(asdict(Mark(mark.text, score=score, **pixels)))
    return drawn
