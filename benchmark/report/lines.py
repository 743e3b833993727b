"""The lines of a cell: scores that read alike under several rules are one line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmark.report.figures import Change, Figure


@dataclass(frozen=True, slots=True)
class Line:
    """A score as it is shown; `rule` has the metric and all protocols that give this score."""

    headline: str
    rule: str
    details: tuple[str, ...]


def lines_of(figures: Sequence[Figure | Change]) -> tuple[Line, ...]:
    """One line for all scores of a metric with the same number, interval and details."""
    protocols: dict[tuple[str, str, tuple[str, ...]], list[str]] = {}
    for figure in figures:
        alike = (figure.headline, figure.metric, figure.details)
        protocols.setdefault(alike, []).append(figure.protocol)
    return tuple(
        Line(headline, ", ".join([metric, *found] if metric else found), details)
        for (headline, metric, details), found in protocols.items()
    )
