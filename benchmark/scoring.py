"""Scores of stored answers, as pure functions: rescoring needs no server."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from benchmark.answers import Answer
from benchmark.suite import Item, SuiteRow
from lamm_model.tasks import Estimate, ParseStatus
from lamm_model.tasks.metrics import proportion


@dataclass(frozen=True, slots=True)
class ScoredItem:
    """One answered item with its parse status and whether it is a hit.

    `options` and `scores` are those of the answer (`Answer`); `faults`: what the dialect could not
    read; `is_cut`: the model wrote more than it may.
    """

    item: Item
    text: str
    status: ParseStatus
    hit: bool
    options: Sequence[Mapping[str, Any]] | None = None
    faults: tuple[str, ...] = ()
    scores: Mapping[str, float] | None = None
    is_cut: bool = False


class ControlScore(NamedTuple):
    """A row's primary metric under a blind control, with 95 % interval and number of items."""

    score: float
    interval: tuple[float, float]
    n: int


@dataclass(frozen=True, slots=True)
class OrderCheck:
    """The effect of shuffled options on the answers of a multiple-choice row.

    Attributes:
        consistency: share of questions with the same option in both orders, over the `n` questions
            with two parsed answers.
        position_bias: total variation distance between the chosen positions and the positions of
            the correct options, over both orders: 0 to 1.
        positions: how often each position was chosen, first position first.
    """

    consistency: Estimate | None
    position_bias: float
    positions: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class RowScore:
    """A row of the score table. Metrics are over answered items; all others are counted.

    `estimate` is the row's primary metric, None without answers. `unanswered` maps ids to reasons;
    `refused` are the ids among them that the server cannot answer, so that a further run would not
    help. `problems` are invalid records. `under` is the row under each blind control, over the
    items to which the control applies; `order` is the effect of shuffled options.
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
        """The score under each control that has answers."""
        return {
            name: ControlScore(
                row.estimate.value, (row.estimate.low, row.estimate.high), len(row.scored)
            )
            for name, row in self.under.items()
            if row.estimate is not None
        }

    @property
    def problems(self) -> tuple[str, ...]:
        """Invalid records, each with file and line."""
        return self.row.problems

    @property
    def complete(self) -> bool:
        """Whether every record is valid and answered, under the controls too.

        Items that the server cannot answer do not count as missing.
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
        """Whether the score reaches the target; None without a target or a score."""
        if self.row.target is None or self.estimate is None:
            return None
        return self.estimate.value >= self.row.target

    def share(self, status: ParseStatus) -> float:
        """Share of answers with this parse status."""
        if not self.scored:
            return 0.0
        return sum(item.status is status for item in self.scored) / len(self.scored)


def score_row(
    row: SuiteRow,
    answers: Mapping[str, Answer],
    failures: Mapping[str, str],
    refusals: Mapping[str, str] | None = None,
) -> RowScore:
    """Parses and scores the answers of one row. Answers are matched to items by id.

    Args:
        row: the items.
        answers: by sample id.
        failures: reasons for missing answers, by sample id.
        refusals: reasons why items cannot be sent to the server, by sample id.
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
        result = row.task.parse_scored(answer.text, item.inputs, item.target)
        pairs.append((result.answer, item.target))
        hit = row.task.is_hit(result.answer, item.target)
        scored.append(
            ScoredItem(
                item,
                answer.text,
                result.status,
                hit,
                answer.options,
                result.faults,
                answer.scores,
                is_cut=answer.finish_reason == "length" and answer.options is None,
            )
        )
    metrics = row.task.score(pairs)
    refused = frozenset(unanswered.keys() & refusals.keys())
    return RowScore(row, metrics.get(row.metric), metrics, tuple(scored), unanswered, refused)


def order_check(row: RowScore, shuffled: RowScore) -> OrderCheck | None:
    """Compares the answers of a multiple-choice row with those to shuffled options.

    None if no answer of either could be parsed.
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
    """The chosen and the correct position for each parsed answer."""
    for one in scored:
        answer = one.item.task.parse(one.text, one.item.inputs).answer
        if answer is not None:
            yield answer.choice, one.item.target.choice


def _option(one: ScoredItem) -> str | None:
    """The text of the chosen option, independent of its position."""
    answer = one.item.task.parse(one.text, one.item.inputs).answer
    return None if answer is None else str(one.item.inputs.choices[answer.choice])
