"""Published benchmark records as samples of a suite: question, target, closed set, chance.

Targets have the form that `lamm_model.tasks` defines. Each sample is parsed once here, so that the
suite has no sample that a run would refuse.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from lamm_model.conversation import Modality
from lamm_model.tasks import TASKS, Sample
from lamm_model.tasks.classification import MAX_LABELS
from lamm_model.tasks.label_sets import CIFAR10, HAIR_COLOURS, JOINTS, SCANNET, UCMERCED, VOC2012
from lamm_model.tasks.reading.classes import class_index
from lamm_model.tasks.reading.words import tokens
from training.datasets import benchmark_records as form
from training.datasets.published_records import PublishedRecord, QuestionRecord

# Tasks with answers or targets in pixels: their samples state the size of the picture.
SIZED_TASKS = frozenset({"detection", "keypoints", "locating"})
# Boxes that leave the picture by rounding are clipped; the task refuses the others.
FRAME_SLACK = 0.01
_SETS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "classification": CIFAR10,
        "detection": VOC2012,
        "locating": VOC2012,
        "detection_3d": SCANNET,
        "fine_grained_classification": UCMERCED,
        "facial_hair": HAIR_COLOURS,
    }
)
_CLASS_TASKS = frozenset({"classification", "fine_grained_classification", "facial_hair"})

Size = tuple[int, int]


def closed_set(task: str, records: Iterable[PublishedRecord]) -> tuple[str, ...] | None:
    """The label set of a file.

    The benchmark's set if it has every label in the file, in any spelling; else the labels in the
    file, sorted. None if records have no labels, or too few or too many for a set.
    """
    occurring = sorted({label for record in records for label in _labels_of(record)})
    if not occurring:
        return None
    published = _SETS[task]
    if all(class_index(label, published) is not None for label in occurring):
        return published
    by_spelling = {"".join(tokens(label)): label for label in reversed(occurring)}
    own = tuple(sorted(label for spelling, label in by_spelling.items() if spelling))
    return own if 2 <= len(own) <= MAX_LABELS else None


def samples_of(
    task: str,
    record: QuestionRecord,
    name: str,
    media: str,
    size: Size | None,
    labels: Sequence[str] | None,
) -> list[Sample]:
    """The valid samples of one record: one, or for `keypoints` one per joint.

    Args:
        task: the suite row's task.
        record: the record as read.
        name: id of the samples, unique in the row; joints append their number.
        media: path of the medium within the suite.
        size: width and height of the picture in pixels, for `SIZED_TASKS`.
        labels: the file's closed set.

    Raises:
        ValueError: the task refuses the record's target, labels or choices.
    """
    shared: dict[str, Any] = {
        "task": task,
        "image" if record.modality is Modality.IMAGE else "pcl": media,
        "size": size,
        "labels": labels,
        "chance": _chance(task, record, labels),
    }
    found = [
        Sample.model_validate({**shared, "id": name + suffix, "target": target, **words})
        for suffix, words, target in _asked(task, record, labels)
    ]
    for sample in found:
        # Parsed as a run parses it: a value that JSON cannot hold must fail here.
        again = Sample.model_validate(json.loads(sample.model_dump_json(exclude_none=True)))
        TASKS[task].read_sample(again)
    return found


def _asked(
    task: str, record: QuestionRecord, labels: Sequence[str] | None
) -> Iterator[tuple[str, dict[str, str], Any]]:
    """Suffix of the id, the words of the question, and target of each sample."""
    target = _target(task, record, labels)
    if task != "keypoints":
        yield "", {"question": record.query}, target
        return
    definition = TASKS[task]
    for number, joint in enumerate(JOINTS):
        # The published query has a gap for the joint; without it every question would be the same.
        words = {"question": record.query.replace("{}", joint)}
        if words["question"] == record.query:
            inputs = definition.inputs_model.model_validate({"joint": joint})
            words = {"question": definition.prompt(inputs), "query": record.query}
        yield f"/{number:02d}", words, {"joint": joint, **target}


def _target(task: str, record: PublishedRecord, labels: Sequence[str] | None) -> Any:  # noqa: PLR0911 - one line per form
    match record:
        case form.Classification():
            # Upstream's scorer for UCMerced searches the label in the spelling of the file.
            return _spelled(record.label, labels) if task == "classification" else record.label
        case form.HairColour() | form.Smile():
            return record.attr
        case form.PictureChoice() | form.CloudChoice():
            return {"choice": record.gt_choice, "choices": list(record.gt_choices)}
        case form.Caption():
            return list(record.sentences)
        case form.Words():
            return list(record.word_list)
        case form.CountedPoints():
            return {"points": [list(point) for point in record.points]}
        case form.Counting():
            return record.num
        case form.Keypoints():
            return {"joints": [list(joint) for joint in record.gt_joints]}
        case form.Grounding():
            return list(record.object)
        case form.Detection():
            objects = [
                {"label": _spelled(o.label, labels), "bbox": [_clipped(v) for v in o.bbox]}
                for o in record.object
            ]
            return {"objects": objects} if task == "locating" else objects
        case form.RoomDetection():
            return [
                {"label": _spelled(o.label, labels), "bbox": list(o.bbox)} for o in record.object
            ]
    raise ValueError(f"records of type {type(record).__name__} belong to no task")


def _labels_of(record: PublishedRecord) -> tuple[str, ...]:
    match record:
        case form.Classification():
            return (record.label,)
        case form.HairColour():
            return (record.attr,)
        case form.Detection() | form.RoomDetection():
            return tuple(found.label for found in record.object)
    return ()


def _chance(task: str, record: PublishedRecord, labels: Sequence[str] | None) -> float | None:
    """Score of guessing one option at random; None without options."""
    if isinstance(record, form.PictureChoice | form.CloudChoice):
        return 1 / len(record.gt_choices)
    if isinstance(record, form.Smile):
        return 0.5
    return 1 / len(labels) if task in _CLASS_TASKS and labels else None


def _spelled(label: str, labels: Sequence[str] | None) -> str:
    """A label in the spelling of its set."""
    index = class_index(label, labels) if labels else None
    return label if index is None or labels is None else labels[index]


def _clipped(share: float) -> float:
    near = -FRAME_SLACK <= share <= 1 + FRAME_SLACK
    return min(1.0, max(0.0, share)) if near else share
