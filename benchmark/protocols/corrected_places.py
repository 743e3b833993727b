"""`corrected-v1` for answers with places: boxes, points and joints.

A place belongs to its label, and an object has at most one place: matches are one to one, and extra
places reduce precision.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from benchmark.protocols.average_precision import average_precision, mean_precision, ranked_boxes
from benchmark.protocols.results import (
    ItemScore,
    Metric,
    Numbers,
    RankedBox,
    Rule,
    Scorer,
    Stored,
    Sums,
    make_item,
    mean_over,
    ratio,
    share,
)
from lamm_model.tasks.metrics import match_count
from lamm_model.tasks.reading.classes import class_index
from lamm_model.tasks.rotated_boxes import box_3d_iou
from lamm_model.tasks.targets import LocatingAnswer, region_counts

COCO_THRESHOLDS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
_UNIFORM = (
    "not AP: answers have no confidence, so all boxes enter at once, which gives precision x recall"
)
_COCO = "as COCO's AP: boxes ranked by confidence, 101 recall levels"
NO_CONFIDENCE = "a box without a confidence in a run that has some"


class BoxScorer(Scorer):
    """Labelled boxes, 2D or 3D, at several IoU thresholds."""

    def __init__(
        self, iou: Callable[[Any, Any], float], shown: Sequence[float], all_: Sequence[float]
    ) -> None:
        self._iou = iou
        self._thresholds = sorted({*shown, *all_})
        # Names of AP, with the indices of their thresholds.
        self._curves = {f"ap@{at}": [self._thresholds.index(at)] for at in sorted(shown)[::-1]}
        if len(all_) > len(shown):
            indices = [self._thresholds.index(at) for at in all_]
            self._curves[f"ap@{all_[0]}:{all_[-1]}"] = indices
        rules: list[Rule] = []
        for at in sorted(shown, reverse=True):
            rules += [
                Rule(f"f1@{at}", _f1(at)),
                Rule(f"precision@{at}", share(f"matched@{at}", "said")),
                Rule(f"recall@{at}", share(f"matched@{at}", "there")),
                Rule(f"ap_uniform@{at}", _mean_ap([at]), _UNIFORM),
            ]
        if len(all_) > len(shown):
            name = f"ap_uniform@{all_[0]}:{all_[-1]}"
            rules.append(Rule(name, _mean_ap(all_), _UNIFORM))
        self.rules = rules

    def item(self, stored: Stored) -> ItemScore:
        """One-to-one matches of each class at each threshold."""
        task = stored.task
        inputs, target = task.read_sample(stored.sample)
        result = task.parse(stored.text, inputs)
        said, there = defaultdict(list), defaultdict(list)
        scores: dict[str, list[float | None]] = defaultdict(list)
        for found in target.objects:
            there[found.label].append(found.bbox)
        for place, found in enumerate(result.answer.objects if result.answer else ()):
            index = class_index(found.label, list(there))
            label = list(there)[index] if index is not None else found.label
            said[label].append(found.bbox)
            scores[label].append(stored.confidence(place))
        boxes: list[RankedBox] = []
        numbers: dict[str, float] = defaultdict(float)
        for label in {*said, *there}:
            numbers[f"said|{label}"] = len(said[label])
            numbers[f"there|{label}"] = len(there[label])
            ious = [[self._iou(mine, right) for right in there[label]] for mine in said[label]]
            known = [score for score in scores[label] if score is not None]
            if len(known) == len(ious):
                boxes += ranked_boxes(label, known, ious, self._thresholds)
            for at in self._thresholds:
                hits = match_count([[j for j, v in enumerate(row) if v >= at] for row in ious])
                numbers[f"matched@{at}|{label}"] = hits
                numbers[f"matched@{at}"] += hits
        numbers["said"] = sum(map(len, said.values()))
        numbers["there"] = sum(map(len, there.values()))
        item = make_item(stored, result.status, numbers, cluster=stored.sample.media)
        unknown = any(score is None for listed in scores.values() for score in listed)
        return replace(item, boxes=None if unknown else tuple(boxes))

    def items(self, stored: Sequence[Stored]) -> list[ItemScore]:
        """Scores all answers; where some have confidences, names those that lack one."""
        items = super().items(stored)
        if not any(one.scores for one in stored):
            return items
        return [
            item if item.boxes is not None else replace(item, faults=(*item.faults, NO_CONFIDENCE))
            for item in items
        ]

    def metrics(self, items: Sequence[ItemScore]) -> dict[str, Metric]:
        """AP by confidence if every box has one, `ap_uniform` otherwise."""
        found = super().metrics(items)
        if any(item.boxes is None for item in items) or not any(item.boxes for item in items):
            return found
        found = {name: one for name, one in found.items() if not name.startswith("ap_uniform")}
        curves = ((n, average_precision(items, c, _COCO)) for n, c in self._curves.items())
        return found | {name: one for name, one in curves if not math.isnan(one.value)}

    def precisions(self, stored: Sequence[Stored]) -> dict[str, float]:
        """AP by name, without intervals, of answers whose boxes all have a confidence.

        Raises:
            ValueError: a box has none.
        """
        items = super().items(stored)
        if any(item.boxes is None for item in items):
            raise ValueError(NO_CONFIDENCE)
        found = {name: mean_precision(items, levels) for name, levels in self._curves.items()}
        return {name: value for name, value in found.items() if not math.isnan(value)}


class GroundingScorer(Scorer):
    """The first box against the target box, with a clamped IoU."""

    rules = tuple(
        Rule(
            f"accuracy@{at}{suffix}",
            share(f"hits@{at}{suffix}", f"n{suffix}"),
            over=f"n{suffix}" if suffix else None,
        )
        for suffix in ("", "_unique", "_multiple")
        for at in (0.5, 0.25)
    )

    def item(self, stored: Stored) -> ItemScore:
        """Hits at both thresholds, split by unique and multiple objects of the class."""
        task = stored.task
        inputs, target = task.read_sample(stored.sample)
        result = task.parse(stored.text, inputs)
        iou = box_3d_iou(result.answer.bbox, target.bbox) if result.answer else 0.0
        suffixes = [""]
        if target.unique is not None:
            suffixes.append("_unique" if target.unique else "_multiple")
        numbers: dict[str, float] = {f"n{suffix}": 1 for suffix in suffixes}
        numbers |= {f"hits@{at}{suffix}": iou >= at for at in (0.25, 0.5) for suffix in suffixes}
        return make_item(stored, result.status, numbers, cluster=stored.sample.media)


class KeypointScorer(Scorer):
    """PCK: one point per answer, within a share of the torso or of the picture."""

    rules = (
        Rule("pck@0.2_torso", share("torso"), "within 0.2 of shoulder to opposite hip, in pixels"),
        Rule("pck@0.1_image", share("image"), "within 0.1 of the sides, upstream's radius"),
        Rule(
            "pck@0.2_torso_flag_0", share("torso_0", "n_0"), "joints annotated with flag 0", "n_0"
        ),
        Rule(
            "pck@0.2_torso_flag_1", share("torso_1", "n_1"), "joints annotated with flag 1", "n_1"
        ),
        Rule(
            "pck@0.2_torso_mean_joint",
            lambda s: mean_over(s, "joint", lambda j: ratio(s[f"torso|{j}"], s[f"joint|{j}"])),
            "mean over the 14 joints",
        ),
    )

    def item(self, stored: Stored) -> ItemScore:
        """One joint of one picture; the bootstrap resamples pictures."""
        task = stored.task
        inputs, target = task.read_sample(stored.sample)
        result = task.parse(stored.text, inputs)
        torso = image = False
        if result.answer is not None:
            torso = target.within_torso(result.answer.point, 0.2)
            image = math.dist(result.answer.point, target.point) < 0.1
        numbers = {
            "torso": torso,
            "image": image,
            f"joint|{target.joint}": 1,
            f"torso|{target.joint}": torso,
        }
        if target.flag in {0, 1}:
            numbers |= {f"torso_{target.flag}": torso, f"n_{target.flag}": 1}
        return make_item(stored, result.status, numbers, cluster=stored.sample.media)


class LocatingScorer(Scorer):
    """Labelled points against objects, one to one.

    With k objects in the target, only the first k points count for `guarded_recall`, so that a grid
    of points over the picture scores no better than guessing.
    """

    rules = (
        Rule("guarded_recall", share("guarded", "there"), "of the first k points for k objects"),
        Rule("f1", lambda s: ratio(2 * s["matched"], s["said"] + s["there"])),
        Rule("precision", share("matched", "said")),
        Rule("recall", share("matched", "there")),
    )

    def item(self, stored: Stored) -> ItemScore:
        """Matches of all points, and of the first k for k objects."""
        task = stored.task
        inputs, target = task.read_sample(stored.sample)
        result = task.parse(stored.text, inputs)
        every = region_counts(result.answer, target)
        there = every.true_positives + every.false_negatives
        first = None
        if result.answer is not None:
            first = LocatingAnswer(objects=result.answer.objects[:there])
        numbers = {
            "matched": every.true_positives,
            "said": every.true_positives + every.false_positives,
            "there": there,
            "guarded": region_counts(first, target).true_positives,
        }
        return make_item(stored, result.status, numbers, cluster=stored.sample.media)


def _f1(at: float) -> Callable[[Sums], Numbers]:
    return lambda sums: ratio(2 * sums[f"matched@{at}"], sums["said"] + sums["there"])


def _mean_ap(thresholds: Sequence[float]) -> Callable[[Sums], Numbers]:
    """Mean of precision x recall over the thresholds and the classes of the targets."""

    def mean(sums: Sums) -> Numbers:
        def of_class(label: str) -> Numbers:
            there, said = sums[f"there|{label}"], sums[f"said|{label}"]
            points = [
                ratio(sums[f"matched@{at}|{label}"] ** 2, there * np.maximum(1.0, said))
                for at in thresholds
            ]
            result: Numbers = np.mean(points, axis=0)
            return result

        return mean_over(sums, "there", of_class)

    return mean
