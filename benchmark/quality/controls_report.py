"""Scores under blind controls as a terminal table, Markdown and JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from rich.table import Table

from benchmark.scoring import RowScore
from benchmark.text import cell, column_table, markdown_table
from lamm_model.tasks import ParseStatus

COLUMNS = (
    "row", "metric", "n", "score", "95 %", "control", "its n", "its score", "its 95 %", "unparsed",
)  # fmt: skip
_LEFT = frozenset({"row", "metric", "control"})
# The only metric in numbers of objects; all others are shares.
_COUNTS = "mae"


def table(rows: Sequence[RowScore]) -> Table | None:
    """One line per row and control; None without controls."""
    lines = list(_lines(rows))
    if not lines:
        return None
    title = "blind controls (a score that does not drop without the picture does not come from it)"
    result = column_table(title, COLUMNS, _LEFT)
    for line in lines:
        result.add_row(*line)
    return result


def notes(rows: Sequence[RowScore]) -> list[str]:
    """Notes on shuffled options and on missing answers."""
    found: list[str] = []
    for row in rows:
        if (check := row.order) is not None:
            same = "" if check.consistency is None else (
                f"same option in both orders in {100 * check.consistency.value:.1f} % of "
                f"{check.consistency.n} questions, "
            )  # fmt: skip
            chosen = ", ".join(f"{chr(ord('A') + i)} {n}" for i, n in enumerate(check.positions))
            bias = f"position bias {100 * check.position_bias:.1f} % (chosen: {chosen})"
            found.append(f"{row.row.name}, shuffled options: {same}{bias}")
        for name, under in row.under.items():
            reasons: dict[str, int] = {}
            for reason in under.unanswered.values():
                reasons[reason] = reasons.get(reason, 0) + 1
            found += [f"{row.row.name}, {name}: {count} without an answer, {reason}"
                      for reason, count in reasons.items()]  # fmt: skip
    return found


def as_markdown(rows: Sequence[RowScore]) -> list[str]:
    """The table and its notes as Markdown lines; empty without controls."""
    lines = list(_lines(rows))
    if not lines:
        return []
    return [
        "",
        "## Blind controls",
        "",
        *markdown_table(COLUMNS, lines, _LEFT),
        "",
        *(f"- {cell(note)}" for note in notes(rows)),
    ]


def as_json(row: RowScore) -> dict[str, Any]:
    """The row's controls by name, unrounded."""
    found: dict[str, Any] = {}
    for name, under in row.under.items():
        score = row.controls.get(name)
        found[name] = {
            "score": score and score.score,
            "interval_95": score and list(score.interval),
            "n": len(under.scored),
            "unparsed": under.share(ParseStatus.UNPARSED),
            "unanswered": dict(under.unanswered),
        }
    return found


def order_as_json(row: RowScore) -> dict[str, Any] | None:
    """The effect of shuffled options; None if they were not asked."""
    check = row.order
    if check is None:
        return None
    same = check.consistency
    return {
        "consistency": same and same.value,
        "interval_95": same and [same.low, same.high],
        "n": same.n if same else 0,
        "position_bias": check.position_bias,
        "positions": list(check.positions),
    }


def _lines(rows: Sequence[RowScore]) -> Iterator[tuple[str, ...]]:
    for row in rows:
        for name, under in row.under.items():
            yield (
                row.row.name,
                row.row.metric,
                *_score(row),
                name,
                *_score(under),
                f"{100 * under.share(ParseStatus.UNPARSED):.1f}" if under.scored else "-",
            )


def _score(row: RowScore) -> tuple[str, str, str]:
    estimate, metric = row.estimate, row.row.metric
    if estimate is None:
        return str(len(row.scored)), "-", "-"
    span = f"{_number(estimate.low, metric)}-{_number(estimate.high, metric)}"
    return str(len(row.scored)), _number(estimate.value, metric), span


def _number(value: float, metric: str) -> str:
    return f"{value:.2f}" if metric == _COUNTS else f"{100 * value:.1f}"
