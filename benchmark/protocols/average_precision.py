"""Average precision of boxes with confidences, as COCO defines it.

For each class, the boxes of all pictures are ranked by confidence; AP is the mean over 101 recall
levels of the best precision at that recall or above. In a picture, each box takes the free object
of its class that it overlaps most, the most confident box first (pycocotools `COCOeval`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmark.protocols.results import (
    RESAMPLES,
    SEED,
    ItemScore,
    Metric,
    Numbers,
    RankedBox,
)

# COCO counts the most confident boxes of a picture and class only.
MAX_BOXES = 100
RECALLS = np.linspace(0.0, 1.0, 101)


def ranked_boxes(
    label: str,
    scores: Sequence[float],
    ious: Sequence[Sequence[float]],
    thresholds: Sequence[float],
) -> list[RankedBox]:
    """Boxes of one class in one picture, the most confident first, matched at each threshold.

    Args:
        label: the class.
        scores: confidences of the boxes.
        ious: overlap of each box with each object of the class.
        thresholds: a box matches an object that it overlaps by at least this much.
    """
    order = sorted(range(len(scores)), key=lambda box: -scores[box])[:MAX_BOXES]
    matched = [_matches([ious[box] for box in order], at) for at in thresholds]
    return [
        RankedBox(label, float(scores[box]), tuple(hits[rank] for hits in matched))
        for rank, box in enumerate(order)
    ]


def mean_precision(items: Sequence[ItemScore], levels: Sequence[int]) -> float:
    """Mean AP over classes that have objects and over some thresholds; nan without objects.

    Args:
        items: scores of the answers, all with `boxes`; `there|CLASS` counts their objects.
        levels: indices of the thresholds in `RankedBox.matched`.
    """
    clusters = _clusters(items)
    return _mean_ap(_classes(items, clusters), np.ones(len(clusters)), levels)


def average_precision(items: Sequence[ItemScore], levels: Sequence[int], note: str) -> Metric:
    """`mean_precision` with a 95 % interval.

    Args:
        items: see `mean_precision`.
        levels: see `mean_precision`.
        note: note of the metric.
    """
    clusters = _clusters(items)
    classes = _classes(items, clusters)
    rng = np.random.default_rng(SEED)
    count = len(clusters)
    value = _mean_ap(classes, np.ones(count), levels)
    drawn = rng.multinomial(count, np.full(count, 1 / count), size=RESAMPLES)
    spread = np.array([_mean_ap(classes, row.astype(np.float64), levels) for row in drawn])
    low, high = np.nanquantile(spread, [0.025, 0.975]) if count else (value, value)
    return Metric(value, float(low), float(high), len(items), note)


class _Class(NamedTuple):
    """One class: `matched` [boxes, thresholds] and `owner` [boxes] by rank; `there` [clusters]."""

    matched: NDArray[np.bool_]
    owner: NDArray[np.int64]
    there: Numbers


def _clusters(items: Sequence[ItemScore]) -> dict[str, int]:
    return {c: i for i, c in enumerate(dict.fromkeys(item.cluster for item in items))}


def _classes(items: Sequence[ItemScore], clusters: dict[str, int]) -> list[_Class]:
    there: dict[str, Numbers] = {}
    boxes: dict[str, list[tuple[float, int, tuple[bool, ...]]]] = {}
    for item in items:
        cluster = clusters[item.cluster]
        for name, count in item.numbers.items():
            if name.startswith("there|") and count:
                label = name.removeprefix("there|")
                there.setdefault(label, np.zeros(len(clusters)))[cluster] += count
        for box in item.boxes or ():
            boxes.setdefault(box.label, []).append((box.score, cluster, box.matched))
    found = []
    for label, objects in there.items():
        ranked = sorted(boxes.get(label, ()), key=lambda box: -box[0])
        matched = np.array([box[2] for box in ranked], dtype=np.bool_)
        owner = np.array([box[1] for box in ranked], dtype=np.int64)
        found.append(_Class(matched, owner, objects))
    return found


def _mean_ap(classes: Sequence[_Class], weights: Numbers, levels: Sequence[int]) -> float:
    """Mean AP with `weights` [clusters], how often each cluster was drawn; nan without objects."""
    values = []
    for one in classes:
        objects = float(weights @ one.there)
        if objects:
            drawn = weights[one.owner]
            values += (
                [_ap(one.matched[:, at] * drawn, drawn, objects) for at in levels]
                if len(one.owner)
                else [0.0] * len(levels)
            )
    return float(np.mean(values)) if values else float("nan")


def _ap(hits: Numbers, drawn: Numbers, objects: float) -> float:
    """AP of ranked boxes that were drawn some number of times."""
    found, said = np.cumsum(hits), np.cumsum(drawn)
    recall = found / objects
    precision = np.divide(found, said, out=np.zeros_like(said), where=said > 0)
    # The best precision at this recall or above.
    best = np.maximum.accumulate(precision[::-1])[::-1]
    # Sums of weights are whole numbers, so a level is reached up to rounding.
    at = np.searchsorted(recall, RECALLS - 1e-12, side="left")
    return float(np.append(best, 0.0)[np.minimum(at, len(best))].mean())


def _matches(ious: Sequence[Sequence[float]], at: float) -> list[bool]:
    taken: set[int] = set()
    hits = []
    for row in ious:
        free = [(iou, index) for index, iou in enumerate(row) if index not in taken and iou >= at]
        if free:
            taken.add(max(free)[1])
        hits.append(bool(free))
    return hits
