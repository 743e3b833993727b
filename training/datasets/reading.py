"""A published file as typed records, one at a time, with a complaint about every other one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from training.data.json_stream import JsonItem, JsonStreamError, iter_json_items
from training.data.reading import parse_record
from training.data.records import InvalidRecord
from training.datasets.complaints import Complaint, Kind
from training.datasets.layout import FoundFile
from training.datasets.published_records import PublishedRecord

Complain = Callable[[Complaint], None]


@dataclass(frozen=True, slots=True)
class ReadRecord:
    """A record, its position in the file from 0, and the path of its medium.

    `media` is None if the record names a path outside the dataset's folder.
    """

    index: int
    record: PublishedRecord
    media: Path | None


def read_dataset(
    found: FoundFile, complain: Complain, on_bytes: Callable[[int], object] | None = None
) -> Iterator[ReadRecord]:
    """The usable records of a file, in order, in bounded memory.

    Args:
        found: the file.
        complain: called with every fault, of records that are yielded too (see `Doubt`).
        on_bytes: called with the size of every block read, for a progress bar.
    """
    seen = 0
    try:
        for item in iter_json_items(found.path, list_only=True, on_bytes=on_bytes):
            seen = item.index + 1
            read = _read_item(found, item, complain)
            if read is not None:
                yield read
    except JsonStreamError as error:
        message = f"{error} ({seen} items read)"
        complain(Complaint(Kind.UNREADABLE, found.name, message))
    except OSError as error:
        complain(Complaint(Kind.UNREADABLE, found.name, f"cannot be read: {error.strerror}"))


def resolve_media(media_root: Path, name: str) -> Path | None:
    """Path of a record's medium; None if it is absolute or leads out of `media_root`.

    Symbolic links within the folder are followed.
    """
    path = PurePosixPath(name)
    depth = 0
    for part in path.parts:
        depth += -1 if part == ".." else 1
        if depth < 0:
            return None
    if path.is_absolute() or "\0" in name:
        return None
    return media_root / path


_MAX_SHOWN = 60


def _read_item(found: FoundFile, item: JsonItem, complain: Complain) -> ReadRecord | None:
    given = item.value.get("id") if isinstance(item.value, dict) else None
    record_id = None if given is None else str(given)[:_MAX_SHOWN]

    def report(kind: Kind, message: str) -> None:
        complain(Complaint(kind, found.name, message, item.index, record_id))

    if given is None and isinstance(item.value, dict):
        report(Kind.RECORD_ID, f"at line {item.line}: id is missing; the position is used instead")
    try:
        record = parse_record(item, found.dataset.record)
    except InvalidRecord as error:
        report(Kind(error.kind), f"at line {item.line}: {error}")
        return None
    record_id = record.id
    for doubt in record.doubts():
        report(doubt.kind, doubt.message)
    media = resolve_media(found.media_root, record.media_name)
    if media is None:
        fault = f"{record.media_name!r:.200} lies outside {found.dataset.folder}"
        report(Kind.MEDIA_OUTSIDE, fault)
    return ReadRecord(item.index, record, media)
