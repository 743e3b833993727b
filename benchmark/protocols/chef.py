"""The scorers of ChEF, which replaced those of 2023 in the LAMM repository, with their faults.

Follows OpenGVLab/LAMM main at ea57136 (March 2024). Answers that were chosen by likelihood are also
scored by the chosen option, and by the calibration of their confidences.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from benchmark.protocols import chef_text as read
from benchmark.protocols import upstream_text
from benchmark.protocols.calibration import calibration, softmax
from benchmark.protocols.chance import chance_of
from benchmark.protocols.chef_boxes import ious_of
from benchmark.protocols.results import (
    ItemScore,
    Metric,
    Numbers,
    Rule,
    Scorer,
    Stored,
    Sums,
    make_item,
    share,
)
from benchmark.protocols.upstream import upstream_scorer
from lamm_model.tasks import TASKS
from lamm_model.tasks.metrics import match_count

THRESHOLDS = (0.5, 0.25)
_IOU = 0.5
_SMALL = 1e-7
_BY_OPTION = "the option with the highest mean log-likelihood"

Counts = Mapping[str, float]
ScoreItem = Callable[[Stored], tuple[Counts, Sequence[str]]]


class ChefScorer(Scorer):
    """One of ChEF's rules for one task. `shown` are further metrics for tables."""

    def __init__(self, score: ScoreItem, rules: Sequence[Rule], shown: Sequence[str] = ()) -> None:
        self.rules, self.shown = rules, shown
        self._score = score

    def item(self, stored: Stored) -> ItemScore:
        """Scores one answer by ChEF's rule; the status comes from the task's parser."""
        task = TASKS[stored.sample.task]
        inputs, _ = task.read_sample(stored.sample)
        numbers, faults = self._score(stored)
        status = task.parse(stored.text, inputs).status
        return make_item(
            stored, status, {**numbers, **_ranked(stored)}, faults, stored.sample.media
        )

    def further(self, items: Sequence[ItemScore]) -> Mapping[str, Metric]:
        """The calibration error over the answers that were chosen by likelihood."""
        ranked = [item.numbers for item in items if item.numbers.get("ranked")]
        if not ranked:
            return {}
        sure = [numbers["confidence"] for numbers in ranked]
        return {"ece": calibration(sure, [numbers["chosen"] for numbers in ranked])}

    def chance(self, stored: Sequence[Stored]) -> float | None:
        """Chance of guessing one option."""
        return chance_of(stored)


def _ranked(stored: Stored) -> Counts:
    """Confidence and hit of an answer that has the mean log-likelihoods of its options."""
    if not stored.options or any("mean_logprob" not in option for option in stored.options):
        return {}
    task = TASKS[stored.sample.task]
    inputs, target = task.read_sample(stored.sample)
    means = [float(option["mean_logprob"]) for option in stored.options]
    options = task.options(inputs)
    if len(options) != len(means):
        raise ValueError(f"{len(means)} stored options for {len(options)} of the record")
    best = max(range(len(means)), key=means.__getitem__)
    hit = task.is_hit(options[best].answer, target)
    return {"ranked": 1, "chosen": hit, "confidence": max(softmax(means))}


def _classification(stored: Stored) -> tuple[Counts, Sequence[str]]:
    label, text = str(stored.sample.target), read.cleaned(stored.text)
    faults = _approximated([label])
    if label not in read.cleaned(label).split():
        faults.append(f"label {label!r} is no single lower-case word: never counted as said")
    return {"hits": label in text.split(), "synonyms": read.names(label, text)}, faults


def _choice(stored: Stored) -> tuple[Counts, Sequence[str]]:
    target = stored.sample.target
    said = read.choice(stored.text, target["choices"])
    return {"hits": said == target["choice"], "matched": said is not None}, ()


def _counting(stored: Stored) -> tuple[Counts, Sequence[str]]:
    right = stored.sample.target
    said = upstream_text.count(stored.text) or 0
    return {"error": min(right, abs(right - said)), "hits": said == right}, ()


def _detection(stored: Stored) -> tuple[Counts, Sequence[str]]:
    there = stored.sample.target
    said = read.labelled_boxes(stored.text)
    ious = ious_of([box for _, box in said], [found["bbox"] for found in there])
    numbers: dict[str, float] = {"said": len(said), "there": len(there)}
    for at in THRESHOLDS:
        close = [[j for j in range(len(there)) if row[j] >= at] for row in ious]
        named = [
            [j for j in near if read.names(there[j]["label"], label)]
            for near, (label, _) in zip(close, said, strict=True)
        ]
        numbers |= {f"close@{at}": match_count(close), f"matched@{at}": match_count(named)}
    plain = upstream_text.boxes(stored.text)
    numbers |= {"plain_said": len(plain), "plain_hits": _plain_hits(stored, plain)}
    faults = _approximated([found["label"] for found in there])
    if plain and not said:
        faults.append("boxes without one of ChEF's sentences: not counted")
    return numbers, faults


