"""A judgement as a terminal table, Markdown and JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.table import Table

from benchmark.answers import write_whole
from benchmark.judge.counts import Tally, by_row, tally
from benchmark.judge.pairwise import Judgement, Outcome
from benchmark.report.files import JUDGE_FILE
from benchmark.text import cell, column_table, markdown_table
from lamm_model.tasks import Estimate

ALL_ROWS = "all rows"
_COLUMNS = ("row", "n", "win", "tie", "disagreed", "loss", "unparsed", "win rate, %", "95 %")
_PUBLISHED = (
    "The published GPT metric compares LAMM with LLaVA, judged by gpt-3.5-turbo; results with "
    "another judge or another pair are not comparable."
)


def table(judgement: Judgement) -> Table:
    """One line per row of the suite, and one for all rows."""
    first, second = judgement.pairs.systems
    title = f"{first} against {second}, judged by {judgement.judge}"
    result = column_table(title, _COLUMNS, ("row",))
    for cells in _lines(judgement):
        result.add_row(*cells)
    return result


def notes(judgement: Judgement, broken_lines: int) -> list[str]:
    """Notes on the judge's position bias and on items without a verdict."""
    total = tally(judgement.judged, judgement.looks_twice)
    lines = [_PUBLISHED]
    if judgement.looks_twice:
        lines += _order_notes(total)
    else:
        lines.append("This judge ignores the order of the answers; each pair was shown once.")
    if total.identical:
        lines.append(f"{total.identical} ties are identical answers, not shown to the judge.")
    failed = [one for one in judgement.judged if one.failure]
    if failed:
        lines.append(f"{len(failed)} pairs were not judged: {failed[0].failure}")
    lines += [f"{n} items have no pair: {why}." for why, n in judgement.pairs.left_out.items()]
    if broken_lines:
        lines.append(f"{broken_lines} stored transcripts were truncated and asked again.")
    return lines


def as_json(judgement: Judgement, broken_lines: int = 0) -> dict[str, Any]:
    """All counts as JSON, which `lamm bench report` reads."""
    total = tally(judgement.judged, judgement.looks_twice)
    return {
        "judge": judgement.judge,
        "systems": list(judgement.pairs.systems),
        "left_out": dict(judgement.pairs.left_out),
        **_entry(total),
        "rows": {
            name: _entry(one)
            for name, one in by_row(judgement.judged, judgement.looks_twice).items()
        },
        "notes": notes(judgement, broken_lines),
    }


def write_reports(judgement: Judgement, out: Path, broken_lines: int = 0) -> list[Path]:
    """Writes `judge.json` and `judge.md` to `out`; returns their paths."""
    first, second = judgement.pairs.systems
    lines = [
        f"# {cell(first)} against {cell(second)}",
        "",
        f"Judged by {cell(judgement.judge)}. Wins are {cell(first)}'s.",
        "",
        *markdown_table(_COLUMNS, _lines(judgement), ("row",)),
        "",
        *(f"- {cell(note)}" for note in notes(judgement, broken_lines)),
    ]
    texts = {
        JUDGE_FILE: json.dumps(as_json(judgement, broken_lines), indent=2) + "\n",
        "judge.md": "\n".join(lines) + "\n",
    }
    for name, text in texts.items():
        write_whole(out / name, text)
    return [out / name for name in texts]


def _order_notes(total: Tally) -> Iterator[str]:
    if total.first_preferred is not None:
        yield (
            f"{_percent(total.first_preferred)} of the decided verdicts prefer the answer shown "
            "first (50 % is unbiased)."
        )
    if total.agreement is not None:
        yield f"The verdicts in both orders agree for {100 * total.agreement:.1f} % of the pairs."
    if total.upstream is not None:
        yield (
            f"Win rate as upstream counts it (first system always shown first, ties left out): "
            f"{_percent(total.upstream)}, n {total.upstream.n}."
        )


def _lines(judgement: Judgement) -> Iterator[tuple[str, ...]]:
    rows = by_row(judgement.judged, judgement.looks_twice)
    for name, one in rows.items():
        yield _cells(name, one)
    if len(rows) != 1:
        yield _cells(ALL_ROWS, tally(judgement.judged, judgement.looks_twice))


def _cells(name: str, one: Tally) -> tuple[str, ...]:
    kinds = (Outcome.WIN, Outcome.TIE, Outcome.DISAGREED, Outcome.LOSS, Outcome.UNPARSED)
    rate = one.win_rate
    return (
        name,
        str(sum(one.outcomes.values())),
        *(str(one.outcomes[kind]) for kind in kinds),
        "-" if rate is None else f"{100 * rate.value:.1f}",
        "-" if rate is None else f"{100 * rate.low:.1f}-{100 * rate.high:.1f}",
    )


def _entry(one: Tally) -> dict[str, Any]:
    rate, upstream, first = one.win_rate, one.upstream, one.first_preferred
    return {
        "n": sum(one.outcomes.values()),
        "counts": {str(outcome): count for outcome, count in one.outcomes.items()},
        "identical": one.identical,
        "win_rate": rate and rate.value,
        "interval_95": rate and [rate.low, rate.high],
        "upstream_win_rate": upstream and upstream.value,
        "upstream_n": upstream.n if upstream else 0,
        "first_shown_preferred": first and first.value,
        "first_shown": first and asdict(first),
        "agreement": one.agreement,
        "unparsed": one.unparsed,
    }


def _percent(estimate: Estimate) -> str:
    low, high = 100 * estimate.low, 100 * estimate.high
    return f"{100 * estimate.value:.1f} % [{low:.1f}, {high:.1f}]"
