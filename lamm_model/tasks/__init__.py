"""The registry of vision tasks, written out. Importing it loads no torch."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from lamm_model.conversation import Modality
from lamm_model.tasks.base import AnyTask, ParseResult, ParseStatus, Task
from lamm_model.tasks.boxes_3d import Detection3DTask, GroundingTask
from lamm_model.tasks.classification import ClassificationTask
from lamm_model.tasks.closed_set import ClosedSetTask
from lamm_model.tasks.counting import CountingTask
from lamm_model.tasks.detection import DetectionTask
from lamm_model.tasks.free_text import CaptionTask, OpenQuestionTask
from lamm_model.tasks.label_sets import HAIR_COLOURS, UCMERCED
from lamm_model.tasks.metrics import Estimate
from lamm_model.tasks.ocr import OcrTask
from lamm_model.tasks.ocr_words import OcrWordsTask
from lamm_model.tasks.points import KeypointTask, LocatingTask
from lamm_model.tasks.sample import Sample
from lamm_model.tasks.smile import SmileTask
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
        "ocr_words": OcrWordsTask(
            "ocr_words", Modality.IMAGE, "Read all the words that a picture shows."
        ),
        "vqa": OpenQuestionTask(
            "vqa", Modality.IMAGE, "Answer an open question about a picture in a few words."
        ),
        "caption": CaptionTask(
            "caption", Modality.IMAGE, "Say in a sentence what a picture shows."
        ),
        "fine_grained_classification": ClosedSetTask(
            "fine_grained_classification",
            Modality.IMAGE,
            "Name the use of land that a picture from above shows.",
            UCMERCED,
            "Which use of land does this picture show from above?",
        ),
        "facial_smile": SmileTask(
            "facial_smile", Modality.IMAGE, "Say whether the person in a picture smiles."
        ),
        "facial_hair": ClosedSetTask(
            "facial_hair",
            Modality.IMAGE,
            "Name the colour of a person's hair.",
            HAIR_COLOURS,
            "Which colour is the hair of the person in this picture?",
        ),
        "keypoints": KeypointTask(
            "keypoints", Modality.IMAGE, "Find one of 14 joints of a person in a picture."
        ),
        "locating": LocatingTask(
            "locating", Modality.IMAGE, "Find the objects in a picture, a label and a point each."
        ),
        "classification_3d": ClassificationTask(
            "classification_3d", Modality.POINT_CLOUD, "Name the object that a point cloud shows."
        ),
        "vqa_choice_3d": ChoiceTask(
            "vqa_choice_3d",
            Modality.POINT_CLOUD,
            "Answer a multiple-choice question about a point cloud.",
        ),
        "detection_3d": Detection3DTask(
            "detection_3d",
            Modality.POINT_CLOUD,
            "Find the objects of a scene, a label and a box in metres each.",
        ),
        "grounding_3d": GroundingTask(
            "grounding_3d", Modality.POINT_CLOUD, "Find the object of a scene that words describe."
        ),
    }
)
