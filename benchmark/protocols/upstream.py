"""The scorers of the LAMM repository of July 2023, reproduced with their faults, or repaired.

`repaired=False` gives the values of upstream's code; `repaired=True` (`upstream-intended`) repairs
obvious slips and keeps all rules. Unlike `corrected`, both count any mention, do not match boxes to
labels, and do not penalise surplus boxes and points.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from benchmark.protocols import upstream_text as read
from benchmark.protocols.chance import chance_of
from benchmark.protocols.results import ItemScore, Rule, Scorer, Stored, make_item, ratio, share
from lamm_model.tasks.label_sets import JOINTS
from lamm_model.tasks.targets import read_joints

RADIUS = 0.1
IOU = 0.5
# A second threshold for ScanRefer, which upstream added on 2023-07-28.
LOOSE_IOU = 0.25
_LETTERS = "ABCDEF"

Numbers = Mapping[str, float]
ScoreItem = Callable[[Stored, bool], tuple[Numbers, Sequence[str]]]


class UpstreamScorer(Scorer):
    """One of upstream's rules for one task."""

    def __init__(self, score: ScoreItem, rules: Sequence[Rule], *, repaired: bool) -> None:
        self.rules = rules
        self._score = score
        self._repaired = repaired

    def item(self, stored: Stored) -> ItemScore:
        """Scores one answer by upstream's rule; the status comes from the task's parser."""
        task = stored.task
        inputs, _ = task.read_sample(stored.sample)
        numbers, faults = self._score(stored, self._repaired)
        status = task.parse(stored.text, inputs).status
        return make_item(stored, status, numbers, faults, stored.sample.media)

    def chance(self, stored: Sequence[Stored]) -> float | None:
        """Chance of guessing one class; naming all classes scores higher under these rules."""
        return chance_of(stored)


def _classification(stored: Stored, repaired: bool) -> tuple[Numbers, Sequence[str]]:
    label = str(stored.sample.target)
    hit = read.mentions(label, stored.text, repaired=repaired)
    return {"hits": hit}, _approximated([label])


def _substring(stored: Stored, repaired: bool) -> tuple[Numbers, Sequence[str]]:
    label, text = str(stored.sample.target), stored.text
    if repaired:
        label, text = label.lower(), text.lower()
    return {"hits": label in text}, ()


def _detection(stored: Stored, repaired: bool) -> tuple[Numbers, Sequence[str]]:
    predicted = read.boxes(stored.text)
    hits = sum(
        read.mentions(there["label"], stored.text, repaired=repaired)
        and any(read.iou(there["bbox"], box) > IOU for box in predicted)
        for there in stored.sample.target
    )
    labels = [there["label"] for there in stored.sample.target]
    return {"hits": hits, "objects": len(labels)}, _approximated(labels)


def _detection_3d(stored: Stored, repaired: bool) -> tuple[Numbers, Sequence[str]]:
    predicted = read.numbers(stored.text, 6)
    hits, faults = 0, _approximated([there["label"] for there in stored.sample.target])
    faults += _unknown_yaws(stored, [there["bbox"] for there in stored.sample.target])
    for there in stored.sample.target:
        if read.mentions(there["label"], stored.text, repaired=repaired):
            found, stopped = _first_overlap(there["bbox"], predicted, repaired)
            hits += found
            faults = [*faults, *stopped]
    return {"hits": hits, "objects": len(stored.sample.target)}, faults


def _grounding(stored: Stored, repaired: bool) -> tuple[Numbers, Sequence[str]]:
    target = stored.sample.target
    bbox = target["bbox"] if isinstance(target, dict) else target
    first = read.numbers(stored.text, 6)[:1]
    found, faults = _first_overlap(bbox, first, repaired)
    loose, _ = _first_overlap(bbox, first, repaired, LOOSE_IOU)
    return {"hits": found, "loose_hits": loose}, [*faults, *_unknown_yaws(stored, [bbox])]


def _choice(stored: Stored, repaired: bool) -> tuple[Numbers, Sequence[str]]:
    target, text = stored.sample.target, stored.text
    last = "E" if stored.sample.pcl is None else "F"
    index = target["choice"]
    letter = _LETTERS[index] if index < len(_LETTERS) else ""
    if not letter or letter > last:
        return {"hits": 0}, [f"upstream fails: no option after {last}"]
    end = r"(?:\W|$)" if repaired else r"\W"
    stated = re.findall(rf"[Tt]he answer is \(?[A-{last}]\)?{end}", text)
    announced = re.findall(rf"ANSWER: [A-{last}]", text)
    bracketed = re.findall(rf"\([A-{last}]\)", text)
    if stated:
        hit = all(letter in found for found in stated)
    elif announced:
        hit = announced[0].endswith(letter)
    elif bracketed:
        hit = all(letter in found for found in bracketed)
    else:
        named = [choice.lower() in text.lower() for choice in target["choices"]]
        hit = named[index] and sum(named) == 1
    return {"hits": hit}, ()


def _caption(stored: Stored, repaired: bool) -> tuple[Numbers, Sequence[str]]:
    target = stored.sample.target
    sentences = [target] if isinstance(target, str) else target
    references = [sentence.replace(".", "").split() for sentence in sentences]
    said = read.quoted_or_all(stored.text)
    if repaired:
        said, references = said.lower(), [[w.lower() for w in words] for words in references]
    best = max(read.sentence_bleu(references, part.split()) for part in said.split("."))
    return {"bleu": 100 * max(0.0, best)}, ()


