"""The registry of vision tasks, written out. Importing it loads no torch."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from lamm_model.conversation import Modality
from lamm_model.tasks.base import AnyTask, ParseResult, ParseStatus, Task
from lamm_model.tasks.classification import ClassificationTask
from lamm_model.tasks.counting import CountingTask
from lamm_model.tasks.detection import DetectionTask
from lamm_model.tasks.metrics import Estimate
from lamm_model.tasks.ocr import OcrTask
from lamm_model.tasks.sample import Sample
from lamm_model.tasks.vqa_choice import ChoiceTask

__all__ = ["TASKS", "AnyTask", "Estimate", "ParseResult", "ParseStatus", "Sample", "Task"]

TASKS: Mapping[str, AnyTask] = MappingProxyType(
    {
        "classification": ClassificationTask(
            "classification",
            Modality.IMAGE,
            "Name what a picture shows, from a closed set or in free words.",
        ),
        "counting": CountingTask("counting", Modality.IMAGE, "Count the objects in a picture."),
        "detection": DetectionTask(
            "detection", Modality.IMAGE, "Find the objects in a picture, a label and a box each."
        ),
        "vqa_choice": ChoiceTask(
            "vqa_choice", Modality.IMAGE, "Answer a multiple-choice question about a picture."
        ),
        "ocr": OcrTask("ocr", Modality.IMAGE, "Read the word that a picture shows."),
        "classification_3d": ClassificationTask(
            "classification_3d", Modality.POINT_CLOUD, "Name the object that a point cloud shows."
        ),
        "vqa_choice_3d": ChoiceTask(
            "vqa_choice_3d",
            Modality.POINT_CLOUD,
            "Answer a multiple-choice question about a point cloud.",
        ),
    }
)
