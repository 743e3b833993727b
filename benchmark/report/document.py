"""The content of a report, and the report as JSON and Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from benchmark.report.files import Findings, Run
from benchmark.report.lines import Line, lines_of
from benchmark.report.load_tables import judgement_table, load_table
from benchmark.report.published import PublishedResults, Revision
from benchmark.report.stamps import Stamp, run_names, stamps_on
from benchmark.report.tables import Cell, CellKind, ReportTable, published_tables, score_table
from benchmark.report.tuning import Tuning, tuning_table

TITLE = "LAMM benchmark report"
# Characters that Markdown would read as markup or as the end of a cell.
_ACTIVE = re.compile(r"([\\`*_\[\]<>|#])")


@dataclass(frozen=True, slots=True)
class Provenance:
    """Provenance of a run: all facts in its files, flattened to text."""

    label: str
    facts: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Report:
    """The content of a report."""

    title: str
    written_at: str
    stamps: tuple[Stamp, ...]
    tables: tuple[ReportTable, ...]
    published_notes: tuple[str, ...]
    provenance: tuple[Provenance, ...]


def make_report(
    findings: Findings,
    published: PublishedResults,
    written_at: str,
    tuning: Tuning | None = None,
) -> Report:
    """Makes the tables for which there are results."""
    tables: list[ReportTable] = []
    notes: tuple[str, ...] = ()
    tuned = () if tuning is None else tuning.runs
    runs = (*findings.runs, *tuned)
    if runs:
        notes = (*map(_revision, published.revisions), *published.notes)
    if findings.runs:
        tables += published_tables(findings, published)
    if tuning is not None:
        tables.append(tuning_table(tuning, published))
    if findings.runs:
        tables.append(score_table(findings.runs))
    if findings.judgements:
        tables.append(judgement_table(findings.judgements))
    if findings.loads:
        tables.append(load_table(findings.loads))
    return Report(
        title=TITLE,
        written_at=written_at,
        stamps=stamps_on(findings.runs, tuned),
        tables=tuple(tables),
        published_notes=notes,
        provenance=tuple(_provenance(run) for run in runs),
    )


def as_json(report: Report) -> dict[str, Any]:
    """The report as JSON; scores are unrounded, in the unit of their metric."""
    value: dict[str, Any] = TypeAdapter(Report).dump_python(report, mode="json")
    return value


def as_markdown(report: Report) -> str:
    """The report as Markdown, without pictures and plots."""
    lines = [f"# {_plain(report.title)}", "", f"Written {report.written_at}.", ""]
    lines += [line for stamp in report.stamps for line in _stamp(stamp)]
    for table in report.tables:
        lines += _table(table)
    if report.published_notes:
        lines += ["", "## About the published numbers", ""]
        lines += [f"- {_plain(note)}" for note in report.published_notes]
    for run in report.provenance:
        lines += [
            "",
            f"## Provenance: {_plain(run.label)}",
            "",
            "| fact | value |",
            "| --- | --- |",
        ]
        lines += [f"| {_plain(key)} | {_plain(value)} |" for key, value in run.facts.items()]
    return "\n".join(lines).rstrip() + "\n"


def _revision(revision: Revision) -> str:
    return f"{revision.date}: {revision.source}; {revision.change}."


def _provenance(run: Run) -> Provenance:
    # scores.json last: the other files may be from a later run that was interrupted.
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
    """Pairs of dotted names and text; empty values are left out."""
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
    """A value as text; of an absolute path only the last part, because reports are published."""
    text = str(value)
    return Path(text).name if text.startswith("/") else text


def _table(table: ReportTable) -> list[str]:
    lines = ["", f"## {_plain(table.title)}", ""]
    for stamp in table.stamps:
        lines += _stamp(stamp)
    lines += [_plain(table.caption), ""]
    lines.append("| " + " | ".join(_plain(column) for column in table.columns) + " |")
    rule = [" --- " if i < table.heads else " ---: " for i in range(len(table.columns))]
    lines.append("|" + "|".join(rule) + "|")
    lines += ["| " + " | ".join(_cell(cell) for cell in row) + " |" for row in table.rows]
    return lines


def _stamp(stamp: Stamp) -> list[str]:
    return [f"> **{_plain(run_names(stamp.runs))}: {_plain(stamp.text)}**", ""]


def _cell(cell: Cell) -> str:
    if cell.figures:
        return "<br>".join(_line(line) for line in lines_of(cell.figures))
    text = _plain(cell.text)
    if cell.kind is CellKind.BEST:
        text = f"**{text}**"
    return f"{text} ({_plain(cell.note)})" if cell.note else text


def _line(line: Line) -> str:
    details = "; ".join([line.rule, *line.details])
    return f"**{_plain(line.headline)}** {_plain(details)}"


def _plain(text: str) -> str:
    """Escapes text for Markdown, on one line."""
    return _ACTIVE.sub(r"\\\1", " ".join(text.split()))
