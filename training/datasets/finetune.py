"""Splits published benchmark files into training records and a held-out benchmark.

LAMM's README reports fine-tuned results for six data sets, but only their test files are published.
Here a part of each file becomes instruction records for `lamm train`; the rest stays a benchmark in
the published layout. The sides have no medium in common, so no tested picture was trained on.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from lamm_model.conversation import Modality
from lamm_model.media import MediaError
from lamm_model.tasks import TASKS
from training.data.records import DEFAULT_TASK_TYPE
from training.datasets.complaints import ERRORS, Complaint, ComplaintLog, Kind
from training.datasets.layout import FoundFile, benchmark_files
from training.datasets.published_records import QuestionRecord
from training.datasets.reading import ReadRecord, read_dataset
from training.datasets.suite import SuiteError
from training.datasets.suite_media import add_media, upright_size
from training.datasets.suite_samples import SIZED_TASKS, closed_set, samples_of

# The files of the six rows with fine-tuned results.
FINE_TUNED = (
    "Classification_CIFAR10",
    "Detection_VOC2012",
    "VQA_SQAimage",
    "Detection_ScanNet",
    "VG_ScanRefer",
    "VQA_ScanQA_multiplechoice",
)
TRAIN, TEST = "train", "test"
# Scans of one room have names such as scene0000_00 and scene0000_01.
_SCAN = re.compile(r"(scene\d{4})_\d{2}")


@dataclass(frozen=True, slots=True)
class SplitFile:
    """The records of one file on each side, and the faulty ones that are on neither."""

    name: str
    train: int
    test: int
    left_out: int


@dataclass(frozen=True, slots=True)
class Split:
    """A written split, and the complaints about records that were left out."""

    path: Path
    files: tuple[SplitFile, ...]
    complaints: ComplaintLog


def write_split(root: Path, out: Path, share: float, seed: int = 0) -> Split:
    """Writes `out/train/FILE.json` and the benchmark `out/test` from the files under `root`.

    Args:
        root: folder with 2D_Benchmark or 3D_Benchmark.
        out: new or empty folder; media are linked where possible, else copied.
        share: expected share of the media whose records are for training, between 0 and 1.
        seed: chooses the media; the same for all files, so that a room is on one side in each.

    Raises:
        SuiteError: `out` is not empty, no file has a usable record, or a side of a file is empty.
        OSError: a medium cannot be linked or copied, or the disk is full.
    """
    out = out.resolve()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise SuiteError(f"{out} is not empty; remove it, or choose another folder")
    files = [f for f in benchmark_files(root, "all") if f.dataset.names[0][:-5] in FINE_TUNED]
    if not files:
        raise SuiteError(f"{root} has none of {', '.join(FINE_TUNED)}")
    complaints = ComplaintLog(keep=5)
    partial = out.with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        splits = tuple(_split(file, partial, share, seed, complaints) for file in files)
        described = _provenance(root, share, seed, splits)
        (partial / TEST / "provenance.json").write_text(json.dumps(described, indent=2) + "\n")
        partial.replace(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return Split(out, splits, complaints)


def is_for_training(media: str, share: float, seed: int) -> bool:
    """The side of a medium, from its normalised path; scans of one room are on the same side."""
    place = _SCAN.sub(r"\1", os.path.normpath(media))
    digest = hashlib.sha256(f"{seed}:{place}".encode()).digest()
    return int.from_bytes(digest[:8]) < share * 2**64


def _split(
    file: FoundFile, partial: Path, share: float, seed: int, complaints: ComplaintLog
) -> SplitFile:
    reads = [read for read in read_dataset(file, complaints.add) if read.media is not None]
    labels = closed_set(file.dataset.task, (read.record for read in reads))
    records: list[dict[str, Any]] = []
    held_out: list[dict[str, Any]] = []
    for read in reads:
        answered = _answered(file, read, labels, complaints)
        if answered is None or read.media is None:
            continue
        folder, media = file.dataset.folder, os.path.normpath(read.record.media_name)
        if is_for_training(read.record.media_name, share, seed):
            records.append(answered)
            add_media(read.media, partial / TRAIN / folder / media, copy=False)
        else:
            held_out.append(read.record.model_dump(mode="json", exclude_none=True))
            add_media(read.media, partial / TEST / folder / media, copy=False)
    name = file.path.stem
    if not records or not held_out:
        raise SuiteError(
            f"{file.name}: {len(records)} records for training and {len(held_out)} held out of "
            f"{len(reads)}; both sides need some, with another --train-share"
        )
    _write(partial / TRAIN / f"{name}.json", records)
    _write(partial / TEST / file.name, held_out)
    faults = complaints.of_file(file.name)
    left_out = sum(times for kind, times in faults.items() if kind in ERRORS)
    return SplitFile(name, len(records), len(held_out), left_out)


def _answered(
    file: FoundFile, read: ReadRecord, labels: Sequence[str] | None, complaints: ComplaintLog
) -> dict[str, Any] | None:
    """The instruction record of a question and its answer; None, with a complaint, if unusable."""
    record, path, task = read.record, read.media, file.dataset.task
    if path is None or not isinstance(record, QuestionRecord):
        return None
    try:
        if not path.is_file():
            raise FileNotFoundError(f"{record.media_name} is missing")
        size = upright_size(path) if task in SIZED_TASKS else None
        [sample] = samples_of(task, record, record.id, record.media_name, size, labels)
        inputs, target = TASKS[task].read_sample(sample)
        answer = TASKS[task].render(target, inputs)
    except (FileNotFoundError, MediaError, ValueError) as error:
        kind, fault = _fault(error)
        complaints.add(Complaint(kind, file.name, fault, read.index, record.id))
        return None
    key = "image" if record.modality is Modality.IMAGE else "pcl"
    return {
        "id": record.id,
        key: f"{file.dataset.folder}/{os.path.normpath(record.media_name)}",
        # The system text that a server uses unless a request has another.
        "task_type": DEFAULT_TASK_TYPE,
        "conversations": [
            {"from": "human", "value": sample.question},
            {"from": "gpt", "value": answer},
        ],
    }


def _fault(error: Exception) -> tuple[Kind, str]:
    match error:
        case FileNotFoundError():
            return Kind.MISSING_MEDIA, str(error)
        case MediaError():
            return Kind.CORRUPT_MEDIA, str(error)
        case ValidationError():
            first = error.errors(include_url=False)[0]
            return Kind.SCHEMA, f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return Kind.SCHEMA, str(error)


def _write(path: Path, records: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(records, ensure_ascii=False, indent=1) + "\n", encoding="utf8")


def _provenance(
    root: Path, share: float, seed: int, files: tuple[SplitFile, ...]
) -> dict[str, Any]:
    """The provenance of the source, if it has one, and the split."""
    try:
        source = json.loads((root / "provenance.json").read_text(encoding="utf8"))
    except FileNotFoundError:
        source = {}
    except ValueError as error:
        raise SuiteError(f"{root / 'provenance.json'} is not JSON: {error}") from None
    held_out = {"train_share": share, "seed": seed, "files": [asdict(file) for file in files]}
    return {**(source if isinstance(source, dict) else {}), "held_out": held_out}
