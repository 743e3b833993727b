"""The table "zero-shot against fine-tuned": published values beside those of two sets of runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmark.errors import BenchmarkError
from benchmark.report.figures import Change, changes, figures_of
from benchmark.report.files import SCORES_FILE, Run, read_label, read_run, told_apart
from benchmark.report.published import Column, PublishedResult, PublishedResults, PublishedTable
from benchmark.report.stamps import HELD_OUT, Stamp, stamps_on
from benchmark.report.tables import (
    HEADS,
    Cell,
    CellKind,
    ReportTable,
    metric_cell,
    our_cell,
    our_title,
    value_cell,
)
from benchmark.suite import TAKEN

ZERO_SHOT, FINE_TUNED = "zero-shot", "fine-tuned"
_SYSTEMS = ("lamm_zero_shot", "lamm_finetune")


@dataclass(frozen=True, slots=True)
class Tuning:
    """Runs before and after fine-tuning. Each row is in one run of each side at most."""

    zero_shot: tuple[Run, ...]
    fine_tuned: tuple[Run, ...]

    @property
    def runs(self) -> tuple[Run, ...]:
        """All runs, zero-shot first."""
        return (*self.zero_shot, *self.fine_tuned)


def read_tuning(zero_shot: Sequence[str], fine_tuned: Sequence[str]) -> Tuning:
    """Reads two sets of runs, each `DIR` or `LABEL=DIR`; a DIR may also hold runs in its folders.

    Raises:
        BenchmarkError: a side is empty, a DIR has no run, or two runs of a side have the same row.
    """
    if not zero_shot or not fine_tuned:
        missing, given = (ZERO_SHOT, FINE_TUNED) if fine_tuned else (FINE_TUNED, ZERO_SHOT)
        raise BenchmarkError(f"--{given} needs --{missing} too: the table compares both")
    return Tuning(_read_side(zero_shot, ZERO_SHOT), _read_side(fine_tuned, FINE_TUNED))


def tuning_table(tuning: Tuning, published: PublishedResults) -> ReportTable:
    """The rows with a published fine-tuned result; the last column is the change of our scores."""
    results = [r for r in published.results if r.value(Column(_SYSTEMS[1], "")) is not None]
    table = PublishedTable(
        id="fine_tuning",
        title="Zero-shot against fine-tuned",
        columns=_SYSTEMS,
        results=tuple(result.id for result in results),
    )
    columns = published.columns(table)
    stamps = [stamp for stamp in stamps_on(tuning.runs) if stamp.grave]
    grave = {run for stamp in stamps for run in stamp.runs}
    sides = (tuning.zero_shot, tuning.fine_tuned)
    titles = [
        our_title(name, any(run.label in grave for run in side))
        for name, side in zip((ZERO_SHOT, FINE_TUNED), sides, strict=True)
    ]
    return ReportTable(
        id=table.id,
        title=table.title,
        caption=f"Published: README of LAMM, {' and '.join(published.dates)}, in percent. Ours: "
        "95 % intervals in brackets. The change is in percentage points; its interval treats the "
        "two scores as independent.",
        columns=(*HEADS, *(column.title for column in columns), *titles, "change (ours)"),
        rows=tuple(_row(result, columns, tuning) for result in results),
        heads=len(HEADS),
        stamps=(*stamps, *_seen_in_training(tuning.fine_tuned)),
    )


def _row(result: PublishedResult, columns: Sequence[Column], tuning: Tuning) -> tuple[Cell, ...]:
    before, after = (_with_row(side, result) for side in (tuning.zero_shot, tuning.fine_tuned))
    figures = [figures_of(run, result.rows) if run else () for run in (before, after)]
    changed: tuple[Change, ...] = ()
    if before is not None and after is not None:
        changed = changes(*figures)
        if _records(before, result) != _records(after, result):
            reason = "the runs were asked different records"
            changed = tuple(
                replace(one, score=None, interval=None, reason=reason) for one in changed[:1]
            )
    return (
        Cell(result.task, CellKind.HEAD),
        Cell(result.dataset, CellKind.HEAD),
        metric_cell(result),
        *(value_cell(result, column, columns) for column in columns),
        *(our_cell(found) for found in figures),
        Cell("", CellKind.CHANGE, figures=changed)
        if changed
        else Cell("not compared", CellKind.MISSING),
    )


def _with_row(runs: Sequence[Run], result: PublishedResult) -> Run | None:
    """The run of a side that has a row of the result."""
    return next((run for run in runs if _names(run) & set(result.rows)), None)


def _names(run: Run) -> set[str]:
    return {row.name for row in run.scores.rows}


def _records(run: Run, result: PublishedResult) -> Mapping[str, Any]:
    """What identifies the records of a row: the file, and how they were drawn from it."""
    provenance = run.scores.suite_provenance
    files = provenance.get("files")
    digests = [
        file.get("sha256")
        for file in (files.values() if isinstance(files, Mapping) else ())
        if isinstance(file, Mapping) and file.get("name") in result.rows
    ]
    taken = provenance.get(TAKEN)
    drawn = taken.get("limit") if isinstance(taken, Mapping) else None
    limit = provenance.get("limit")
    # The seed has no effect on a file that was read whole.
    seed = provenance.get("seed") if limit is not None else None
    return {
        "suite": run.scores.suite,
        "files": digests,
        "limit": limit,
        "seed": seed,
        "taken": drawn,
    }


def _seen_in_training(runs: Sequence[Run]) -> list[Stamp]:
    """A stamp on runs whose records are not marked as held out of training."""
    sources = [(run, run.scores.suite_provenance.get("source")) for run in runs]
    doubtful = tuple(
        run.label
        for run, source in sources
        if not (isinstance(source, Mapping) and HELD_OUT in source)
    )
    if not doubtful:
        return []
    text = (
        "The records are not marked as held out of training (`lamm data finetune`): the model may "
        "have been trained on them."
    )
    return [Stamp(doubtful, text, grave=False)]


def _read_side(given: Sequence[str], side: str) -> tuple[Run, ...]:
    runs = []
    for one in given:
        label, directory = read_label(one)
        folders = run_folders(directory)
        if not folders:
            raise BenchmarkError(
                f"--{side} {directory} has no {SCORES_FILE}, nor has any folder in it"
            )
        for folder in folders:
            inner = "" if folder == directory else folder.name
            runs.append(read_run(label or (f"{side}: {inner}" if inner else side), folder))
    owners: dict[str, Run] = {}
    for run in runs:
        for name in sorted(_names(run)):
            if name in owners:
                raise BenchmarkError(
                    f"--{side}: {owners[name].directory} and {run.directory} both have the row "
                    f"{name}; only one can be in the table"
                )
            owners[name] = run
    return told_apart(runs)


def run_folders(directory: Path) -> list[Path]:
    """The folder itself if it is a quality run, else its folders that are.

    Raises:
        BenchmarkError: the folder does not exist.
    """
    if not directory.is_dir():
        raise BenchmarkError(f"{directory} is not a directory")
    if (directory / SCORES_FILE).is_file():
        return [directory]
    return sorted(path.parent for path in directory.glob(f"*/{SCORES_FILE}"))
