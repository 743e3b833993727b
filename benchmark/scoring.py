"""Scores of stored answers: pure functions, so that a re-score needs no server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from benchmark.answers import Answer
from benchmark.suite import Item, SuiteRow
from lamm_model.tasks import Estimate, ParseStatus


@dataclass(frozen=True, slots=True)
class ScoredItem:
    """One answered item, read and judged."""

    item: Item
    text: str
    status: ParseStatus
    hit: bool


@dataclass(frozen=True, slots=True)
class RowScore:
    """A row of the table. Metrics rest on the answered items alone; all others are counted here.

    `estimate` is the row's own metric (None: nothing was answered); `unanswered` says for each item
    without an answer why; `problems` are records that could not be asked at all.
    """

    row: SuiteRow
    estimate: Estimate | None
    metrics: Mapping[str, Estimate]
    scored: tuple[ScoredItem, ...]
    unanswered: Mapping[str, str] = field(default_factory=dict)

    @property
    def problems(self) -> tuple[str, ...]:
        """Broken records, each with its file and line."""
        return self.row.problems

    @property
    def complete(self) -> bool:
        """Whether every record was sound and answered."""
        return not self.problems and not self.unanswered and bool(self.scored)

    @property
    def reaches_target(self) -> bool | None:
        """Whether the score is at or above the target; None without a target or a score."""
        if self.row.target is None or self.estimate is None:
            return None
        return self.estimate.value >= self.row.target

    def share(self, status: ParseStatus) -> float:
        """Share of the answers that were read with this status."""
        if not self.scored:
            return 0.0
        return sum(item.status is status for item in self.scored) / len(self.scored)


def score_row(
    row: SuiteRow, answers: Mapping[str, Answer], failures: Mapping[str, str]
) -> RowScore:
    """Reads and judges the answers of one row; `answers` and `failures` are keyed by sample id.

    Answers and items meet by id alone, so a missing answer shifts nothing.
    """
    scored: list[ScoredItem] = []
    pairs = []
    unanswered: dict[str, str] = {}
    for item in row.items:
        answer = answers.get(item.sample.id)
        if answer is None:
            unanswered[item.sample.id] = failures.get(item.sample.id, "not asked yet")
            continue
        result = row.task.parse(answer.text, item.inputs)
        pairs.append((result.answer, item.target))
        hit = row.task.is_hit(result.answer, item.target)
        scored.append(ScoredItem(item, answer.text, result.status, hit))
    metrics = row.task.score(pairs)
    return RowScore(row, metrics.get(row.metric), metrics, tuple(scored), unanswered)
