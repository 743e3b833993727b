"""All that a report says, before it is Markdown, JSON or HTML. Called by `report_command`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from benchmark.report.files import Findings, Run
from benchmark.report.load_tables import judgement_table, load_table
from benchmark.report.published import PublishedResults
from benchmark.report.stamps import Stamp, stamps_on
from benchmark.report.tables import ReportTable, published_tables, score_table

TITLE = "LAMM benchmark report"


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a run's numbers come from: everything that its files say, flattened to words."""

    label: str
    facts: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Report:
    """A report's words and numbers."""

    title: str
    written_at: str
    stamps: tuple[Stamp, ...]
    tables: tuple[ReportTable, ...]
    published_notes: tuple[str, ...]
    provenance: tuple[Provenance, ...]


def make_report(findings: Findings, published: PublishedResults, written_at: str) -> Report:
    """Puts the tables together that the findings have something for."""
    tables: list[ReportTable] = []
    notes: tuple[str, ...] = ()
    if findings.runs:
        tables += [*published_tables(findings, published), score_table(findings.runs)]
        notes = published.notes
    if findings.judgements:
        tables.append(judgement_table(findings.judgements))
    if findings.loads:
        tables.append(load_table(findings.loads))
    return Report(
        title=TITLE,
        written_at=written_at,
        stamps=stamps_on(findings.runs),
        tables=tuple(tables),
        published_notes=notes,
        provenance=tuple(_provenance(run) for run in findings.runs),
    )


def as_json(report: Report) -> dict[str, Any]:
    """The report for programs; scores are unrounded, in their metrics' own units."""
    value: dict[str, Any] = TypeAdapter(Report).dump_python(report, mode="json")
    return value


def _provenance(run: Run) -> Provenance:
    # The scores know whose they are; the folder's other files may be of a later run, broken off.
    told = {**run.facts, **run.scores.model}
    nested = {
        "folder": run.directory.resolve().name,
        "suite": run.scores.suite,
        **told,
        "client": run.scores.client,
        "suite_provenance": run.scores.suite_provenance,
    }
    return Provenance(run.label, dict(_flattened(nested)))


def _flattened(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Pairs of dotted names and words; what is empty or unknown is left out."""
    for key, inner in value.items():
        name = f"{prefix}{key}"
        if isinstance(inner, Mapping):
            yield from _flattened(inner, f"{name}.")
        elif isinstance(inner, list | tuple):
            if inner:
                yield name, ", ".join(map(_words, inner))
        elif inner is not None and inner != "":
            yield name, _words(inner)


def _words(value: object) -> str:
    """A value in words, an absolute path by its last name: a report is passed on."""
    text = str(value)
    return Path(text).name if text.startswith("/") else text
