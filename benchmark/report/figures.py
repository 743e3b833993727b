"""One score in a report: the number with interval, chance, target and controls."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from benchmark.report.files import Interval, OrderCheck, Run, StoredProtocolRow, StoredRow
from benchmark.suite import ERROR_METRICS

OWN = "task's own"
# Upstream's first: the published numbers follow them.
_ORDER = (
    "upstream-2023-06", "upstream-2023-07", "upstream-intended", "chef-ea57136", "corrected-v1",
    OWN,
)  # fmt: skip
# Errors are in objects, BLEU is in percent already; all other metrics are shares.
_COUNTS, _PERCENT = ERROR_METRICS, "bleu"
_AT = re.compile(r"(.+)@[\d.]+")


@dataclass(frozen=True, slots=True)
class ControlFigure:
    """A blind control's score on the figure's metric."""

    name: str
    score: float
    interval: Interval | None
    n: int


@dataclass(frozen=True, slots=True)
class ThresholdFigure:
    """The same metric at another threshold, such as accuracy@0.25 beside accuracy@0.5."""

    metric: str
    score: float
    interval: Interval


@dataclass(frozen=True, slots=True)
class Figure:
    """A score, unrounded in the unit of its metric; `reason` says why it is missing."""

    protocol: str
    metric: str
    score: float | None
    interval: Interval | None = None
    n: int = 0
    unparsed: float = 0.0
    chance: float | None = None
    target: float | None = None
    unanswered: int = 0
    controls: tuple[ControlFigure, ...] = ()
    order_check: OrderCheck | None = None
    reason: str = ""
    thresholds: tuple[ThresholdFigure, ...] = ()

    @property
    def headline(self) -> str:
        """The number with its interval, or "no score"."""
        if self.score is None:
            return "no score"
        return f"{number(self.score, self.metric)}{span(self.interval, self.metric)}"

    @property
    def details(self) -> tuple[str, ...]:
        """All other facts of the score, a few words each."""
        missing = [f"{self.unanswered} unanswered"] if self.unanswered else []
        answered = [f"n {self.n}", f"unparsed {100 * self.unparsed:.1f} %"] if self.n else []
        if self.score is None:
            none_read = ["no answer could be parsed"] if self.n and self.unparsed >= 1 else []
            why = [self.reason] if self.reason else none_read
            return (*answered, *why, *missing) or ("no answers",)
        also = [
            f"{one.metric} {number(one.score, one.metric)}{span(one.interval, one.metric)}"
            for one in self.thresholds
        ]
        found = [*also, *answered, *missing]
        if self.chance is not None:
            found.append(f"chance {number(self.chance, self.metric)}")
        if self.target is not None:
            found.append(f"target {number(self.target, self.metric)}")
        for control in self.controls:
            value = number(control.score, self.metric) + span(control.interval, self.metric)
            found.append(f"{control.name} {value} (n {control.n})")
        if self.order_check is not None:
            found += _order(self.order_check)
        return tuple(found)


@dataclass(frozen=True, slots=True)
class Change:
    """The difference of two scores of one metric, in its unit; `n` is the smaller number of items.

    The interval combines those of both scores as if they were independent (Newcombe's
    square-and-add method). Both runs answer the same questions, so it is rather too wide.
    """

    protocol: str
    metric: str
    score: float | None
    interval: Interval | None = None
    n: int = 0
    reason: str = ""

    @property
    def headline(self) -> str:
        """The difference with its sign and interval, or "not compared"."""
        if self.score is None:
            return "not compared"
        sign = "+" if self.score > 0 else ""
        return f"{sign}{number(self.score, self.metric)}{span(self.interval, self.metric)}"

    @property
    def details(self) -> tuple[str, ...]:
        """The number of items, or why there is no difference."""
        return (self.reason,) if self.score is None else (f"n {self.n}",)


def changes(before: Sequence[Figure], after: Sequence[Figure]) -> tuple[Change, ...]:
    """The change of each score that both have, by protocol and metric."""
    earlier = {(figure.protocol, figure.metric): figure for figure in before}
    found = []
    for figure in after:
        other = earlier.get((figure.protocol, figure.metric))
        if other is not None and other.score is not None and figure.score is not None:
            interval = _difference(other, figure)
            change = figure.score - other.score
            n = min(other.n, figure.n)
            found.append(Change(figure.protocol, figure.metric, change, interval, n))
    return tuple(found)


def _difference(before: Figure, after: Figure) -> Interval | None:
    if before.interval is None or after.interval is None:
        return None
    old, new = before.score or 0.0, after.score or 0.0
    change = new - old
    down = math.hypot(new - after.interval[0], before.interval[1] - old)
    up = math.hypot(after.interval[1] - new, old - before.interval[0])
    return change - down, change + up


def figures_of(run: Run, names: Iterable[str]) -> tuple[Figure, ...]:
    """All scores of the rows with these names, upstream's protocols first."""
    wanted = set(names)
    own = [_own(row) for row in run.scores.rows if row.name in wanted]
    under = _told_once([_under(row) for row in run.scores.protocols if row.row in wanted])
    figures = _joined(own, under)
    if figures and all(figure.score is None for figure in figures):
        # One line is enough if no protocol has a score.
        figures = own[:1] or figures[:1]
    return tuple(sorted(figures, key=lambda figure: _rank(figure.protocol)))


