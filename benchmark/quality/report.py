"""A quality run as a terminal table, Markdown, JSON and a single-file HTML gallery.

`lamm bench report` and `lamm bench judge` read these files.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.table import Table

from benchmark.answers import write_whole
from benchmark.quality import controls_report, protocol_report, repetitions
from benchmark.quality.protocol_scores import ProtocolRow
from benchmark.quality.repetitions import RepeatedScore
from benchmark.quality.run import QualityRun
from benchmark.report.figures import number
from benchmark.report.files import ITEMS_FILE
from benchmark.report.gallery import GALLERY_FILE, make_gallery
from benchmark.report.page import gallery_page
from benchmark.report.provenance import client_facts
from benchmark.scoring import RowScore
from benchmark.text import cell, column_table, markdown_table
from lamm_model.tasks import Estimate, ParseStatus
from lamm_model.tasks.dialects.manner import FREE_TEXT

COLUMNS = ("row", "n", "metric", "score", "95 %", "chance", "target", "unparsed")
_LEFT = frozenset({"row", "metric"})
NAMED_PROBLEMS = 5


def table(run: QualityRun) -> Table:
    """The score table for a terminal."""
    title = f"{run.suite.name}: {run.identity.model} at {run.identity.url}"
    result = column_table(title, COLUMNS, _LEFT)
    for row in run.rows:
        style = {True: "green", False: "red", None: None}[row.reaches_target]
        result.add_row(*_cells(row), style=style)
    return result


def notes(run: QualityRun) -> list[str]:
    """Notes on the manner of places, on what it could not read, and on cut or missing answers."""
    lines: list[str] = []
    manner = run.suite.manner
    if manner != FREE_TEXT:
        order = ", y first" if manner.y_first else ""
        frame = manner.frame_in_use or "guessed in each answer"
        lines.append(f"places are read in dialect {manner.dialect}, frame {frame}{order}")
    for row in run.rows:
        unread = (f"{one.item.sample.id}: {'; '.join(one.faults)}" for one in row.scored)
        faults = [line for line, one in zip(unread, row.scored, strict=True) if one.faults]
        lines += _named(f"{row.row.name}: answers that the dialect could not read wholly", faults)
        cut = [one.item.sample.id for one in row.scored if one.is_cut]
        lines += _named(f"{row.row.name}: answers cut by their limit of tokens", cut)
        lines += _named(f"{row.row.name}: invalid records", row.problems)
        reasons: dict[str, list[str]] = {}
        for id_, reason in row.unanswered.items():
            reasons.setdefault(reason, []).append(id_)
        for reason, ids in reasons.items():
            lines += _named(f"{row.row.name}: no answer, {reason}", ids)
        if not row.row.items:
            lines.append(f"{row.row.name}: no valid records")
    if run.broken_lines:
        lines.append(f"{run.broken_lines} stored answers were truncated and asked again")
    return lines if run.imported is None else [*lines, *run.imported.notes()]


def write_reports(
    run: QualityRun,
    out: Path,
    protocol_rows: Sequence[ProtocolRow] = (),
    repeated: Sequence[RepeatedScore] = (),
) -> list[Path]:
    """Writes the result files to `out`; returns their paths."""
    gallery = make_gallery(run.rows)
    texts = {
        "scores.json": json.dumps(as_json(run, protocol_rows, repeated), indent=2) + "\n",
        "scores.md": as_markdown(run, protocol_rows, repeated),
        ITEMS_FILE: "".join(json.dumps(item, ensure_ascii=False) + "\n" for item in as_items(run)),
        GALLERY_FILE: gallery.model_dump_json() + "\n",
        "gallery.html": gallery_page(_title(run), gallery),
    }
    for name, text in texts.items():
        write_whole(out / name, text)
    return [out / name for name in texts]


def as_json(
    run: QualityRun,
    protocol_rows: Sequence[ProtocolRow] = (),
    repeated: Sequence[RepeatedScore] = (),
) -> dict[str, Any]:
    """Scores, counts and provenance as JSON; `rows` and `protocols` are the first repetition."""
    return {
        "suite": run.suite.name,
        "suite_provenance": run.suite.provenance,
        "model": asdict(run.identity),
        "recipe": recipe_facts(run),
        "places": asdict(run.suite.manner),
        "client": client_facts(),
        "complete": run.complete,
        "answer_files": run.imported
        and run.imported.model_dump(mode="json", exclude={"files": {"__all__": {"reasons"}}}),
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
                "cut": sum(one.is_cut for one in row.scored),
                "metrics": {name: asdict(value) for name, value in row.metrics.items()},
                "controls": controls_report.as_json(row),
                "order_check": controls_report.order_as_json(row),
                "unanswered": dict(row.unanswered),
                "problems": list(row.problems),
            }
            for row in run.rows
        ],
        "protocols": protocol_report.as_json(protocol_rows),
        "repetitions": repetitions.as_json(repeated),
    }


def recipe_facts(run: QualityRun) -> dict[str, Any] | None:
    """The recipe of a run with its sampling, seed and number of repetitions; None without one."""
    followed = run.identity.recipe
    if followed is None:
        return None
    recipe = followed.recipe
    return {
        **asdict(followed),
        "sampling": followed.sampling,
        "prompt_preset": recipe.prompt_preset,
        "image_preset": recipe.image_preset,
        "max_tokens": {"image": recipe.picture_tokens, "point_cloud": recipe.cloud_tokens},
    }


def as_markdown(
    run: QualityRun,
    protocol_rows: Sequence[ProtocolRow] = (),
    repeated: Sequence[RepeatedScore] = (),
) -> str:
    """The table and its notes as Markdown."""
    identity = run.identity
    lines = [
        f"# {cell(_title(run))}",
        "",
        f"Weights `{identity.fingerprint}` at {identity.url}, asked at {identity.asked_at}.",
        *_recipe_lines(run),
        "",
        *markdown_table(COLUMNS, map(_cells, run.rows), _LEFT),
        "",
        *(f"- {cell(note)}" for note in notes(run)),
        *controls_report.as_markdown(run.rows),
        *protocol_report.as_markdown(protocol_rows),
        *repetitions.as_markdown(repeated),
    ]
    return "\n".join(lines).rstrip() + "\n"


def as_items(run: QualityRun) -> Iterator[dict[str, Any]]:
    """All answered items as text, for judges and for comparing runs."""
    for row in run.rows:
        task = row.row.task
        for scored in row.scored:
            item = scored.item
            yield {
                "row": row.row.name,
                "id": item.sample.id,
                "task": task.name,
                "question": item.sample.question,
                "reference": task.render(item.target, item.inputs),
                "text": scored.text,
                "status": str(scored.status),
                "hit": scored.hit,
                "faults": list(scored.faults),
            }


def _recipe_lines(run: QualityRun) -> list[str]:
    followed = run.identity.recipe
    if followed is None:
        return []
    sampling = ", ".join(f"{name} {value:g}" for name, value in followed.sampling.items())
    k = followed.repetitions
    which = f"; the scores below are those of repetition 1 of {k}" if k > 1 else ""
    return [
        "",
        f"Recipe `{followed.name}`: {followed.decoding} ({sampling}), seed {followed.seed}, "
        f"k = {k}{which}.",
    ]


def _title(run: QualityRun) -> str:
    return f"{run.suite.name}: {run.identity.model}"


def _cells(row: RowScore) -> tuple[str, ...]:
    estimate = row.estimate
    return (
        row.row.name,
        str(len(row.scored)),
        row.row.metric,
        "-" if estimate is None else number(estimate.value, row.row.metric),
        "-" if estimate is None else _interval(estimate, row.row.metric),
        _share(row.row.chance),
        _share(row.row.target),
        _share(row.share(ParseStatus.UNPARSED)) if row.scored else "-",
    )


def _interval(estimate: Estimate, metric: str) -> str:
    return f"{number(estimate.low, metric)}-{number(estimate.high, metric)}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


def _named(title: str, entries: Iterable[str]) -> list[str]:
    entries = list(entries)
    if not entries:
        return []
    more = len(entries) - NAMED_PROBLEMS
    tail = f"; and {more} more" if more > 0 else ""
    return [f"{title}: {len(entries)} ({'; '.join(entries[:NAMED_PROBLEMS])}{tail})"]
