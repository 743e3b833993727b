"""What a judgement looks like: a terminal table, Markdown and JSON. Called by `judge_command`."""

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
    "The published GPT metric had gpt-3.5-turbo compare LAMM with LLaVA; another judge or another "
    "pair gives another quantity."
)


def table(judgement: Judgement) -> Table:
    """One line a row of the suite, and one for all."""
    first, second = judgement.pairs.systems
    title = f"{first} against {second}, judged by {judgement.judge}"
    result = column_table(title, _COLUMNS, ("row",))
    for cells in _lines(judgement):
        result.add_row(*cells)
    return result


def notes(judgement: Judgement, broken_lines: int) -> list[str]:
    """Everything that keeps the table from telling the whole story, a sentence each."""
    total = tally(judgement.judged, judgement.looks_twice)
    lines = [_PUBLISHED]
    if judgement.looks_twice:
        lines += _order_notes(total)
    else:
        lines.append("This judge gives the same verdict in either order; each pair was shown once.")
    if total.identical:
        lines.append(f"{total.identical} ties are pairs of identical answers; no judge saw them.")
    failed = [one for one in judgement.judged if one.failure]
    if failed:
        lines.append(f"{len(failed)} pairs were not judged: {failed[0].failure}")
    lines += [f"{n} items are in no pair: {why}." for why, n in judgement.pairs.left_out.items()]
    if broken_lines:
        lines.append(f"{broken_lines} stored transcripts were cut short and asked again.")
    return lines


def as_json(judgement: Judgement, broken_lines: int = 0) -> dict[str, Any]:
    """Everything counted, for programs; `lamm bench report` reads it."""
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
            f"Of its decided verdicts {_percent(total.first_preferred)} preferred the answer shown "
            "first; a judge without a leaning would do so in 50 %."
        )
    if total.agreement is not None:
        yield f"Its two verdicts on a pair agree in {100 * total.agreement:.1f} % of pairs."
    if total.upstream is not None:
        yield (
            f"Upstream's counting (the first system always shown first, ties left out): "
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
