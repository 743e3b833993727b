"""What an overlay shows: a task's answer as marks for `overlay_picture` and `overlay_cloud`. Pure.

Called by `task_models` (which overlays a task has) and `task_runner`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from string import ascii_uppercase
from typing import Any, Literal

from lamm_model.conversation import Modality
from lamm_model.tasks import AnyTask
from lamm_model.tasks.base import TaskModel
from lamm_model.tasks.boxes_3d import Box3DAnswer, Detection3DAnswer, Detection3DTask, GroundingTask
from lamm_model.tasks.classification import ClassificationAnswer
from lamm_model.tasks.counting import CountingAnswer, CountingInputs
from lamm_model.tasks.detection import DetectionAnswer
from lamm_model.tasks.free_text import TextAnswer
from lamm_model.tasks.ocr import OcrAnswer
from lamm_model.tasks.ocr_words import OcrWordsAnswer
from lamm_model.tasks.points import KeypointInputs
from lamm_model.tasks.smile import SmileAnswer
from lamm_model.tasks.targets import LocatingAnswer, PointAnswer
from lamm_model.tasks.vqa_choice import ChoiceAnswer, ChoiceInputs
from service.media.overlay_cloud import BoxMark
from service.media.overlay_picture import Mark
from service.tasks.places import CloudFrame, Frame, PictureFrame

OverlayKind = Literal["png", "ply"]


def overlay_kinds(task: AnyTask) -> tuple[OverlayKind, ...]:
    """The overlays that a task's answers can be drawn as: any on a picture, boxes in a cloud."""
    if task.modality is Modality.IMAGE:
        return ("png",)
    return ("ply",) if isinstance(task, Detection3DTask | GroundingTask) else ()


def marks_of(answer: TaskModel, inputs: TaskModel, frame: Frame) -> list[dict[str, Any]]:
    """The answer's marks, as JSON for a decoding process: of `BoxMark` or of `Mark`."""
    if isinstance(frame, CloudFrame):
        return [asdict(mark) for mark in _box_marks(answer)]
    return [asdict(mark) for mark in _picture_marks(answer, inputs, frame)]


def _box_marks(answer: TaskModel) -> Iterator[BoxMark]:
    if isinstance(answer, Detection3DAnswer):
        for found in answer.objects:
            yield BoxMark(found.label, found.bbox)
    elif isinstance(answer, Box3DAnswer):
        yield BoxMark("", answer.bbox)


def _picture_marks(answer: TaskModel, inputs: TaskModel, frame: PictureFrame) -> Iterator[Mark]:
    if isinstance(answer, DetectionAnswer):
        for box in answer.objects:
            x1, y1, x2, y2 = frame.pixels(box.bbox)
            yield Mark(box.label, box=(x1, y1, x2, y2))
    elif isinstance(answer, LocatingAnswer):
        for spot in answer.objects:
            x, y = frame.pixels(spot.point)
            yield Mark(spot.label or "", point=(x, y))
    elif isinstance(answer, PointAnswer):
        x, y = frame.pixels(answer.point)
        yield Mark(inputs.joint if isinstance(inputs, KeypointInputs) else "", point=(x, y))
    else:
        yield Mark(_words(answer, inputs))
        return
    if isinstance(answer, DetectionAnswer | LocatingAnswer) and not answer.objects:
        yield Mark("nothing found")


def _words(answer: TaskModel, inputs: TaskModel) -> str:
    """An answer without a place, in words for a person."""
    if isinstance(answer, ClassificationAnswer):
        return answer.label
    if isinstance(answer, CountingAnswer):
        noun = inputs.noun if isinstance(inputs, CountingInputs) else None
        return f"{answer.count} {noun or 'items'}"
    if isinstance(answer, ChoiceAnswer):
        words = inputs.choices[answer.choice] if isinstance(inputs, ChoiceInputs) else ""
        return f"({ascii_uppercase[answer.choice]}) {words}"
    if isinstance(answer, SmileAnswer):
        return "smiling" if answer.smiling else "not smiling"
    if isinstance(answer, OcrWordsAnswer):
        return " ".join(answer.words) or "no words"
    if isinstance(answer, TextAnswer | OcrAnswer):
        return answer.text
    raise TypeError(f"no words for a {type(answer).__name__}")
