"""What a reader must know before any number of a run: stamps that stand on every table.

Called by `report_tables`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmark.report.files import Run, StoredScores
from benchmark.suite import TAKEN

# Suites of this project's own pictures; the second one bears the published files' names.
OWN_SUITES = frozenset({"mini", "mini-benchmark"})
_FLAG = "comparable_with_published_results"
_LIKELIHOOD = "likelihood"


@dataclass(frozen=True, slots=True)
class Stamp:
    """A warning about some runs; `grave` ones forbid the comparison that a table invites."""

    runs: tuple[str, ...]
    text: str
    grave: bool


def stamps_on(runs: Sequence[Run]) -> tuple[Stamp, ...]:
    """All runs' stamps, the gravest first; runs of which the same is true share one."""
    found = [stamp for run in runs for stamp in stamps_of(run)]
    texts = dict.fromkeys((stamp.text, stamp.grave) for stamp in found)
    joined = (
        Stamp(tuple(run for one in found if one.text == text for run in one.runs), text, grave)
        for text, grave in texts
    )
    return tuple(sorted(joined, key=lambda stamp: not stamp.grave))


def stamps_of(run: Run) -> tuple[Stamp, ...]:
    """A run's stamps, the gravest first."""
    found = []
    if not comparable(run.scores):
        found.append(
            Stamp(
                (run.label,),
                f"NOT COMPARABLE with the published numbers: the suite '{run.scores.suite}' has "
                "other pictures, clouds and questions than the published benchmark, whatever its "
                "rows are called.",
                grave=True,
            )
        )
    found += [Stamp((run.label,), text, grave=False) for text in _parts(run.scores)]
    if run.scores.model.get("mode") == _LIKELIHOOD:
        text = (
            "Choices and closed sets were answered by the likeliest option, of which none is ever "
            "unparsed: other runs' answers, and the published ones, were read from words."
        )
        found.append(Stamp((run.label,), text, grave=False))
    if not run.scores.complete:
        missing = sum(len(row.unanswered) for row in run.scores.rows)
        broken = sum(len(row.problems) for row in run.scores.rows)
        text = f"Incomplete: {missing} questions have no answer, {broken} records are broken."
        found.append(Stamp((run.label,), text, grave=False))
    return tuple(found)


def _parts(scores: StoredScores) -> list[str]:
    """What of the suite was left out: by whoever wrote it, or by whoever asked it."""
    provenance = scores.suite_provenance
    found = []
    if (limit := provenance.get("limit")) is not None:
        seed = provenance.get("seed")
        how = "the first ones" if seed is None else f"drawn by seed {seed}"
        found.append(f"at most {limit} records a set, {how}")
    taken = provenance.get(TAKEN)
    taken = taken if isinstance(taken, Mapping) else {}
    if (limit := taken.get("limit")) is not None:
        found.append(f"at most {limit} records a row, the first ones")
    for part in dict.fromkeys((provenance.get("part"), taken.get("part"))):
        if part not in {None, "all"}:
            found.append(f"its rows of {part} alone")
    return [f"A part of the suite: {text}." for text in found]


def comparable(scores: StoredScores) -> bool:
    """Whether a run's suite may be what was published: not ours, and not flagged as another."""
    return scores.suite not in OWN_SUITES and not _flagged(scores.suite_provenance)


def _flagged(value: Any) -> bool:
    """Whether the flag is false anywhere: a suite carries its source's provenance in its own."""
    if isinstance(value, Mapping):
        return value.get(_FLAG) is False or _any(value.values())
    return _any(value) if isinstance(value, list) else False


def _any(values: Iterable[Any]) -> bool:
    return any(_flagged(value) for value in values)
