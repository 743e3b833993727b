"""Results of a protocol: scores of items, and metrics with intervals over them.

Every item contributes named numbers (hits, predicted boxes, n-grams ...); a metric is a function of
their sums, so that its bootstrap is a matrix product.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lamm_model.tasks import TASKS, AnyTask, ParseStatus, Sample

RESAMPLES = 1000
SEED = 0
_CHUNK = 50

Numbers = NDArray[np.float64]


class Protocol(StrEnum):
    """A set of scoring rules. Scores under different protocols are not comparable."""

    UPSTREAM_2023_07 = "upstream-2023-07"
    UPSTREAM_2023_06 = "upstream-2023-06"
    UPSTREAM_INTENDED = "upstream-intended"
    CORRECTED_V1 = "corrected-v1"
    CHEF = "chef-ea57136"


@dataclass(frozen=True, slots=True)
class Stored:
    """A record and the answer of a model.

    `options` are the options with their likelihoods if the answer was chosen by them. `reader` is
    the task that reads the answer, if answers have another manner. `scores` has the model's
    confidence in each place of the answer, by the path of the object's field (`objects[0].box`);
    None if there are none.
    """

    sample: Sample
    text: str
    options: Sequence[Mapping[str, Any]] | None = None
    reader: AnyTask | None = None
    scores: Mapping[str, float] | None = None

    @property
    def task(self) -> AnyTask:
        """The task that reads the record and the answer."""
        return self.reader or TASKS[self.sample.task]

    def confidence(self, index: int) -> float | None:
        """The confidence in the place of `objects[index]`."""
        prefix = f"objects[{index}]."
        found = (s for path, s in (self.scores or {}).items() if path.startswith(prefix))
        return next(found, None)


@dataclass(frozen=True, slots=True)
class RankedBox:
    """A box with its confidence, and whether it is `matched` at each IoU threshold."""

    label: str
    score: float
    matched: tuple[bool, ...]


@dataclass(frozen=True, slots=True)
class ItemScore:
    """The contribution of one answer to the metrics.

    The bootstrap samples clusters (a picture with 14 questions is one). `faults` name errors that
    would stop upstream's scorer, and approximations. `boxes` are the boxes of an answer with
    confidences; None if the task has no boxes or a box has no confidence.
    """

    id: str
    numbers: Mapping[str, float]
    status: ParseStatus
    cluster: str
    faults: tuple[str, ...] = ()
    boxes: tuple[RankedBox, ...] | None = None


@dataclass(frozen=True, slots=True)
class Metric:
    """A value with its 95 % interval (percentile bootstrap, seeded) over `n` items.

    `n` is less than the items of a row if the rule of the metric covers a part of them.
    """

    value: float
    low: float
    high: float
    n: int
    note: str = ""


@dataclass(frozen=True, slots=True)
class ProtocolScore:
    """One task's score under one protocol. `chance` is for the `primary` metric, None if unknown.

    `metrics` leaves out metrics without items. `faults` counts the faults by name.
    """

    protocol: Protocol
    task: str
    primary: str
    metrics: Mapping[str, Metric]
    items: tuple[ItemScore, ...]
    chance: float | None
    faults: Mapping[str, int] = field(default_factory=dict)
    shown: tuple[str, ...] = ()

    @property
    def n(self) -> int:
        """Number of answers."""
        return len(self.items)

    @property
    def unparsed(self) -> float:
        """Share of answers that the task's parser could not parse."""
        if not self.items:
            return 0.0
        return sum(item.status is ParseStatus.UNPARSED for item in self.items) / len(self.items)


class Sums:
    """Sums of the items' numbers, each an array [R] over resamples."""

    def __init__(self, columns: Mapping[str, int], totals: Numbers) -> None:
        self._columns = columns
        self._totals = totals

    def __getitem__(self, name: str) -> Numbers:
        if name not in self._columns:
            return np.zeros(len(self._totals))
        column: Numbers = self._totals[:, self._columns[name]]
        return column

    def named(self, prefix: str) -> list[str]:
        """The suffixes of names that start with `prefix|`: the classes of a per-class count."""
        return [n.partition("|")[2] for n in self._columns if n.startswith(f"{prefix}|")]