def _plain_hits(stored: Stored, boxes: Sequence[Sequence[float]]) -> int:
    """Objects whose label is named anywhere, and which any box overlaps."""
    return sum(
        read.names(found["label"], stored.text)
        and any(upstream_text.iou(found["bbox"], box) > _IOU for box in boxes)
        for found in stored.sample.target
    )


def _detection_3d(stored: Stored) -> tuple[Counts, Sequence[str]]:
    there = stored.sample.target
    boxes = upstream_text.numbers(stored.text, 6)
    hits, faults = 0, _approximated([found["label"] for found in there])
    for found in there:
        if read.names(found["label"], stored.text):
            hit, stopped = _overlaps(found["bbox"], boxes)
            hits, faults = hits + hit, [*faults, *stopped]
    return {"hits": hits, "there": len(there)}, faults


def _grounding(stored: Stored) -> tuple[Counts, Sequence[str]]:
    target = stored.sample.target
    there = target["bbox"] if isinstance(target, dict) else target
    hit, faults = _overlaps(there, upstream_text.numbers(stored.text, 6)[:1])
    return {"hits": hit}, faults


def _overlaps(there: Sequence[float], boxes: Sequence[Sequence[float]]) -> tuple[bool, list[str]]:
    try:
        return any(upstream_text.iou_3d(there, box, clamped=True) > _IOU for box in boxes), []
    except ZeroDivisionError:
        return False, ["ChEF fails: division by zero for two empty boxes"]


def _approximated(labels: Sequence[str]) -> list[str]:
    return [
        f"word forms of {label!r} are approximated"
        for label in sorted(set(labels))
        if not read.is_in_table(label)
    ]


def _precision(part: str) -> Callable[[Sums], Numbers]:
    """A share of the said boxes, which is 0 if there are none: ChEF adds a small number."""
    return lambda sums: sums[part] / (sums["said"] + _SMALL)


_CHOSEN = Rule("ppl_accuracy", share("chosen", "ranked"), _BY_OPTION, over="ranked")
_PLAIN = "any box and the label anywhere, not one to one"
_DETECTION = (
    *(
        Rule(f"{name}@{at}", _precision(part) if whole == "said" else share(part, whole), note)
        for at in THRESHOLDS
        for name, part, whole, note in (
            ("recall", f"matched@{at}", "there", "one to one, with the class"),
            ("precision", f"matched@{at}", "said", "one to one, with the class"),
            ("recall_any_class", f"close@{at}", "there", "one to one"),
            ("precision_any_class", f"close@{at}", "said", "one to one"),
        )
    ),
    Rule("plain_precision@0.5", share("plain_hits", "plain_said"), f'"mAP" of direct: {_PLAIN}'),
    Rule("plain_recall@0.5", share("plain_hits", "there"), f'"mAR" of direct: {_PLAIN}'),
)
_CLASSES = (
    Rule("accuracy", share("hits"), '"ACC": the label as a word of the cleaned text'),
    Rule("synonym_accuracy", share("synonyms"), '"SYN_ACC": a word of any sense of the label'),
    _CHOSEN,
)
_OPTIONS = (
    Rule("accuracy", share("hits"), '"ACC"'),
    Rule("match_ratio", share("matched"), "answers in which an option was found"),
    _CHOSEN,
)
_RANKED = ("ppl_accuracy", "ece")
_CHEF: Mapping[str, tuple[ScoreItem, Sequence[Rule], Sequence[str]]] = MappingProxyType(
    {
        "classification": (_classification, _CLASSES, _RANKED),
        "classification_3d": (_classification, _CLASSES, _RANKED),
        "vqa_choice": (_choice, _OPTIONS, _RANKED),
        "vqa_choice_3d": (_choice, _OPTIONS, _RANKED),
        "counting": (
            _counting,
            (
                Rule("mae", share("error"), "at most the count itself; silence counts as 0"),
                Rule("accuracy", share("hits")),
            ),
            ("accuracy",),
        ),
        "detection": (_detection, _DETECTION, ("precision@0.5", "recall@0.25", "precision@0.25")),
        "detection_3d": (
            _detection_3d,
            (Rule("recall@0.5", share("hits", "there"), '"mAR"; label and box apart'),),
            (),
        ),
        "grounding_3d": (
            _grounding,
            (Rule("accuracy@0.5", share("hits"), '"mAR"; first box only'),),
            (),
        ),
    }
)
# ChEF took these over unchanged.
_AS_IN_2023 = frozenset({"fine_grained_classification", "facial_hair", "facial_smile"})


def chef_scorer(task: str) -> Scorer | None:
    """ChEF's scorer of a task; None if there is none."""
    if task in _CHEF:
        return ChefScorer(*_CHEF[task])
    before = upstream_scorer(task, repaired=False) if task in _AS_IN_2023 else None
    if before is None:
        return None
    return ChefScorer(_unchanged(before), (*before.rules, _CHOSEN), _RANKED)


def _unchanged(before: Scorer) -> ScoreItem:
    def score(stored: Stored) -> tuple[Counts, Sequence[str]]:
        item = before.item(stored)
        return item.numbers, item.faults

    return score
