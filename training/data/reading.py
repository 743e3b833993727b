"""JSON items become checked records, one at a time.

`parse_record` builds any type of record; `read_records` reads the files that a recipe names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar, get_args

from pydantic import ValidationError

from training.data.json_stream import JsonItem, JsonStreamError, iter_json_items
from training.data.records import DatasetRecord, FaultKind, InstructionRecord, MediaFile

_Record = TypeVar("_Record", bound=DatasetRecord)
_MAX_SHOWN = 60


class InvalidRecord(ValueError):
    """An item that is not a valid record; the message names the field and its value."""

    def __init__(self, kind: FaultKind, fault: str) -> None:
        super().__init__(fault)
        self.kind = kind


def parse_record(item: JsonItem, record_type: type[_Record]) -> _Record:
    """An item as a record; its position is the id where the item has none.

    Raises:
        InvalidRecord: the item is not an object, or a field is missing or has a wrong value.
    """
    if not isinstance(item.value, dict):
        raise InvalidRecord("schema", f"expected an object, got {type(item.value).__name__}")
    try:
        return record_type.model_validate(item.value | {"id": _id_or_position(item)})
    except ValidationError as error:
        raise _first_fault(error) from None


def item_name(file: Path, item: JsonItem) -> str:
    """File, position and id of an item, for messages."""
    shown = f" (id {str(_id_or_position(item))!r})" if isinstance(item.value, dict) else ""
    return f"{file}: record {item.index}{shown}"


class RecordError(ValueError):
    """A record that cannot be trained on; the message names file, position, id and fault."""


@dataclass(frozen=True, slots=True)
class SourceRecord:
    """A record of an instruction file, the item it was read from, and its media files."""

    file: Path
    item: JsonItem
    record: InstructionRecord
    media: tuple[MediaFile, ...]

    def error(self, fault: str) -> RecordError:
        """The error to raise where the record cannot be used."""
        return RecordError(f"{item_name(self.file, self.item)}: {fault}")


def read_records(
    file: Path, media_root: Path, on_error: Callable[[RecordError], object]
) -> Iterator[SourceRecord]:
    """The valid records of a JSON list or JSON Lines file, in order, in bounded memory.

    Args:
        file: the file.
        media_root: folder that relative media paths start from.
        on_error: called with every invalid record, and once where the file breaks off.

    Raises:
        OSError: the file cannot be read.
    """
    try:
        for item in iter_json_items(file):
            try:
                record = parse_record(item, InstructionRecord)
                media = tuple(
                    MediaFile(kind, media_root / name) for kind, name in record.media_names
                )
                for medium in media:
                    if not medium.path.is_file():
                        raise InvalidRecord("schema", f"media file {medium.path} does not exist")
            except InvalidRecord as error:
                on_error(RecordError(f"{item_name(file, item)}: {error}"))
            else:
                yield SourceRecord(file, item, record, media)
    except JsonStreamError as error:
        on_error(RecordError(f"{file}: record {error.index}: {error}"))


def _id_or_position(item: JsonItem) -> object:
    given = item.value.get("id")
    return item.index if given is None else given


def _first_fault(error: ValidationError) -> InvalidRecord:
    first = error.errors(include_url=False)[0]
    steps = (f"[{step}]" if isinstance(step, int) else f".{step}" for step in first["loc"])
    place = "".join(steps).removeprefix(".")
    for kind in get_args(FaultKind):
        if first["type"] == kind:
            return InvalidRecord(kind, f"{place}: {first['msg']}" if place else first["msg"])
    if first["type"] == "missing":
        return InvalidRecord("schema", f"{place} is missing")
    shown = repr(first["input"])
    shown = shown if len(shown) <= _MAX_SHOWN else shown[:_MAX_SHOWN] + "..."
    speaker = place.startswith("conversations[") and place.endswith("].from")
    return InvalidRecord(
        "wrong_speaker" if speaker else "schema", f"{place}: {first['msg']}, got {shown}"
    )
