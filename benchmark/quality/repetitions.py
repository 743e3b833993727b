"""Scores over the repetitions of a run: their mean, with Student's 95 % interval.

The interval is of the mean over random draws of the answers to the same questions. It does not
cover the choice of the questions, as the interval of a single repetition does.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.table import Table

from benchmark.quality.protocol_scores import ProtocolRow
from benchmark.report.figures import number
from benchmark.scoring import RowScore
from benchmark.text import column_table, markdown_table

# Two-sided 95 % quantiles of Student's t for 1, 2, ... degrees of freedom.
_T_95 = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160,
    2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056,
    2.052, 2.048, 2.045,
)  # fmt: skip
MAX_REPETITIONS = len(_T_95) + 1

COLUMNS = ("row", "protocol", "metric", "k", "mean", "95 %", "lowest", "highest")
_LEFT = frozenset({"row", "protocol", "metric"})


@dataclass(frozen=True, slots=True)
class RepeatedScore:
    """A metric over repetitions. `protocol` is None for the metric of the score table.

    `scores` are in the order of the repetitions; `low` and `high` are not limited to 0 and 1.
    """

    row: str
    protocol: str | None
    metric: str
    scores: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Mean over the repetitions."""
        return statistics.fmean(self.scores)

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the mean."""
        k = len(self.scores)
        half = _T_95[k - 2] * statistics.stdev(self.scores) / k**0.5
        return self.mean - half, self.mean + half


def over_repetitions(
    repetitions: Sequence[Sequence[RowScore]], protocols: Sequence[Sequence[ProtocolRow]]
) -> tuple[RepeatedScore, ...]:
    """The scores that every repetition has; empty with fewer than two repetitions."""
    if len(repetitions) < 2:
        return ()
    own = [_row_scores(rows) for rows in repetitions]
    by_protocol = [_protocol_scores(rows) for rows in protocols]
    return (*_joined(own), *_joined(by_protocol))


def table(scores: Sequence[RepeatedScore]) -> Table:
    """One line per score."""
    result = column_table("over repetitions", COLUMNS, _LEFT)
    for score in scores:
        result.add_row(*_cells(score))
    return result


def as_markdown(scores: Sequence[RepeatedScore]) -> list[str]:
    """The table as Markdown lines; empty without scores."""
    if not scores:
        return []
    return ["", "## Over repetitions", "", *markdown_table(COLUMNS, map(_cells, scores), _LEFT)]


def as_json(scores: Sequence[RepeatedScore]) -> list[dict[str, Any]]:
    """All scores, unrounded."""
    return [
        asdict(score)
        | {"k": len(score.scores), "mean": score.mean, "interval_95": list(score.interval)}
        for score in scores
    ]


_Key = tuple[str, str | None, str]


def _row_scores(rows: Sequence[RowScore]) -> dict[_Key, float]:
    return {
        (row.row.name, None, row.row.metric): row.estimate.value
        for row in rows
        if row.estimate is not None
    }


def _protocol_scores(rows: Sequence[ProtocolRow]) -> dict[_Key, float]:
    found: dict[_Key, float] = {}
    for row in rows:
        first = None if row.score is None else row.score.metrics.get(row.score.primary)
        if row.score is not None and first is not None:
            found[row.row, row.protocol, row.score.primary] = first.value
    return found


def _joined(repetitions: Sequence[Mapping[_Key, float]]) -> Iterator[RepeatedScore]:
    for key in repetitions[0] if repetitions else ():
        if all(key in scores for scores in repetitions):
            row, protocol, metric = key
            scores = tuple(scores[key] for scores in repetitions)
            yield RepeatedScore(row, protocol, metric, scores)


def _cells(score: RepeatedScore) -> tuple[str, ...]:
    def shown(value: float) -> str:
        return number(value, score.metric)

    low, high = score.interval
    return (
        score.row,
        score.protocol or "-",
        score.metric,
        str(len(score.scores)),
        shown(score.mean),
        f"{shown(low)} to {shown(high)}",
        shown(min(score.scores)),
        shown(max(score.scores)),
    )
