"""Turns a copy of the published benchmark into a suite for `lamm bench quality`.

Each published file becomes a row. Media are linked where the file system allows it, else copied, or
stay in place. The suite is written atomically; its `suite.json` names every record that was left
out.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from tqdm import tqdm

from lamm_model.media import MediaError
from training.datasets.complaints import ERRORS, Complaint, ComplaintLog, Kind
from training.datasets.layout import LOCATING, FoundFile, benchmark_files
from training.datasets.published_records import QuestionRecord
from training.datasets.reading import ReadRecord, read_dataset
from training.datasets.suite_media import add_media, upright_size
from training.datasets.suite_samples import SIZED_TASKS, closed_set, samples_of


class SuiteError(Exception):
    """A suite that cannot be written; the message says why."""


@dataclass(frozen=True, slots=True)
class SuiteOptions:
    """Options of `write_suite`.

    Attributes:
        part: one of `training.datasets.layout.parts()`.
        limit: records per file, drawn at random; None for all.
        seed: random seed of that draw, which does not depend on the other files.
        copy: copy media instead of linking them.
        in_place: leave media in the tree; the suite names them relative to it.
        keep: complaints per kind to keep for the report.
        progress: show a progress bar per file.
    """

    part: str = "all"
    limit: int | None = None
    seed: int = 0
    copy: bool = False
    in_place: bool = False
    keep: int = 5
    progress: bool = False


@dataclass(frozen=True, slots=True)
class WrittenRow:
    """A row of the suite: usable records, samples written, faulty records left out."""

    name: str
    task: str
    file: str
    records: int
    samples: int
    left_out: int
    labels: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class SuiteReport:
    """A written suite, and the complaints about records that were left out."""

    path: Path
    rows: tuple[WrittenRow, ...]
    complaints: ComplaintLog


def write_suite(root: Path, out: Path, options: SuiteOptions) -> SuiteReport:
    """Writes the benchmark files under `root` as a suite to `out`, a new or empty folder.

    Raises:
        SuiteError: `out` is not empty, or no file of the part has a usable record.
        OSError: a medium cannot be linked or copied, or the disk is full.
    """
    out = out.resolve()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise SuiteError(f"{out} is not empty; remove it, or choose another folder")
    files = list(benchmark_files(root, options.part))
    if not files:
        wanted = "benchmark" if options.part == "all" else options.part
        raise SuiteError(f"{root} has no {wanted} file of the published layout")
    complaints = ComplaintLog(options.keep)
    partial = out.with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        writer = _Writer(root, partial, options, complaints)
        rows = tuple(row for file in files if (row := writer.write_row(file)) is not None)
        if not rows:
            raise SuiteError(f"none of the {len(files)} files has a usable record")
        description = _description(root, rows, writer.problems, options)
        description["without_records"] = writer.empty
        text = json.dumps(description, indent=2, ensure_ascii=False) + "\n"
        (partial / "suite.json").write_text(text, encoding="utf8")
        partial.replace(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return SuiteReport(out, rows, complaints)


class _Writer:
    """Writes rows and their media into the unfinished suite.

    `problems` has one message per record left out of a published file; `empty` describes the files
    without a usable record.
    """

    def __init__(
        self, root: Path, partial: Path, options: SuiteOptions, complaints: ComplaintLog
    ) -> None:
        self._root, self._partial = root, partial
        self._options, self._complaints = options, complaints
        self.problems: defaultdict[str, list[str]] = defaultdict(list)
        self.empty: list[dict[str, Any]] = []

    def _complain(self, complaint: Complaint) -> None:
        self._complaints.add(complaint)
        if complaint.kind in ERRORS:
            self.problems[complaint.file].append(str(complaint))

    def write_row(self, file: FoundFile) -> WrittenRow | None:
        """Writes one published file; None if it has no usable record."""
        task, name = file.dataset.task, file.path.stem
        usable = [read for read in read_dataset(file, self._complain) if read.media]
        named = list(zip(_unique_ids(usable), usable, strict=True))
        labels = closed_set(task, (read.record for read in usable))
        drawn = _drawn(named, self._options.limit, f"{self._options.seed}:{file.name}")
        bar = tqdm(
            drawn, desc=name, unit="record", disable=None if self._options.progress else True
        )
        count, target = 0, self._partial / f"{name}.jsonl"
        with target.open("w", encoding="utf8") as stream:
            for id_, read in bar:
                for line in self._lines(file, id_, read, labels):
                    stream.write(line + "\n")
                    count += 1
        faults = self._complaints.of_file(file.name)
        if not count:
            target.unlink()
            fault = "no usable record; the suite has no row for this file"
            self._complain(Complaint(Kind.RECORD_COUNT, file.name, fault))
            problems = list(self.problems[file.name])
            self.empty.append({"name": name, "task": task, "problems": problems})
            return None
        left_out = sum(times for kind, times in faults.items() if kind in ERRORS)
        return WrittenRow(name, task, file.name, len(usable), count, left_out, labels)

    def _lines(
        self, file: FoundFile, id_: str, read: ReadRecord, labels: Sequence[str] | None
    ) -> list[str]:
        """The samples of a record as JSON lines; none, with a complaint, if it is unusable."""
        record, path, task = read.record, read.media, file.dataset.task
        if path is None or not isinstance(record, QuestionRecord):
            return []
        if not path.is_file():
            return self._refuse(file, read, Kind.MISSING_MEDIA, f"{record.media_name} is missing")
        try:
            size = upright_size(path) if task in SIZED_TASKS else None
            media = os.path.normpath(path.relative_to(self._root))
            media = media if self._options.in_place else f"media/{media}"
            samples = samples_of(task, record, id_, media, size, labels)
        except MediaError as error:
            fault = f"{record.media_name}: {error}"
            return self._refuse(file, read, Kind.CORRUPT_MEDIA, fault)
        except ValueError as error:
            return self._refuse(file, read, Kind.SCHEMA, _one_line(error))
        if not self._options.in_place:
            add_media(path, self._partial / media, copy=self._options.copy)
        return [sample.model_dump_json(exclude_none=True) for sample in samples]

    def _refuse(self, file: FoundFile, read: ReadRecord, kind: Kind, fault: str) -> list[str]:
        self._complain(Complaint(kind, file.name, fault, read.index, read.record.id))
        return []


def _unique_ids(reads: Sequence[ReadRecord]) -> Iterator[str]:
    """Ids, with the position appended to repeated ones."""
    seen: set[str] = set()
    for read in reads:
        id_ = read.record.id
        yield f"{id_}@{read.index}" if id_ in seen else id_
        seen.add(id_)


def _drawn(
    named: Sequence[tuple[str, ReadRecord]], limit: int | None, seed: str
) -> Sequence[tuple[str, ReadRecord]]:
    if limit is None or limit >= len(named):
        return named
    return [named[i] for i in sorted(random.Random(seed).sample(range(len(named)), limit))]


def _description(
    root: Path, rows: Sequence[WrittenRow], problems: Mapping[str, list[str]], options: SuiteOptions
) -> dict[str, Any]:
    """The content of `suite.json`, with the provenance of a mini-benchmark if the tree has one."""
    source = _source(root)
    described, files = [], {}
    for row in rows:
        entry: dict[str, Any] = {"name": row.name, "task": row.task, "file": f"{row.name}.jsonl"}
        if row.task == LOCATING:
            entry["set"] = row.name.removeprefix("Locating_")
        described.append(entry | {"problems": problems[row.file]})
        digest = hashlib.sha256((root / row.file).read_bytes()).hexdigest()
        files[row.file] = asdict(row) | {"sha256": digest}
    name = source.get("name")
    return {
        "name": name if isinstance(name, str) else "lamm-benchmark",
        "rows": described,
        "provenance": {
            "part": options.part,
            "limit": options.limit,
            "seed": options.seed,
            "files": files,
            "source": source,
        },
    }


def _source(root: Path) -> dict[str, Any]:
    try:
        value = json.loads((root / "provenance.json").read_text(encoding="utf8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise SuiteError(f"{root / 'provenance.json'} is not JSON: {error}") from None
    return value if isinstance(value, dict) else {}


def _one_line(error: ValueError) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False)[0]
        return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
    return str(error)
