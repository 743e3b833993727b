"""JSON items become checked records, one at a time.

`parse_record` builds any type of record; `read_records` reads the files that a recipe names.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PureWindowsPath
from typing import Any, Literal, TypeVar, get_args

from pydantic import ValidationError

from lamm_model.conversation import Modality
from lamm_model.media import POINT_CLOUD_FORMATS
from training.data.foreign import as_record
from training.data.json_stream import JsonItem, JsonStreamError, iter_json_items
from training.data.records import (
    DatasetRecord,
    FaultKind,
    InstructionRecord,
    InvalidRecord,
    MediaFile,
    Spelling,
)

# Kinds of fault of an instruction file; `corrupt_media` is found by decoding.
ErrorKind = FaultKind | Literal["unreadable", "corrupt_media"]

# To be raised when the same file is read as other texts or other records: token ids kept by earlier
# versions are then made anew.
READING_RULES = 3

_Record = TypeVar("_Record", bound=DatasetRecord)
_MAX_SHOWN = 60
_URL = re.compile(r"(?:data:|[a-zA-Z][a-zA-Z0-9+.-]*://)")


def parse_record(
    item: JsonItem, record_type: type[_Record], spelling: Spelling | None = None
) -> _Record:
    """An item as a record; its position is the id where the item has none.

    Args:
        spelling: how the file calls conversation and speakers, for faults; None as the fields are
            called.

    Raises:
        InvalidRecord: the item is not an object, or a field is missing or has a wrong value.
    """
    value = _object(item)
    try:
        return record_type.model_validate(value | {"id": _id_or_position(item)}, context=spelling)
    except ValidationError as error:
        raise _first_fault(error, spelling or Spelling()) from None


def parse_instruction(item: JsonItem) -> InstructionRecord:
    """An item in any of the formats that training reads.

    Raises:
        InvalidRecord: as `parse_record`, or it has something that LAMM's training has no place for.
    """
    record, spelling = as_record(_object(item))
    return parse_record(replace(item, value=record), InstructionRecord, spelling)


def item_name(file: Path, item: JsonItem) -> str:
    """File, position and id of an item, for messages."""
    shown = f" (id {str(_id_or_position(item))!r})" if isinstance(item.value, dict) else ""
    return f"{file}: record {item.index}{shown}"


class RecordError(ValueError):
    """A record that cannot be trained on; the message names file, position, id and fault.

    `item` is None where the file breaks off before the record at `index`.
    """

    def __init__(
        self, file: Path, index: int, kind: ErrorKind, fault: str, item: JsonItem | None = None
    ) -> None:
        place = f"{file}: record {index}" if item is None else item_name(file, item)
        self.index, self.kind, self.item = index, kind, item
        self.fault = fault if item is None else f"at line {item.line}: {fault}"
        super().__init__(f"{place}: {self.fault}")


@dataclass(frozen=True, slots=True)
class SourceRecord:
    """A record of an instruction file, the item it was read from, and its media files."""

    file: Path
    item: JsonItem
    record: InstructionRecord
    media: tuple[MediaFile, ...]

    def error(self, fault: str, kind: ErrorKind = "schema") -> RecordError:
        """The error to raise where the record cannot be used."""
        return RecordError(self.file, self.item.index, kind, fault, self.item)


def read_records(
    file: Path, media_root: Path, on_error: Callable[[RecordError], object]
) -> Iterator[SourceRecord]:
    """The valid records of a JSON list or JSON Lines file, in order, in bounded memory.

    Args:
        file: the file, perhaps compressed by gzip.
        media_root: folder that relative media paths start from.
        on_error: called with every invalid record, and once where the file breaks off.

    Raises:
        OSError: the file cannot be read.
    """
    try:
        for item in iter_json_items(file):
            try:
                record = parse_instruction(item)
                media = tuple(
                    media_file(media_root, kind, name) for kind, name in record.media_names
                )
            except InvalidRecord as error:
                on_error(RecordError(file, item.index, error.kind, str(error), item))
            else:
                yield SourceRecord(file, item, record, media)
    except JsonStreamError as error:
        on_error(RecordError(file, error.index, "unreadable", str(error)))


def media_file(media_root: Path, modality: Modality, name: str) -> MediaFile:
    """The medium that a record names; `a\\b.png` of Windows is also `a/b.png`.

    Raises:
        InvalidRecord: there is no such file.
    """
    if _URL.match(name):
        raise InvalidRecord("missing_media", f"{_shown(name)} is a URL; training reads files")
    windows = PureWindowsPath(name)
    names = (name,) if windows.drive else (name, windows.as_posix())
    try:
        for one in names:
            if (path := media_root / one).is_file():
                _check_suffix(modality, path)
                return MediaFile(modality, path)
    except OSError as error:
        fault = f"{_shown(name)} cannot be a file: {error.strerror}"
        raise InvalidRecord("missing_media", fault) from None
    fault = f"media file {media_root / name} does not exist"
    if windows.drive:
        fault = f"{fault}; {name!r} is a path of Windows"
    elif not media_root.is_dir():
        fault = f"{fault}, nor does the media folder {media_root}"
    raise InvalidRecord("missing_media", fault)


def _check_suffix(modality: Modality, path: Path) -> None:
    """A cloud's format is told by its suffix, a picture's by its content."""
    suffix = path.suffix.removeprefix(".").lower()
    is_cloud = suffix in POINT_CLOUD_FORMATS
    if is_cloud and modality is Modality.IMAGE:
        raise InvalidRecord(
            "unknown_media", f"image names {path}, a .{suffix} file; clouds belong under pcl"
        )
    if not is_cloud and modality is Modality.POINT_CLOUD:
        known = ", ".join(POINT_CLOUD_FORMATS)
        raise InvalidRecord("unknown_media", f"pcl names {path}; expected a file of {known}")


def _object(item: JsonItem) -> dict[str, Any]:
    if not isinstance(item.value, dict):
        raise InvalidRecord("schema", f"expected an object, got {type(item.value).__name__}")
    return item.value


def _id_or_position(item: JsonItem) -> object:
    given = item.value.get("id")
    return item.index if given is None else given


def _first_fault(error: ValidationError, spelling: Spelling) -> InvalidRecord:
    first = error.errors(include_url=False)[0]
    steps = (f"[{step}]" if isinstance(step, int) else f".{step}" for step in first["loc"])
    place = "".join(steps).removeprefix(".")
    if place.startswith("conversations"):
        place = spelling.messages + place.removeprefix("conversations")
    for kind in get_args(FaultKind):
        if first["type"] == kind:
            return InvalidRecord(kind, f"{place}: {first['msg']}" if place else first["msg"])
    if first["type"] == "missing":
        return InvalidRecord("schema", f"{place} is missing")
    speaker = place.startswith("conversations[") and place.endswith("].from")
    return InvalidRecord(
        "wrong_speaker" if speaker else "schema",
        f"{place}: {first['msg']}, got {_shown(first['input'])}",
    )


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _MAX_SHOWN else text[:_MAX_SHOWN] + "..."
