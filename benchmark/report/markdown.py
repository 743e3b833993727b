"""A report as Markdown. Called by `report_command`."""

from __future__ import annotations

import re
from collections.abc import Sequence

from benchmark.report.content import Report
from benchmark.report.figures import Figure
from benchmark.report.stamps import Stamp
from benchmark.report.tables import Cell, CellKind, ReportTable

# What would be read as markup, or would end a cell.
_ACTIVE = re.compile(r"([\\`*_\[\]<>|#])")


def as_markdown(report: Report) -> str:
    """The whole report but for pictures and plots, which Markdown cannot hold by itself."""
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
    return [f"> **{_plain(', '.join(stamp.runs))}: {_plain(stamp.text)}**", ""]


def _cell(cell: Cell) -> str:
    if cell.figures:
        return "<br>".join(_figure(figure) for figure in cell.figures)
    text = _plain(cell.text)
    if cell.kind is CellKind.BEST:
        text = f"**{text}**"
    return f"{text} ({_plain(cell.note)})" if cell.note else text


def _figure(figure: Figure) -> str:
    details: Sequence[str] = [figure.rule, *figure.details]
    return f"**{_plain(figure.headline)}** {_plain('; '.join(details))}"


def _plain(text: str) -> str:
    """Text that Markdown shows as it is, on one line."""
    return _ACTIVE.sub(r"\\\1", " ".join(text.split()))