def _counting(stored: Stored, repaired: bool) -> tuple[Numbers, Sequence[str]]:
    right, faults = stored.sample.target, []
    try:
        said = read.count(stored.text, repaired=repaired) or 0
    except read.UpstreamStopsError as stops:
        said, faults = 0, [f"upstream stops: {stops}"]
    error, few = abs(right - said), right < 10
    return {"error": error, "error_few": few * error, "few": few}, faults


def _ocr(stored: Stored, repaired: bool) -> tuple[Numbers, Sequence[str]]:
    target = stored.sample.target
    there = [target] if isinstance(target, str) else target
    said = read.quoted_or_all(stored.text).lower().split()
    if repaired:
        said = [word.strip(".,:;!?()[]\"'") for word in said]
    if not there:
        return {"recall": 0}, ["upstream fails: no words in the target"]
    return {"recall": sum(word.lower() in said for word in there) / len(there)}, ()


def _smile(stored: Stored, repaired: bool) -> tuple[Numbers, Sequence[str]]:
    denials = {"no", "not", "n't"} if repaired else {"no", "not"}
    smiles = denials.isdisjoint(read.words_of(stored.text))
    target = stored.sample.target
    right = target if isinstance(target, bool) else str(target) == "1"
    return {"hits": smiles == right}, ()


def _keypoint(stored: Stored, repaired: bool) -> tuple[Numbers, Sequence[str]]:
    if not repaired:
        # Upstream computes the sum of hits but discards it.
        return {"hits": 0}, ()
    size = stored.sample.size or (1, 1)
    target = stored.sample.target
    x, y = read_joints(target["joints"])[JOINTS.index(target["joint"])]
    return {"hits": near(stored.text, (x / size[0], y / size[1]))}, ()


def near(text: str, point: tuple[float, float]) -> bool:
    """Whether any pair of numbers in a text is within a tenth of the picture from a point."""
    return any(math.dist(pair, point) < RADIUS for pair in read.numbers(text, 2))


def _first_overlap(
    there: Sequence[float],
    predicted: Sequence[Sequence[float]],
    repaired: bool,
    threshold: float = IOU,
) -> tuple[bool, list[str]]:
    for box in predicted:
        try:
            if read.iou_3d(there, box, clamped=repaired) > threshold:
                return True, []
        except ZeroDivisionError:
            return False, ["upstream fails: division by zero for two empty boxes"]
    return False, []


def _unknown_yaws(stored: Stored, targets: Sequence[Sequence[float]]) -> list[str]:
    """What upstream, which knows boxes of six numbers only, makes of a yaw."""
    faults = []
    if any(len(box) == 7 for box in targets):
        faults.append("upstream knows no yaw: targets count as unrotated")
    task = stored.task
    answer = task.parse(stored.text, task.read_sample(stored.sample)[0]).answer
    if answer is not None and any(len(place.values) == 7 for place in answer.places()):
        faults.append("upstream cuts an answer into sixes: boxes after a yaw are shifted")
    return faults


def _approximated(labels: Sequence[str]) -> list[str]:
    return [
        f"word forms of {label!r} are approximated"
        for label in sorted(set(labels))
        if not read.is_in_table(label)
    ]


_ACCURACY = (Rule("accuracy", share("hits")),)
_RECALL = (Rule("recall@0.5", share("hits", "objects"), 'published as "mAP"; ignores precision'),)
_CLOSE = (Rule("pck@0.1_image", share("hits")),)
_UPSTREAM: Mapping[str, tuple[ScoreItem, Sequence[Rule]]] = MappingProxyType(
    {
        "classification": (_classification, _ACCURACY),
        "classification_3d": (_classification, _ACCURACY),
        "facial_hair": (_classification, _ACCURACY),
        "fine_grained_classification": (_substring, _ACCURACY),
        "facial_smile": (_smile, _ACCURACY),
        "vqa_choice": (_choice, _ACCURACY),
        "vqa_choice_3d": (_choice, _ACCURACY),
        "detection": (_detection, _RECALL),
        "detection_3d": (_detection_3d, _RECALL),
        "grounding_3d": (
            _grounding,
            (
                Rule("accuracy@0.5", share("hits"), 'published as "mAP@0.5"; first box only'),
                Rule("accuracy@0.25", share("loose_hits"), "first box only"),
            ),
        ),
        "caption": (
            _caption,
            (Rule("bleu4_sentence", share("bleu"), "best sentence per picture, no smoothing"),),
        ),
        "counting": (
            _counting,
            (
                Rule("mae", share("error"), "an answer without a number counts as 0"),
                Rule("mae_below_10", lambda s: ratio(s["error_few"], s["few"]), over="few"),
            ),
        ),
        "ocr": (_ocr, (Rule("word_recall", share("recall"), 'published as "word acc"'),)),
        "ocr_words": (_ocr, (Rule("word_recall", share("recall"), 'published as "word acc"'),)),
        "keypoints": (_keypoint, _CLOSE),
    }
)


def upstream_scorer(
    task: str, *, repaired: bool, before_july: bool = False
) -> UpstreamScorer | None:
    """Upstream's scorer of a task; None if there is none.

    With `before_july`, ScanRefer has no second threshold.
    """
    if task not in _UPSTREAM:
        return None
    score, rules = _UPSTREAM[task]
    if before_july and task == "grounding_3d":
        rules = rules[:1]
    return UpstreamScorer(score, rules, repaired=repaired)
