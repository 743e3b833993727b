"""What a quality run looks like: a terminal table, Markdown, JSON and a one-file HTML gallery."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.table import Table

from benchmark import protocol_report
from benchmark.answers import write_whole
from benchmark.content import IMAGE_TYPES
from benchmark.protocol_scores import ProtocolRow
from benchmark.quality import QualityRun
from benchmark.scoring import RowScore, ScoredItem
from lamm_model.tasks import Estimate, ParseStatus

COLUMNS = ("row", "n", "metric", "score", "95 %", "chance", "target", "unparsed")
GALLERY_SIZE = 8
NAMED_PROBLEMS = 5


def table(run: QualityRun) -> Table:
    """The scores for a terminal."""
    result = Table(title=f"{run.suite.name}: {run.identity.model} at {run.identity.url}")
    for index, column in enumerate(COLUMNS):
        result.add_column(column, justify="left" if index in {0, 2} else "right", no_wrap=True)
    for row in run.rows:
        style = {True: "green", False: "red", None: None}[row.reaches_target]
        result.add_row(*_cells(row), style=style)
    return result


def notes(run: QualityRun) -> list[str]:
    """Everything that keeps the table from telling the whole story, a sentence each."""
    lines: list[str] = []
    for row in run.rows:
        lines += _named(f"{row.row.name}: broken records", row.problems)
        reasons: dict[str, list[str]] = {}
        for id_, reason in row.unanswered.items():
            reasons.setdefault(reason, []).append(id_)
        for reason, ids in reasons.items():
            lines += _named(f"{row.row.name}: without an answer, {reason}", ids)
        if not row.row.items:
            lines.append(f"{row.row.name}: no record to ask")
    if run.broken_lines:
        lines.append(f"{run.broken_lines} stored answers were cut short and asked again")
    return lines


def write_reports(
    run: QualityRun, out: Path, protocol_rows: Sequence[ProtocolRow] = ()
) -> list[Path]:
    """Writes `scores.json`, `scores.md` and `gallery.html` to `out`; returns their paths."""
    texts = {
        "scores.json": json.dumps(as_json(run, protocol_rows), indent=2) + "\n",
        "scores.md": as_markdown(run, protocol_rows),
        "gallery.html": as_gallery(run),
    }
    for name, text in texts.items():
        write_whole(out / name, text)
    return [out / name for name in texts]


def as_json(run: QualityRun, protocol_rows: Sequence[ProtocolRow] = ()) -> dict[str, Any]:
    """Scores, counts and provenance, for programs."""
    return {
        "suite": run.suite.name,
        "suite_provenance": run.suite.provenance,
        "model": asdict(run.identity),
        "complete": run.complete,
        "rows": [
            {
                "name": row.row.name,
                "task": row.row.task.name,
                "metric": row.row.metric,
                "n": len(row.scored),
                "score": row.estimate and row.estimate.value,
                "interval_95": row.estimate and [row.estimate.low, row.estimate.high],
                "chance": row.row.chance,
                "target": row.row.target,
                "reaches_target": row.reaches_target,
                "unparsed": row.share(ParseStatus.UNPARSED),
                "partial": row.share(ParseStatus.PARTIAL),
                "metrics": {name: asdict(value) for name, value in row.metrics.items()},
                "unanswered": dict(row.unanswered),
                "problems": list(row.problems),
            }
            for row in run.rows
        ],
        "protocols": protocol_report.as_json(protocol_rows),
    }


def as_markdown(run: QualityRun, protocol_rows: Sequence[ProtocolRow] = ()) -> str:
    """The table and its notes, for a document."""
    identity = run.identity
    lines = [
        f"# {run.suite.name}: {identity.model}",
        "",
        f"Weights `{identity.fingerprint}` at {identity.url}, asked {identity.asked_at}.",
        "",
        "| " + " | ".join(COLUMNS) + " |",
        "| --- | ---: | --- |" + " ---: |" * (len(COLUMNS) - 3),
        *("| " + " | ".join(_cells(row)) + " |" for row in run.rows),
        "",
        *(f"- {note}" for note in notes(run)),
        *protocol_report.as_markdown(protocol_rows),
    ]
    return "\n".join(lines).rstrip() + "\n"


def as_gallery(run: QualityRun) -> str:
    """Hits and misses of each row with their pictures, in one file without outside references."""
    sections = []
    for row in run.rows:
        hits = [item for item in row.scored if item.hit][:GALLERY_SIZE]
        misses = [item for item in row.scored if not item.hit][:GALLERY_SIZE]
        cards = "".join(_card(row, item) for item in (*misses, *hits))
        score = html.escape(" ".join(_cells(row)[2:5]))
        name = html.escape(row.row.name)
        sections.append(f"<h2>{name} <small>{score}</small></h2><div class=row>{cards}</div>")
    title = html.escape(f"{run.suite.name}: {run.identity.model}")
    return _PAGE.format(title=title, body="\n".join(sections))


_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>
<style>
body {{ font: 15px system-ui, sans-serif; margin: 2rem; color: #222; background: #fafafa }}
.row {{ display: flex; flex-wrap: wrap; gap: 12px }}
.card {{ width: 190px; padding: 10px; background: #fff; border-top: 4px solid #2a7 }}
.miss {{ border-color: #c43 }}
.card img {{ width: 100%; image-rendering: pixelated }}
.card p {{ margin: 6px 0; overflow-wrap: anywhere }}
small, .want {{ color: #777 }}
</style>
<h1>{title}</h1>
{body}
</html>
"""


def _card(row: RowScore, scored: ScoredItem) -> str:
    media, picture = scored.item.media, ""
    if media is not None and (mime := IMAGE_TYPES.get(media.suffix.lower())):
        data = base64.b64encode(media.read_bytes()).decode("ascii")
        picture = f'<img alt="" src="data:{mime};base64,{data}">'
    elif media is not None:
        picture = f"<p><small>{html.escape(media.name)}</small></p>"
    wanted = row.row.task.render(scored.item.target, scored.item.inputs)
    kind = "card" if scored.hit else "card miss"
    status = "" if scored.status is ParseStatus.OK else f" <small>({scored.status})</small>"
    return (
        f'<div class="{kind}">{picture}<p>{html.escape(scored.item.sample.question)}</p>'
        f"<p><b>{html.escape(scored.text)}</b>{status}</p>"
        f"<p class=want>{html.escape(wanted)}</p></div>"
    )


def _cells(row: RowScore) -> tuple[str, ...]:
    estimate = row.estimate
    return (
        row.row.name,
        str(len(row.scored)),
        row.row.metric,
        "-" if estimate is None else _number(estimate.value, row.row.metric),
        "-" if estimate is None else _interval(estimate, row.row.metric),
        _share(row.row.chance),
        _share(row.row.target),
        _share(row.share(ParseStatus.UNPARSED)) if row.scored else "-",
    )


def _interval(estimate: Estimate, metric: str) -> str:
    return f"{_number(estimate.low, metric)}-{_number(estimate.high, metric)}"


def _number(value: float, metric: str) -> str:
    # An error is a number of objects; every other metric is a share.
    return f"{value:.2f}" if metric == "mae" else f"{100 * value:.1f}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


def _named(title: str, entries: Iterable[str]) -> list[str]:
    entries = list(entries)
    if not entries:
        return []
    more = len(entries) - NAMED_PROBLEMS
    tail = f"; and {more} more" if more > 0 else ""
    return [f"{title}: {len(entries)} of them ({'; '.join(entries[:NAMED_PROBLEMS])}{tail})"]
