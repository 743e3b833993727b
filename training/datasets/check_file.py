"""Checks one instruction file of any name: `lamm data check FILE`."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from lamm_model.conversation import Modality
from training.data.reading import RecordError, SourceRecord, read_records
from training.data.records import MediaFile
from training.datasets.complaints import Complaint, ComplaintLog, Kind
from training.datasets.record_index import RecordIndex, Use

# Names the first medium of a record that cannot be decoded, and why; None if all can.
FindFault = Callable[[tuple[MediaFile, ...]], str | None]


@dataclass(slots=True)
class FileCheck:
    """The result: valid and invalid records, the valid ones by their media, and complaints."""

    file: Path
    complaints: ComplaintLog
    good: int = 0
    bad: int = 0
    media: Counter[str] = field(default_factory=Counter)

    def count(self, source: SourceRecord) -> None:
        """Counts a valid record."""
        self.good += 1
        kinds = {medium.modality for medium in source.media}
        self.media["text only"] += not kinds
        self.media["with pictures"] += Modality.IMAGE in kinds
        self.media["with clouds"] += Modality.POINT_CLOUD in kinds

    def summary(self) -> str:
        """One line."""
        kinds = ", ".join(f"{n} {name}" for name, n in sorted(self.media.items()) if n)
        shown = f" (of the good: {kinds})" if kinds else ""
        return f"{self.file}: {self.good} good records, {self.bad} bad{shown}"


def check_file(
    file: Path, media_root: Path, find_fault: FindFault | None, good_records: TextIO, keep: int
) -> FileCheck:
    """Reads all records as training does.

    Args:
        find_fault: decodes media; None decodes none.
        good_records: gets the valid records as a JSON list.
        keep: complaints to keep per kind.

    Raises:
        OSError: the file cannot be read.
    """
    result = FileCheck(file, ComplaintLog(keep))

    def report(error: RecordError) -> None:
        result.bad += 1
        result.complaints.add(_complaint(file, error))

    with (
        tempfile.TemporaryDirectory(prefix="lamm-data-check-") as folder,
        RecordIndex(Path(folder)) as index,
    ):
        for source in read_records(file, media_root, report):
            if "id" in source.item.value and source.item.value["id"] is not None:
                index.add(Use(str(file), source.item.index, source.record.id), None, Modality.IMAGE)
            fault = None if find_fault is None else find_fault(source.media)
            if fault is not None:
                report(source.error(fault, "corrupt_media"))
                continue
            good_records.write(", " if result.good else "[")
            good_records.write(json.dumps(source.item.value, ensure_ascii=False))
            result.count(source)
        good_records.write("]" if result.good else "[]")
        for use, count in index.repeated_ids():
            fault = f"the id occurs {count} times in the file"
            result.complaints.add(
                Complaint(Kind.RECORD_ID, str(file), fault, use.position, use.record_id)
            )
    return result


def _complaint(file: Path, error: RecordError) -> Complaint:
    value = None if error.item is None else error.item.value
    given = value.get("id", error.index) if isinstance(value, dict) else None
    record_id = None if given is None else str(given)
    return Complaint(Kind(error.kind), str(file), error.fault, error.index, record_id)
