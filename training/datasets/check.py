"""Checks a whole tree in the published layout: `lamm data check ROOT`.

First every record of every file is read, then every distinct medium is decoded. The state about
records is kept in a database file, so memory does not grow with the dataset.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from training.data.records import DEFAULT_TASK_TYPE
from training.datasets.complaints import Complaint, ComplaintLog, Kind
from training.datasets.layout import (
    LOCATING,
    META_FOLDER,
    PUBLISHED_FILES,
    PUBLISHED_TOTALS,
    FoundFile,
    find_files,
    unknown_files,
)
from training.datasets.lengths import LengthCounter, LengthTally
from training.datasets.media_check import judge_media
from training.datasets.published_records import PublishedConversation
from training.datasets.reading import read_dataset
from training.datasets.record_index import RecordIndex, Use


class CheckError(ValueError):
    """A tree without any published file."""


@dataclass(frozen=True, slots=True)
class CheckOptions:
    """Options of a check. `lengths` None counts no tokens; `keep`: complaints kept per kind."""

    jobs: int = 1
    lengths: LengthCounter | None = None
    limit_length: int | None = None
    keep: int = 20
    progress: bool = False


@dataclass(slots=True)
class FileSummary:
    """A file of the tree: usable records, distinct media, and record lengths in tokens."""

    found: FoundFile
    records: int = 0
    media: int = 0
    lengths: LengthTally = field(default_factory=LengthTally)


@dataclass(frozen=True, slots=True)
class CheckReport:
    """The result of a check."""

    root: Path
    files: tuple[FileSummary, ...]
    complaints: ComplaintLog
    distinct_media: int
    limit_length: int | None


def check_tree(root: Path, options: CheckOptions) -> CheckReport:
    """Checks every published file in `root`, and all media that these name.

    Raises:
        CheckError: `root` has none of the published files.
    """
    files = tuple(FileSummary(found) for found in find_files(root))
    if not files:
        folders = ", ".join(dict.fromkeys(dataset.folder for dataset in PUBLISHED_FILES))
        raise CheckError(f"{root} has no published file; expected {META_FOLDER} in {folders}")
    log = ComplaintLog(options.keep)
    _check_files(root, log)
    with (
        tempfile.TemporaryDirectory(prefix="lamm-data-check-") as folder,
        RecordIndex(Path(folder)) as index,
    ):
        _read_records(root, files, index, log, options)
        _decode_media(root, index, options)
        for use, path, kind, fault in index.bad_media():
            log.add(_of_record(kind, use, f"{path}: {fault}"))
        for use, path, earlier in index.duplicate_media():
            log.add(
                _of_record(Kind.DUPLICATE_MEDIA, use, f"{path} has the same bytes as {earlier}")
            )
        for use, count in index.repeated_ids():
            log.add(_of_record(Kind.RECORD_ID, use, f"the id occurs {count} times in the file"))
        for summary in files:
            summary.media = index.media_count(summary.found.name)
        media = index.media_count()
    _check_counts(files, log)
    _check_folders(files, log)
    return CheckReport(root, files, log, media, options.limit_length)


def _check_files(root: Path, log: ComplaintLog) -> None:
    """Reports missing published files, and files without a published name."""
    for folder in dict.fromkeys(dataset.folder for dataset in PUBLISHED_FILES):
        if not (root / folder / META_FOLDER).is_dir():
            log.add(Complaint(Kind.MISSING_FILE, f"{folder}/{META_FOLDER}", "folder not found"))
            continue
        for dataset in PUBLISHED_FILES:
            paths = [f"{folder}/{META_FOLDER}/{name}" for name in dataset.names]
            if dataset.folder == folder and not any((root / path).is_file() for path in paths):
                others = f" (nor {', '.join(dataset.names[1:])})" if dataset.names[1:] else ""
                log.add(Complaint(Kind.MISSING_FILE, paths[0], f"file not found{others}"))
    for name in unknown_files(root):
        log.add(Complaint(Kind.UNKNOWN_FILE, name, "not a published name; the file is not read"))


def _read_records(
    root: Path,
    files: Iterable[FileSummary],
    index: RecordIndex,
    log: ComplaintLog,
    options: CheckOptions,
) -> None:
    total = sum(summary.found.path.stat().st_size for summary in files)
    with _bar("records", total, "B", options) as bar:
        for summary in files:
            bar.set_postfix_str(Path(summary.found.name).name)
            for read in read_dataset(summary.found, log.add, bar.update):
                summary.records += 1
                use = Use(summary.found.name, read.index, read.record.id)
                path = None if read.media is None else str(read.media.relative_to(root))
                index.add(use, path, read.record.modality)
                if options.lengths is None:
                    continue
                task_type = DEFAULT_TASK_TYPE
                if isinstance(read.record, PublishedConversation):
                    task_type = read.record.task_type
                limit = options.limit_length
                length = options.lengths.measure(read.record.turns(), task_type, limit)
                summary.lengths.add(length)
                if length.kept < length.turns:
                    message = (
                        f"{length.tokens} tokens exceed the limit {limit}: "
                        f"{length.kept} of {length.turns} turns fit"
                    )
                    log.add(_of_record(Kind.TOO_LONG, use, message))


def _decode_media(root: Path, index: RecordIndex, options: CheckOptions) -> None:
    with _bar("media", index.media_count(), "files", options) as bar:
        for verdict in judge_media(root, index.media(), options.jobs):
            index.judge(verdict)
            bar.update(1)


def _check_counts(files: Iterable[FileSummary], log: ComplaintLog) -> None:
    """Compares numbers of records with the published ones."""
    totals: dict[str, dict[str, int]] = {}
    for summary in files:
        dataset, count = summary.found.dataset, summary.records
        if dataset.count is not None and count not in dataset.count:
            low, high = dataset.count[0], dataset.count[-1]
            expected = f"{low}" if low == high else f"{low} to {high}"
            message = f"{count} usable records; {expected} were published"
            log.add(Complaint(Kind.RECORD_COUNT, summary.found.name, message))
        if dataset.task != LOCATING:
            totals.setdefault(dataset.folder, {})[dataset.names[0]] = count
    for folder, published in PUBLISHED_TOTALS.items():
        sets = [d for d in PUBLISHED_FILES if d.folder == folder and d.task != LOCATING]
        counts = totals.get(folder, {})
        if len(counts) == len(sets) and sum(counts.values()) != published:
            message = (
                f"{sum(counts.values())} usable records in {len(sets)} files; "
                f"{published} were published"
            )
            log.add(Complaint(Kind.RECORD_COUNT, folder, message))


def _check_folders(files: Iterable[FileSummary], log: ComplaintLog) -> None:
    """Reports missing media folders once, besides the complaints per medium."""
    for summary in files:
        if Kind.MISSING_MEDIA not in log.of_file(summary.found.name):
            continue
        for folder in summary.found.dataset.media_folders:
            path = summary.found.media_root / folder
            if not path.is_dir():
                packed = path.with_name(f"{folder}.zip").is_file()
                hint = f"; unpack {folder}.zip" if packed else ""
                message = f"media folder {folder} not found{hint}"
                log.add(Complaint(Kind.MISSING_FOLDER, summary.found.name, message))


def _of_record(kind: Kind, use: Use, message: str) -> Complaint:
    return Complaint(kind, use.file, message, use.position, use.record_id)


def _bar(name: str, total: int, unit: str, options: CheckOptions) -> tqdm[Any]:
    return tqdm(
        desc=name,
        total=total,
        unit=unit,
        unit_scale=unit == "B",
        disable=None if options.progress else True,
    )
