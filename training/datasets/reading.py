"""A published file as typed records, one at a time; what is wrong with the others is told.

Called by `training.datasets.check`, and by whatever turns published files into something else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import ValidationError

from training.data.json_stream import JsonStreamError, iter_json_list
from training.datasets.complaints import Complaint, Kind
from training.datasets.layout import FoundFile
from training.datasets.published_records import DatasetRecord

Complain = Callable[[Complaint], None]


@dataclass(frozen=True, slots=True)
class ReadRecord:
    """A record, its position in the file from 0, and where its medium should be.

    `media` is None where the record names a path outside the dataset's folder: such a path is not
    followed.
    """

    index: int
    record: DatasetRecord
    media: Path | None


def read_dataset(
    found: FoundFile, complain: Complain, on_bytes: Callable[[int], object] | None = None
) -> Iterator[ReadRecord]:
    """The usable records of a file, in order; memory does not grow with the file.

    Args:
        found: the file.
        complain: told of every fault, of records that are yielded too (see `Doubt`).
        on_bytes: told the size of every block read, for a progress bar.
    """
    seen = 0
    try:
        for item in iter_json_list(found.path, on_bytes=on_bytes):
            seen = item.index + 1
            read = _read_item(found, item.index, item.line, item.value, complain)
            if read is not None:
                yield read
    except JsonStreamError as error:
        message = f"{error}; {seen} items were read, no more can be"
        complain(Complaint(Kind.UNREADABLE, found.name, message))
    except OSError as error:
        complain(Complaint(Kind.UNREADABLE, found.name, f"cannot be read: {error.strerror}"))


def resolve_media(media_root: Path, name: str) -> Path | None:
    """Where a record's medium should be, or None for an absolute path or one that leads out.

    Symbolic links within the folder may lead anywhere: they are the owner's.
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
_KINDS = frozenset(kind.value for kind in Kind)


def _read_item(
    found: FoundFile, index: int, line: int, item: Any, complain: Complain
) -> ReadRecord | None:
    if not isinstance(item, dict):
        fault = f"at line {line}: is a {type(item).__name__}, not an object"
        complain(Complaint(Kind.SCHEMA, found.name, fault, index))
        return None
    given = item.get("id")
    record_id = None if given is None else str(given)[:_MAX_SHOWN]
    if given is None:
        fault = f"at line {line}: has no id; its position stands for it"
        complain(Complaint(Kind.RECORD_ID, found.name, fault, index))
        item = item | {"id": str(index)}
    try:
        record = found.dataset.record.model_validate(item)
    except ValidationError as error:
        kind, fault = _first_fault(error)
        fault = f"at line {line}: {fault}"
        complain(Complaint(kind, found.name, fault, index, record_id))
        return None
    for doubt in record.doubts():
        complain(Complaint(doubt.kind, found.name, doubt.message, index, record.id))
    media = resolve_media(found.media_root, record.media_name)
    if media is None:
        fault = f"{record.media_name!r:.200} does not lie in {found.dataset.folder}"
        complain(Complaint(Kind.MEDIA_OUTSIDE, found.name, fault, index, record.id))
    return ReadRecord(index, record, media)


def _first_fault(error: ValidationError) -> tuple[Kind, str]:
    first = error.errors(include_url=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    if first["type"] in _KINDS:
        return Kind(first["type"]), f"{place}: {first['msg']}" if place else first["msg"]
    if first["type"] == "missing":
        return Kind.SCHEMA, f"has no {place}"
    speaker = place.startswith("conversations.") and place.endswith(".from")
    shown = repr(first["input"])
    shown = shown if len(shown) <= _MAX_SHOWN else shown[:_MAX_SHOWN] + "..."
    message = f"{place}: {first['msg']}; it is {shown}"
    return Kind.WRONG_SPEAKER if speaker else Kind.SCHEMA, message
