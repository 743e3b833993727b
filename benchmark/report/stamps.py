"""Warnings about runs, shown above the tables of a report."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmark.report.files import Run, StoredImport, StoredScores
from benchmark.suite import TAKEN

# Key of the source's provenance that `lamm data finetune` writes.
HELD_OUT = "held_out"
# Suites with this project's own pictures; the second one uses the published file names.
OWN_SUITES = frozenset({"mini", "mini-benchmark"})
_FLAG = "comparable_with_published_results"
_LIKELIHOODS = {
    "likelihood": "by the most likely option",
    "chef": "by the option with the highest mean log-likelihood, with ChEF's prompts",
}
_LIKELIHOOD = "likelihood"
_PART, _ROWS_ONLY = "Part of the suite:", "only its rows of"


@dataclass(frozen=True, slots=True)
class Stamp:
    """A warning about some runs; `grave` ones rule out the comparison in a table."""

    runs: tuple[str, ...]
    text: str
    grave: bool


def run_names(labels: Iterable[str]) -> str:
    """Labels in one text; those of the form `GROUP: NAME` share the name of their group."""
    groups: dict[str, list[str]] = {}
    for label in labels:
        group, colon, name = label.partition(": ")
        groups.setdefault(group if colon else label, []).append(name or label)
    told = (
        f"{group}: {', '.join(names)}" if names != [group] else group
        for group, names in groups.items()
    )
    return "; ".join(told) if any(names != [g] for g, names in groups.items()) else ", ".join(told)


def stamps_on(runs: Sequence[Run], some_rows: Sequence[Run] = ()) -> tuple[Stamp, ...]:
    """The stamps of all runs, grave ones first; equal stamps are merged.

    `some_rows` are further runs that are meant for some rows only, which is not said of them.
    """
    found = [stamp for run in runs for stamp in stamps_of(run)]
    found += [
        stamp
        for run in some_rows
        for stamp in stamps_of(run)
        if not stamp.text.startswith(f"{_PART} {_ROWS_ONLY}")
    ]
    texts = dict.fromkeys((stamp.text, stamp.grave) for stamp in found)
    joined = (
        Stamp(tuple(run for one in found if one.text == text for run in one.runs), text, grave)
        for text, grave in texts
    )
    return tuple(sorted(joined, key=lambda stamp: not stamp.grave))


def stamps_of(run: Run) -> tuple[Stamp, ...]:
    """The stamps of a run, grave ones first."""
    found = []
    if not comparable(run.scores):
        found.append(
            Stamp(
                (run.label,),
                "NOT COMPARABLE with the published numbers: the pictures, clouds and questions of "
                f"suite '{run.scores.suite}' are not those of the published benchmark, even where "
                "rows have the same names.",
                grave=True,
            )
        )
    found += [Stamp((run.label,), text, grave=False) for text in _parts(run.scores)]
    if (how := _LIKELIHOODS.get(str(run.scores.model.get("mode")))) is not None:
        text = (
            f"Multiple-choice and closed-set questions were answered {how}, so no answer is "
            "unparsed; other runs and the published results parse generated text."
        )
        found.append(Stamp((run.label,), text, grave=False))
    if count := run.scores.model.get("examples"):
        text = f"Ranked questions were asked with {count} examples of their own row before them."
        found.append(Stamp((run.label,), text, grave=False))
    if run.scores.answer_files is not None:
        text = _from_files(run.scores.answer_files)
        found.append(Stamp((run.label,), text, grave=False))
    if not run.scores.complete:
        missing = sum(len(row.unanswered) for row in run.scores.rows)
        broken = sum(len(row.problems) for row in run.scores.rows)
        text = f"Incomplete: {missing} questions have no answer, {broken} records are invalid."
        found.append(Stamp((run.label,), text, grave=False))
    return tuple(found)


def _from_files(answers: StoredImport) -> str:
    """Says that the answers come from files, and how many entries were not used."""
    counts = {
        "ids without a record": sum(len(one.unknown) for one in answers.files),
        "repeated ids": sum(len(one.repeated) for one in answers.files),
        "entries that are no answers": sum(len(one.invalid) for one in answers.files),
    }
    told = [f"{count} {what}" for what, count in counts.items() if count]
    told += [f"{one.row}: {note}" for one in answers.files for note in one.notes]
    words = "Answers read from files, joined by id; prompts and sampling are those of their author."
    return f"{words} {'; '.join(told)}." if told else words


def _parts(scores: StoredScores) -> list[str]:
    """The parts of the suite that were left out, when it was written or asked."""
    provenance = scores.suite_provenance
    found = []
    if (limit := provenance.get("limit")) is not None:
        seed = provenance.get("seed")
        how = "the first ones" if seed is None else f"sampled with seed {seed}"
        found.append(f"at most {limit} records per set, {how}")
    taken = provenance.get(TAKEN)
    taken = taken if isinstance(taken, Mapping) else {}
    if (limit := taken.get("limit")) is not None:
        found.append(f"at most {limit} records per row, the first ones")
    source = provenance.get("source")
    if isinstance(source, Mapping) and HELD_OUT in source:
        found.append("only records held out of fine-tuning")
    for part in dict.fromkeys((provenance.get("part"), taken.get("part"))):
        if part not in {None, "all"}:
            found.append(f"{_ROWS_ONLY} {part}")
    return [f"{_PART} {text}." for text in found]


def comparable(scores: StoredScores) -> bool:
    """Whether the suite may be the published one: not our own, and not flagged as different."""
    return scores.suite not in OWN_SUITES and not _flagged(scores.suite_provenance)


def _flagged(value: Any) -> bool:
    """Whether the flag is false at any level: provenance of sources is nested."""
    if isinstance(value, Mapping):
        return value.get(_FLAG) is False or _any(value.values())
    return _any(value) if isinstance(value, list) else False


def _any(values: Iterable[Any]) -> bool:
    return any(_flagged(value) for value in values)