@dataclass(frozen=True, slots=True)
class Rule:
    """A metric: its name, its function of the sums (nan without items), and a note.

    `over` is the name of a number that is 1 for the items of the metric; None means all items.
    """

    name: str
    of: Callable[[Sums], Numbers]
    note: str = ""
    over: str | None = None


class Scorer(ABC):
    """Scores one task under one protocol. Tables show the first of `rules`, and `shown` ones."""

    rules: Sequence[Rule]
    shown: Sequence[str] = ()

    @abstractmethod
    def item(self, stored: Stored) -> ItemScore:
        """Scores one answer.

        Raises:
            ValueError: the record's target does not fit the task.
        """

    def items(self, stored: Sequence[Stored]) -> list[ItemScore]:
        """Scores all answers; overridden if the score of an item depends on others."""
        return [self.item(one) for one in stored]

    def further(self, items: Sequence[ItemScore]) -> Mapping[str, Metric]:  # noqa: ARG002
        """Metrics that are no function of sums over the items."""
        return {}

    def metrics(self, items: Sequence[ItemScore]) -> dict[str, Metric]:
        """All metrics of the items."""
        return {**measure(items, self.rules), **self.further(items)}

    def chance(self, stored: Sequence[Stored]) -> float | None:  # noqa: ARG002 - for subclasses
        """Score of guessing on the first rule; None if unknown."""
        return None


def ratio(part: Numbers, whole: Numbers) -> Numbers:
    """`part / whole`; nan if `whole` is 0."""
    result = np.full(np.broadcast(part, whole).shape, np.nan)
    np.divide(part, whole, out=result, where=whole != 0)
    return result


def share(part: str, whole: str = "n") -> Callable[[Sums], Numbers]:
    """A rule's function: the ratio of two sums."""
    return lambda sums: ratio(sums[part], sums[whole])


def mean_over(sums: Sums, prefix: str, value: Callable[[str], Numbers]) -> Numbers:
    """Mean of `value(class)` over the sampled classes counted under `prefix`."""
    rows = np.array([value(name) for name in sums.named(prefix)])
    known = ~np.isnan(rows)
    return ratio(np.where(known, rows, 0.0).sum(axis=0), known.sum(axis=0).astype(np.float64))


def measure(items: Sequence[ItemScore], rules: Sequence[Rule]) -> dict[str, Metric]:
    """Value and interval of every rule; rules without items are left out."""
    if not items:
        return {}
    names = sorted({name for item in items for name in item.numbers})
    columns = {name: index for index, name in enumerate(names)}
    matrix = np.zeros((len(items), len(names)))
    for row, item in enumerate(items):
        for name, value in item.numbers.items():
            matrix[row, columns[name]] = value
    clusters = {c: i for i, c in enumerate(dict.fromkeys(item.cluster for item in items))}
    pooled = np.zeros((len(clusters), len(names)))
    np.add.at(pooled, [clusters[item.cluster] for item in items], matrix)
    point = Sums(columns, matrix.sum(axis=0, keepdims=True))
    drawn = Sums(columns, _resampled(pooled))
    found: dict[str, Metric] = {}
    for rule in rules:
        value = float(rule.of(point)[0])
        if np.isnan(value):
            continue
        spread = rule.of(drawn)
        low, high = (
            np.nanquantile(spread, [0.025, 0.975])
            if not np.isnan(spread).all()
            else (
                value,
                value,
            )
        )
        count = len(items) if rule.over is None else round(point[rule.over].item())
        found[rule.name] = Metric(value, float(low), float(high), count, rule.note)
    return found


def make_item(
    stored: Stored,
    status: ParseStatus,
    numbers: Mapping[str, Any],
    faults: Sequence[str] = (),
    cluster: str | None = None,
) -> ItemScore:
    """An item with `n` = 1; the default cluster is the record itself."""
    values = {name: float(value) for name, value in {"n": 1, **numbers}.items()}
    return ItemScore(stored.sample.id, values, status, cluster or stored.sample.id, tuple(faults))


def _resampled(pooled: Numbers) -> Numbers:
    """Sums over clusters sampled with replacement, [RESAMPLES, columns]; seeded."""
    rng = np.random.default_rng(SEED)
    count = len(pooled)
    even = np.full(count, 1 / count)
    sums = [
        rng.multinomial(count, even, size=_CHUNK).astype(np.float64) @ pooled
        for _ in range(RESAMPLES // _CHUNK)
    ]
    return np.concatenate(sums)
