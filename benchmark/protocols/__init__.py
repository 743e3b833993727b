"""Protocols: stored answers in, scores under the published rules and corrected ones out.

`score` is a pure function of records and answers: it needs no server, model or pictures. Scores of
a task under different protocols are different quantities.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from benchmark.protocols.binary_locating import binary_locating, locating_scorer
from benchmark.protocols.chef import chef_scorer
from benchmark.protocols.corrected import ClassScorer, HitScorer, SmileScorer
from benchmark.protocols.corrected_places import (
    COCO_THRESHOLDS,
    BoxScorer,
    GroundingScorer,
    KeypointScorer,
)
from benchmark.protocols.corrected_text import CaptionScorer, CountScorer, WordsScorer
from benchmark.protocols.results import (
    ItemScore,
    Metric,
    Protocol,
    ProtocolScore,
    Scorer,
    Stored,
)
from benchmark.protocols.upstream import upstream_scorer
from lamm_model.tasks.metrics import box_iou
from lamm_model.tasks.rotated_boxes import box_3d_iou

__all__ = [
    "ItemScore",
    "Metric",
    "Protocol",
    "ProtocolScore",
    "Stored",
    "binary_locating",
    "score",
    "scorer_of",
]

CORRECTED: Mapping[str, Callable[[], Scorer]] = MappingProxyType(
    {
        "classification": ClassScorer,
        "classification_3d": ClassScorer,
        "fine_grained_classification": ClassScorer,
        "facial_hair": ClassScorer,
        "facial_smile": SmileScorer,
        "vqa": HitScorer,
        "vqa_choice": HitScorer,
        "vqa_choice_3d": HitScorer,
        "caption": CaptionScorer,
        "counting": CountScorer,
        "ocr": WordsScorer,
        "ocr_words": WordsScorer,
        "detection": lambda: BoxScorer(box_iou, (0.5,), COCO_THRESHOLDS),
        "detection_3d": lambda: BoxScorer(box_3d_iou, (0.25, 0.5), (0.25, 0.5)),
        "grounding_3d": GroundingScorer,
        "keypoints": KeypointScorer,
    }
)


def score(task: str, protocol: Protocol | str, stored: Sequence[Stored]) -> ProtocolScore:
    """Scores the answers to records of one task; `stored` has only records with an answer.

    Raises:
        ValueError: the protocol is unknown or has no rule for the task, a record has another
            task, or an id is a duplicate.
    """
    protocol = Protocol(protocol)
    scorer = scorer_of(task, protocol)
    ids = Counter(one.sample.id for one in stored)
    if repeated := [id_ for id_, times in ids.items() if times > 1]:
        raise ValueError(f"{len(repeated)} duplicate ids, the first is {repeated[0]!r}")
    if others := {one.sample.task for one in stored} - {task}:
        raise ValueError(f"records of task {', '.join(sorted(others))} among those of {task}")
    items = scorer.items(stored)
    return ProtocolScore(
        protocol=protocol,
        task=task,
        primary=scorer.rules[0].name,
        metrics=scorer.metrics(items),
        items=tuple(items),
        chance=scorer.chance(stored),
        faults=Counter(fault for item in items for fault in item.faults),
        shown=tuple(scorer.shown),
    )


def scorer_of(task: str, protocol: Protocol) -> Scorer:
    """The scorer of a task under a protocol.

    The June rules differ from the July rules in the sets that Binary-Locating pools, and have one
    threshold for ScanRefer.
    `corrected-v1` counts the hits of a task that the LAMM-Benchmark does not have.

    Raises:
        ValueError: the protocol has no rule for the task.
    """
    found: Scorer | None
    if protocol is Protocol.CHEF:
        found = chef_scorer(task)
    elif task == "locating":
        found = locating_scorer(protocol)
    elif protocol is Protocol.CORRECTED_V1:
        found = CORRECTED.get(task, HitScorer)()
    else:
        found = upstream_scorer(
            task,
            repaired=protocol is Protocol.UPSTREAM_INTENDED,
            before_july=protocol is Protocol.UPSTREAM_2023_06,
        )
    if found is None:
        raise ValueError(f"protocol {protocol} has no rule for task {task!r}")
    return found
