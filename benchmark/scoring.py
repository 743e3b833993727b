"""Scores of stored answers: pure functions, so that a re-score needs no server."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from benchmark.answers import Answer
from benchmark.suite import Item, SuiteRow
from lamm_model.tasks import Estimate, ParseStatus
from lamm_model.tasks.metrics import proportion


@dataclass(frozen=True, slots=True)
class ScoredItem:
    """One answered item, read and judged."""

    item: Item
    text: str
    status: ParseStatus
    hit: bool


class ControlScore(NamedTuple):
    """A row's own metric under a blind control, its 95 % interval, and the items it rests on."""

    score: float
    interval: tuple[float, float]
    n: int


@dataclass(frozen=True, slots=True)
class OrderCheck:
    """What moving the options about did to the answers of a multiple-choice row.

    Attributes:
        consistency: share of the questions whose answer names the same option in both orders, over
            the `n` questions where both answers could be read.
        position_bias: how far the positions that were chosen are from those where the right options
            stood, over both orders: half the sum of absolute differences of shares, 0 to 1.
        positions: how often each position was chosen, from the first.
    """

    consistency: Estimate | None
    position_bias: float
    positions: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class RowScore:
    """A row of the table. Metrics rest on the answered items alone; all others are counted here.

    `estimate` is the row's own metric (None: nothing was answered); `unanswered` says for each item
    without an answer why; `problems` are records that could not be asked at all. `refused` are the
    ids among `unanswered` that such a server cannot be asked: nothing a further run could mend.
    `under` holds the row under each blind control, of the items that the control fits; `order` is
    what shuffled options did.
    """

    row: SuiteRow
    estimate: Estimate | None
    metrics: Mapping[str, Estimate]
    scored: tuple[ScoredItem, ...]
    unanswered: Mapping[str, str] = field(default_factory=dict)
    refused: frozenset[str] = frozenset()
    under: Mapping[str, RowScore] = field(default_factory=dict)
    order: OrderCheck | None = None

    @property
    def controls(self) -> Mapping[str, ControlScore]:
        """Each control's score beside the row's own; without those that nothing was answered to."""
        return {
            name: ControlScore(
                row.estimate.value, (row.estimate.low, row.estimate.high), len(row.scored)
            )
            for name, row in self.under.items()
            if row.estimate is not None
        }

    @property
    def problems(self) -> tuple[str, ...]:
        """Broken records, each with its file and line."""
        return self.row.problems

    @property
    def complete(self) -> bool:
        """Whether every record was sound and answered, under the controls too.

        What a server has no way to be asked is not missing: it is said, and scored nowhere.
        """
        missing = self.unanswered.keys() - self.refused
        return (
            not self.problems
            and not missing
            and bool(self.scored or self.refused)
            and all(row.complete for row in self.under.values())
        )

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
    row: SuiteRow,
    answers: Mapping[str, Answer],
    failures: Mapping[str, str],
    refusals: Mapping[str, str] | None = None,
) -> RowScore:
    """Reads and judges the answers of one row.

    Answers and items meet by id alone, so a missing answer shifts nothing.

    Args:
        row: the items.
        answers: by sample id.
        failures: why items have no answer, by sample id.
        refusals: why items cannot be asked, by sample id.
    """
    refusals = refusals or {}
    scored: list[ScoredItem] = []
    pairs = []
    unanswered: dict[str, str] = {}
    for item in row.items:
        answer = answers.get(item.sample.id)
        if answer is None:
            reason = failures.get(item.sample.id, "not asked yet")
            unanswered[item.sample.id] = refusals.get(item.sample.id, reason)
            continue
        result = row.task.parse(answer.text, item.inputs)
        pairs.append((result.answer, item.target))
        hit = row.task.is_hit(result.answer, item.target)
        scored.append(ScoredItem(item, answer.text, result.status, hit))
    metrics = row.task.score(pairs)
    refused = frozenset(unanswered.keys() & refusals.keys())
    return RowScore(row, metrics.get(row.metric), metrics, tuple(scored), unanswered, refused)


def order_check(row: RowScore, shuffled: RowScore) -> OrderCheck | None:
    """Compares a multiple-choice row's answers with those to the same options in another order.

    None where no answer could be read in either.
    """
    again = {one.item.sample.id: one for one in shuffled.scored}
    both = [(one, again[one.item.sample.id]) for one in row.scored if one.item.sample.id in again]
    positions = list(_positions([one for pair in both for one in pair]))
    if not positions:
        return None
    chosen = Counter(position for position, _ in positions)
    right = Counter(position for _, position in positions)
    length = max(*chosen, *right) + 1
    read = [(_option(first), _option(second)) for first, second in both]
    comparable = [(a, b) for a, b in read if a is not None and b is not None]
    same = sum(a == b for a, b in comparable)
    return OrderCheck(
        consistency=proportion(same, len(comparable)) if comparable else None,
        position_bias=sum(abs(chosen[i] - right[i]) for i in range(length)) / 2 / len(positions),
        positions=tuple(chosen[i] for i in range(length)),
    )


def _positions(scored: Sequence[ScoredItem]) -> Iterator[tuple[int, int]]:
    """Of each answer that could be read, the chosen position and that of the right option."""
    for one in scored:
        answer = one.item.task.parse(one.text, one.item.inputs).answer
        if answer is not None:
            yield answer.choice, one.item.target.choice


def _option(one: ScoredItem) -> str | None:
    """The words of the chosen option, which stay the same wherever it stands."""
    answer = one.item.task.parse(one.text, one.item.inputs).answer
    return None if answer is None else str(one.item.inputs.choices[answer.choice])
