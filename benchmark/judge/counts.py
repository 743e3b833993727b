"""Counts and win rates of a judgement, and the position bias of the judge. Pure functions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmark.judge.backends import Verdict
from benchmark.judge.pairwise import JudgedPair, Outcome
from lamm_model.tasks import Estimate
from lamm_model.tasks.metrics import bootstrap, proportion

_POINTS: Mapping[Outcome, float] = {
    Outcome.WIN: 1.0,
    Outcome.TIE: 0.5,
    Outcome.DISAGREED: 0.5,
    Outcome.LOSS: 0.0,
}


@dataclass(frozen=True, slots=True)
class Tally:
    """A judgement in numbers, for the first system; None if there is nothing to count.

    Attributes:
        outcomes: number of items by outcome; `disagreed` is not included in `tie`.
        identical: ties because both answers are the same.
        win_rate: ties and disagreements count half; bootstrap interval over items.
        upstream: win rate as upstream counts it: the first system's answer shown first, once; ties
            and unparsed replies are left out.
        first_preferred: share of decided verdicts for the answer shown first; 0.5 without bias.
        agreement: share of parsed items with the same verdict in both orders.
        unparsed: share of replies without a verdict.
    """

    outcomes: Mapping[Outcome, int]
    identical: int
    win_rate: Estimate | None
    upstream: Estimate | None
    first_preferred: Estimate | None
    agreement: float | None
    unparsed: float


def tally(judged: Sequence[JudgedPair], looks_twice: bool) -> Tally:
    """The tally of a judgement, or of one of its rows."""
    outcomes = Counter(one.outcome for one in judged)
    points = [_POINTS[one.outcome] for one in judged if one.outcome in _POINTS]
    looks = [verdict for one in judged if not one.pair.identical for verdict in one.verdicts]
    read = [one for one in judged if one.outcome in _POINTS and not one.pair.identical]
    agreed = sum(one.outcome is not Outcome.DISAGREED for one in read)
    shown = [one.verdicts[0] for one in judged if one.verdicts and not one.pair.identical]
    return Tally(
        outcomes={outcome: outcomes.get(outcome, 0) for outcome in Outcome},
        identical=sum(one.pair.identical for one in judged),
        win_rate=bootstrap(points, _mean) if points else None,
        upstream=_first_share(shown) if looks_twice else None,
        first_preferred=_first_share(looks) if looks_twice else None,
        agreement=agreed / len(read) if looks_twice and read else None,
        unparsed=looks.count(Verdict.UNPARSED) / len(looks) if looks else 0.0,
    )


def by_row(judged: Sequence[JudgedPair], looks_twice: bool) -> dict[str, Tally]:
    """The tally of each row."""
    rows: dict[str, list[JudgedPair]] = {}
    for one in judged:
        rows.setdefault(one.pair.row, []).append(one)
    return {name: tally(found, looks_twice) for name, found in rows.items()}


def _first_share(verdicts: Sequence[Verdict]) -> Estimate | None:
    """Share of FIRST among the decided verdicts, with Wilson's interval."""
    first, second = verdicts.count(Verdict.FIRST), verdicts.count(Verdict.SECOND)
    return proportion(first, first + second) if first + second else None


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
