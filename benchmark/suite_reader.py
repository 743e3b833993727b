"""Reads a suite: `suite.json`, one JSONL file per row, and the media that they name.

Everything wrong with a record is kept as a sentence with file and line, and counted.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from benchmark.errors import BenchmarkError
from benchmark.suite import ERROR_METRICS, MINI_SUITE, TAKEN, Item, Suite, SuiteRow
from lamm_model.tasks import TASKS, AnyTask, Sample

MINI_DIRECTORY = Path("data/mini-suite")


def find_suite(suite: str, data: Path | None) -> Path:
    """The directory of the suite given by `--suite` and `--data`.

    Raises:
        BenchmarkError: no suite found; the message has the command that makes one.
    """
    directory = data or (MINI_DIRECTORY if suite == MINI_SUITE else Path(suite))
    if (directory / "suite.json").is_file():
        return directory
    hint = f" Create it with: lamm data mini-suite {directory}" if suite == MINI_SUITE else ""
    raise BenchmarkError(f"{directory} has no suite.json.{hint}")


def load_suite(directory: Path, limit: int | None = None, media_root: Path | None = None) -> Suite:
    """Reads `suite.json` and the first `limit` valid records of each row.

    Args:
        directory: directory of `suite.json` and the rows' files.
        limit: records per row; None for all.
        media_root: directory of the media if it is not `directory`. Symbolic links may lead out of
            it, as in a tree in the published layout.

    Raises:
        BenchmarkError: `suite.json` is malformed, a row names an unknown task or metric, or an
            error metric has a target or a chance.
    """
    try:
        text = (directory / "suite.json").read_text(encoding="utf8")
        described = _SuiteFile.model_validate_json(text)
    except (OSError, ValidationError) as error:
        raise BenchmarkError(f"{directory}/suite.json: {error}") from None
    places = _Places(directory, media_root)
    found = [_read_row(places, row, limit) for row in described.rows]
    rows = (
        *(row for row, _ in found),
        *(_empty_row(row) for row in described.without_records),
    )
    names = [row.name for row in rows]
    if len(set(names)) != len(names):
        raise BenchmarkError(f"{directory}/suite.json: row names must be unique, got {names}")
    sets = [row.set for row in rows if row.set is not None]
    if len(set(sets)) != len(sets):
        raise BenchmarkError(f"{directory}/suite.json: sets must be unique, got {sets}")
    provenance = described.provenance
    if any(is_cut for _, is_cut in found):
        provenance = {**provenance, TAKEN: {"limit": limit}}
    return Suite(described.name, directory, rows, provenance)


class _RowFile(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str
    task: str
    file: str
    metric: str | None = None
    chance: float | None = Field(default=None, ge=0, le=1)
    target: float | None = Field(default=None, ge=0, le=1)
    set: Literal["VOC2012", "LSP", "FSC147"] | None = None
    # Records that the writer of the suite left out, one sentence each.
    problems: list[str] = Field(default_factory=list)


class _EmptyRowFile(BaseModel):
    name: str
    task: str
    problems: list[str]


class _SuiteFile(BaseModel):
    name: str
    rows: list[_RowFile] = Field(min_length=1)
    # Files without any valid record: they become empty rows, so that they show as missing.
    without_records: list[_EmptyRowFile] = Field(default_factory=list)
    provenance: dict[str, Any] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Places:
    """Resolves the paths of rows and media."""

    directory: Path
    media_root: Path | None

    def row(self, name: str) -> Path:
        return _inside(self.directory, name)

    def medium(self, name: str) -> Path:
        if self.media_root is None:
            return _inside(self.directory, name)
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts:
            raise ValueError(f"{name!r} is outside {self.media_root}")
        return self.media_root / path


def _task(row: _RowFile | _EmptyRowFile) -> AnyTask:
    if row.task not in TASKS:
        known = ", ".join(TASKS)
        raise BenchmarkError(f"row {row.name}: unknown task {row.task!r}; expected one of {known}")
    return TASKS[row.task]


def _empty_row(row: _EmptyRowFile) -> SuiteRow:
    task = _task(row)
    return SuiteRow(row.name, task, task.primary_metric, None, None, (), tuple(row.problems))


def _read_row(places: _Places, row: _RowFile, limit: int | None) -> tuple[SuiteRow, bool]:
    """The row, and whether the limit truncated it."""
    task = _task(row)
    is_cut = False
    items: list[Item] = []
    problems = list(row.problems)
    seen: set[str] = set()
    try:
        lines = places.row(row.file).read_bytes().splitlines()
    except (OSError, ValueError) as error:
        raise BenchmarkError(f"row {row.name}: cannot read {row.file}: {error}") from None
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        if limit is not None and len(items) >= limit:
            is_cut = True
            break
        try:
            item = _read_item(places, row.name, task, line)
            if item.sample.id in seen:
                raise ValueError(f"id {item.sample.id!r} is a duplicate")
        except ValueError as error:
            problems.append(f"{row.file}:{number}: {_one_line(error)}")
            continue
        seen.add(item.sample.id)
        items.append(item)
    metric = row.metric or task.primary_metric
    if items and metric not in task.score([(items[0].target, items[0].target)]):
        raise BenchmarkError(f"row {row.name}: task {row.task} has no metric {metric!r}")
    is_error = metric.startswith(ERROR_METRICS)
    if is_error and (row.target, row.chance) != (None, None):
        raise BenchmarkError(
            f"row {row.name}: target {row.target} and chance {row.chance} must be unset for the "
            f"error metric {metric!r}, which is not a share"
        )
    chance = row.chance
    stated = [item.sample.chance for item in items if item.sample.chance is not None]
    if chance is None and not is_error and items and len(stated) == len(items):
        chance = sum(stated) / len(stated)
    read = SuiteRow(
        row.name, task, metric, chance, row.target, tuple(items), tuple(problems), row.set
    )
    return read, is_cut


def _read_item(places: _Places, row: str, task: AnyTask, line: bytes) -> Item:
    try:
        value = json.loads(line)
    except ValueError:
        raise ValueError(f"not JSON: {line[:60].decode('utf8', 'replace')!r}") from None
    sample = Sample.model_validate(value)
    if sample.task != task.name:
        raise ValueError(
            f"id {sample.id!r} has task {sample.task!r}; expected {task.name!r} of the row"
        )
    inputs, target = task.read_sample(sample)
    media = None
    if sample.media is not None:
        media = places.medium(sample.media)
        if not media.is_file():
            raise ValueError(f"id {sample.id!r}: {sample.media} not found")
    return Item(row, sample, task, inputs, target, media)


def _inside(directory: Path, name: str) -> Path:
    path = directory / name
    if not path.resolve().is_relative_to(directory.resolve()):
        raise ValueError(f"{name!r} is outside the suite")
    return path


def _one_line(error: ValueError) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
    return str(error)
