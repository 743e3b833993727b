"""Scores under protocols as a terminal table, Markdown and JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.table import Table

from benchmark.quality.protocol_scores import ProtocolRow
from benchmark.report.figures import number
from benchmark.text import cell, column_table, markdown_table

COLUMNS = ("row", "protocol", "n", "metric", "score", "95 %", "chance", "unparsed")
_LEFT = frozenset({"row", "protocol", "metric"})
NAMED_FAULTS = 5


def table(rows: Sequence[ProtocolRow]) -> Table:
    """One line per row and protocol, with the protocol's first metric."""
    title = "protocols (scores under different protocols are not comparable)"
    result = column_table(title, COLUMNS, _LEFT)
    for row in rows:
        result.add_row(*_cells(row))
    return result


def notes(rows: Sequence[ProtocolRow]) -> list[str]:
    """Notes on missing scores and on faults of the scoring rules."""
    lines = []
    for row in rows:
        if row.reason:
            lines.append(f"{row.row}, {row.protocol}: no score, {row.reason}")
        elif row.score is not None and row.score.faults:
            faults = [f"{fault} ({times} answers)" for fault, times in row.score.faults.items()]
            more = len(faults) - NAMED_FAULTS
            tail = f"; and {more} more" if more > 0 else ""
            lines.append(f"{row.row}, {row.protocol}: {'; '.join(faults[:NAMED_FAULTS])}{tail}")
    return lines


def as_markdown(rows: Sequence[ProtocolRow]) -> list[str]:
    """The table and its notes as Markdown lines; empty without rows."""
    if not rows:
        return []
    return [
        "",
        "## Protocols",
        "",
        *markdown_table(COLUMNS, map(_cells, rows), _LEFT),
        "",
        *(f"- {cell(note)}" for note in notes(rows)),
    ]


def as_json(rows: Sequence[ProtocolRow]) -> list[dict[str, Any]]:
    """All metrics of all rows, unrounded; `score` is null if there is a `reason`."""
    return [_entry(row) for row in rows]


def _entry(row: ProtocolRow) -> dict[str, Any]:
    entry: dict[str, Any] = {"row": row.row, "task": row.task, "protocol": row.protocol}
    score = row.score
    if score is None:
        return entry | {"n": 0, "score": None, "reason": row.reason}
    first = score.metrics.get(score.primary)
    return entry | {
        "n": score.n,
        "metric": score.primary,
        "score": first and first.value,
        "interval_95": first and [first.low, first.high],
        "chance": score.chance,
        "unparsed": score.unparsed,
        "metrics": {name: asdict(metric) for name, metric in score.metrics.items()},
        "faults": dict(score.faults),
    }


def _cells(row: ProtocolRow) -> tuple[str, ...]:
    score = row.score
    if score is None:
        return row.row, row.protocol, "0", "-", "-", "-", "-", "-"
    first, name = score.metrics.get(score.primary), score.primary
    return (
        row.row,
        row.protocol,
        str(score.n),
        name,
        "-" if first is None else number(first.value, name),
        "-" if first is None else f"{number(first.low, name)}-{number(first.high, name)}",
        "-" if score.chance is None else number(score.chance, name),
        f"{100 * score.unparsed:.1f}",
    )
