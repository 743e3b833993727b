"""Report tables of scores: the published ones with our columns, and our own.

A row that a run did not measure has the cell "not measured".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from benchmark.report.figures import Change, Figure, figures_of
from benchmark.report.files import Findings, Run, StoredJudgement
from benchmark.report.published import (
    Column,
    PublishedResult,
    PublishedResults,
    PublishedTable,
)
from benchmark.report.stamps import Stamp, stamps_on

NOT_MEASURED = "not measured"
NOT_PUBLISHED = "n/a"
GPT_METRIC = "gpt_metric"
HEADS = ("task", "data set", "published metric")


class CellKind(StrEnum):
    """The kind of a cell, for its style and for programs."""

    HEAD = "head"
    PUBLISHED = "published"
    BEST = "best"
    FAILED = "failed"
    ABSENT = "absent"
    OURS = "ours"
    CHANGE = "change"
    MISSING = "missing"
    PLAIN = "plain"


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell with a text or with `figures`, our scores; `note` is small print."""

    text: str
    kind: CellKind = CellKind.PLAIN
    note: str = ""
    figures: tuple[Figure | Change, ...] = ()


@dataclass(frozen=True, slots=True)
class ReportTable:
    """A table; the first `heads` cells of each row are row headings."""

    id: str
    title: str
    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    heads: int
    stamps: tuple[Stamp, ...] = ()


def published_tables(findings: Findings, published: PublishedResults) -> tuple[ReportTable, ...]:
    """The tables of the README with a column for each of our runs."""
    # Grave stamps are on each table; the others are at the top and on our own tables.
    stamps = tuple(stamp for stamp in stamps_on(findings.runs) if stamp.grave)
    return tuple(_published(table, findings, published, stamps) for table in published.tables)


def score_table(runs: Sequence[Run]) -> ReportTable:
    """All scores of all rows, one column per run."""
    names: dict[str, str] = {}
    for run in runs:
        names |= {row.name: row.task for row in run.scores.rows if row.name not in names}
        names |= {row.row: row.task for row in run.scores.protocols if row.row not in names}
    rows = tuple(
        (
            Cell(name, CellKind.HEAD),
            Cell(task, CellKind.HEAD),
            *(our_cell(figures_of(run, [name])) for run in runs),
        )
        for name, task in names.items()
    )
    return ReportTable(
        id="scores",
        title="All scores",
        caption=(
            "Shares in percent, errors (mae, rmse) in objects; 95 % intervals in brackets. Scores "
            "under different protocols are different quantities and not comparable."
        ),
        columns=("row", "task", *(run.label for run in runs)),
        rows=rows,
        heads=2,
        stamps=stamps_on(runs),
    )


def _published(
    table: PublishedTable,
    findings: Findings,
    published: PublishedResults,
    stamps: tuple[Stamp, ...],
) -> ReportTable:
    columns = published.columns(table)
    rows = tuple(
        (
            Cell(result.task, CellKind.HEAD),
            Cell(result.dataset, CellKind.HEAD),
            metric_cell(result),
            *(value_cell(result, column, columns) for column in columns),
            *(_measured(run, result, findings.judgements) for run in findings.runs),
        )
        for result in published.of(table)
    )
    grave = {run for stamp in stamps for run in stamp.runs}
    ours = tuple(our_title(run.label, run.label in grave) for run in findings.runs)
    return ReportTable(
        id=table.id,
        title=table.title,
        caption=f"Published: README of LAMM, {' and '.join(published.dates)}, in percent except "
        "MAE; the best of the compared models is marked. Ours: 95 % intervals in brackets, with "
        "the rule of each score.",
        columns=(*HEADS, *(column.title for column in columns), *ours),
        rows=rows,
        heads=3,
        stamps=stamps,
    )


def our_title(label: str, grave: bool) -> str:
    """The head of a column of ours."""
    return f"{label} (ours, NOT COMPARABLE)" if grave else f"{label} (ours)"


def metric_cell(result: PublishedResult) -> Cell:
    """The published metric, its direction, and what its scorer computes."""
    arrow = "higher is better" if result.direction == "up" else "lower is better"
    computed = f"; its scorer computes: {result.computed}" if result.computed else ""
    return Cell(result.metric, CellKind.HEAD, note=f"{arrow}{computed}")


def value_cell(result: PublishedResult, column: Column, columns: Sequence[Column]) -> Cell:
    """A published value; the best of `columns` is marked if they compare several systems."""
    value = result.value(column)
    if value is None:
        return Cell(NOT_PUBLISHED, CellKind.ABSENT)
    if value == "failed":
        return Cell("failed", CellKind.FAILED)
    compared = [other for other in columns if other.system != "sota"]
    several = len({other.system for other in compared}) > 2
    best = several and value == result.best(compared) and column.system != "sota"
    return Cell(f"{value:g}", CellKind.BEST if best else CellKind.PUBLISHED)


def _measured(run: Run, result: PublishedResult, judged: Sequence[StoredJudgement]) -> Cell:
    if result.id == GPT_METRIC:
        return our_cell(tuple(f for one in judged for f in _judged(run.label, one)))
    return our_cell(figures_of(run, result.rows))


def our_cell(figures: tuple[Figure | Change, ...]) -> Cell:
    """A cell with our scores, or one that says that there are none."""
    if not figures:
        return Cell(NOT_MEASURED, CellKind.MISSING)
    return Cell("", CellKind.OURS, figures=figures)


def _judged(label: str, judged: StoredJudgement) -> list[Figure]:
    """Win rates of a run against the other system of a judgement."""
    if label not in judged.systems:
        return []
    mine = judged.systems.index(label)
    rival = judged.systems[1 - mine]
    name = f"win rate against {rival}"
    interval = judged.interval_95
    if mine == 1 and interval is not None:
        interval = (1 - interval[1], 1 - interval[0])
    score = judged.win_rate
    both = Figure(
        protocol=f"judge {judged.judge}",
        metric=name,
        score=score if score is None or mine == 0 else 1 - score,
        interval=interval,
        n=judged.n,
        unparsed=judged.unparsed,
        chance=0.5,
        reason="no decided items",
    )
    if mine == 1:
        return [both]
    # Upstream shows its own system first and ignores ties, so the rate is not symmetric.
    once = Figure(
        protocol=f"upstream's counting, judge {judged.judge}",
        metric=name,
        score=judged.upstream_win_rate,
        n=judged.upstream_n,
        chance=0.5,
        reason="the judge ignores the order, or decided no item",
    )
    return [once, both]
