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
# Further metrics whose chance level is that of the primary one.
_OF_CHANCE = frozenset({"ppl_accuracy"})


def table(rows: Sequence[ProtocolRow]) -> Table:
    """One line per row, protocol and shown metric."""
    title = "protocols (scores under different protocols are not comparable)"
    result = column_table(title, COLUMNS, _LEFT)
    for cells in _lines(rows):
        result.add_row(*cells)
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
        *markdown_table(COLUMNS, _lines(rows), _LEFT),
        "",
        *(f"- {cell(note)}" for note in notes(rows)),
    ]


def as_json(rows: Sequence[ProtocolRow]) -> list[dict[str, Any]]:
    """An entry per row, protocol and shown metric, unrounded; the first has all `metrics`.

    `score` is null if there is a `reason`.
    """
    return [_entry(row, name) for row in rows for name in _shown(row)]


def _shown(row: ProtocolRow) -> list[str]:
    """The primary metric, and further ones that have a value."""
    score = row.score
    if score is None:
        return [""]
    return [score.primary, *(name for name in score.shown if name in score.metrics)]


def _entry(row: ProtocolRow, name: str) -> dict[str, Any]:
    entry: dict[str, Any] = {"row": row.row, "task": row.task, "protocol": row.protocol}
    score = row.score
    if score is None:
        return entry | {"n": 0, "score": None, "reason": row.reason}
    shown = score.metrics.get(name)
    first = name == score.primary
    entry |= {
        "n": score.n if first or shown is None else shown.n,
        "metric": name,
        "score": shown and shown.value,
        "interval_95": shown and [shown.low, shown.high],
        "chance": score.chance if first or name in _OF_CHANCE else None,
        "unparsed": score.unparsed,
    }
    if not first:
        return entry
    metrics = {key: asdict(metric) for key, metric in score.metrics.items()}
    return entry | {"metrics": metrics, "faults": dict(score.faults)}


def _lines(rows: Sequence[ProtocolRow]) -> list[tuple[str, ...]]:
    return [_cells(row, name) for row in rows for name in _shown(row)]


def _cells(row: ProtocolRow, name: str) -> tuple[str, ...]:
    score = row.score
    if score is None:
        return row.row, row.protocol, "0", "-", "-", "-", "-", "-"
    shown = score.metrics.get(name)
    first = name == score.primary
    chance = score.chance if first or name in _OF_CHANCE else None
    return (
        row.row,
        row.protocol,
        str(score.n if first or shown is None else shown.n),
        name,
        "-" if shown is None else number(shown.value, name),
        "-" if shown is None else f"{number(shown.low, name)}-{number(shown.high, name)}",
        "-" if chance is None else number(chance, name),
        f"{100 * score.unparsed:.1f}",
    )