def number(value: float, metric: str) -> str:
    """Formats a value: errors in objects, all other metrics in percent."""
    if metric.startswith(_COUNTS):
        return f"{value:.2f}"
    return f"{value:.1f}" if metric.startswith(_PERCENT) else f"{100 * value:.1f}"


def span(interval: Interval | None, metric: str) -> str:
    """Formats an interval, with a leading space."""
    if interval is None:
        return ""
    return f" [{number(interval[0], metric)}, {number(interval[1], metric)}]"


def _own(row: StoredRow) -> Figure:
    # Chance and target are shares; error metrics have neither.
    shares = not row.metric.startswith(_COUNTS)
    return Figure(
        protocol=OWN,
        metric=row.metric,
        score=row.score,
        interval=row.interval_95,
        n=row.n,
        unparsed=row.unparsed,
        chance=row.chance if shares else None,
        target=row.target if shares else None,
        unanswered=len(row.unanswered),
        controls=tuple(
            ControlFigure(name, control.score, control.interval_95, control.n)
            for name, control in row.controls.items()
            if control.score is not None
        ),
        order_check=row.order_check,
    )


def _order(check: OrderCheck) -> list[str]:
    same = check.consistency
    found = [f"position bias {100 * check.position_bias:.1f} %"]
    if same is not None:
        found.insert(0, f"same option when shuffled {100 * same:.1f} % (n {check.n})")
    return found


def _under(row: StoredProtocolRow) -> Figure:
    return Figure(
        protocol=row.protocol,
        metric=row.metric,
        score=row.score,
        interval=row.interval_95,
        n=row.n,
        unparsed=row.unparsed,
        chance=row.chance,
        reason=row.reason,
        thresholds=tuple(
            ThresholdFigure(name, metric.value, (metric.low, metric.high))
            for name, metric in row.metrics.items()
            if name != row.metric and _same_but_threshold(name, row.metric)
        ),
    )


def _told_once(figures: list[Figure]) -> list[Figure]:
    """Leaves out the other thresholds of a figure that are figures of their own."""
    known = {(figure.protocol, figure.metric) for figure in figures}
    return [
        replace(
            figure,
            thresholds=tuple(
                one for one in figure.thresholds if (figure.protocol, one.metric) not in known
            ),
        )
        for figure in figures
    ]


def _same_but_threshold(name: str, other: str) -> bool:
    """Whether two metrics have the form NAME@NUMBER with the same NAME."""
    found, mine = _AT.fullmatch(name), _AT.fullmatch(other)
    return found is not None and mine is not None and found[1] == mine[1]


def _joined(own: list[Figure], under: list[Figure]) -> list[Figure]:
    """Leaves out the task's own score if corrected-v1 has the same one, which gets its controls."""
    kept = list(under)
    for figure in own:
        twins = [
            index
            for index, other in enumerate(kept)
            if figure.score is not None
            and (other.metric, other.score, other.n) == (figure.metric, figure.score, figure.n)
            and other.protocol == "corrected-v1"
        ]
        if not twins:
            kept.append(figure)
        for index in twins:
            kept[index] = replace(
                kept[index],
                controls=figure.controls,
                order_check=figure.order_check,
                target=figure.target,
                unanswered=figure.unanswered,
                chance=figure.chance if kept[index].chance is None else kept[index].chance,
            )
    return kept


def _rank(protocol: str) -> int:
    return _ORDER.index(protocol) if protocol in _ORDER else len(_ORDER)
