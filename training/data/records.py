"""The published LAMM instruction format: a JSON file becomes checked `Record`s, one at a time.

Called by `training.data.dataset` and by `lamm data check`. Format (OpenLAMM, "Meta file format"):
a list of `{id, image | pcl, conversations: [{from: human | gpt, value}], task_type}`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lamm_model.conversation import Modality, Turn, neutralise

DEFAULT_TASK_TYPE = "normal"

_MEDIA_KEYS: Mapping[str, Modality] = {"image": Modality.IMAGE, "pcl": Modality.POINT_CLOUD}
# Upstream strips a placeholder together with the newline it touches, and only those.
_PLACEHOLDER = re.compile(r"<(?:image|pcl)>\n|\n<(?:image|pcl)>")
_BETWEEN = re.compile(r"[\s,]*")
_DECODER = json.JSONDecoder()


class RecordError(ValueError):
    """A record that cannot be trained on; the message names file, position, id and fault."""

    def __init__(self, file: Path, index: int, record_id: object, fault: str) -> None:
        super().__init__(f"{file}: record {index} (id {record_id!r}): {fault}")
        self.file, self.index, self.record_id, self.fault = file, index, record_id, fault


@dataclass(frozen=True, slots=True)
class MediaFile:
    """One medium on disk."""

    modality: Modality
    path: Path


@dataclass(frozen=True, slots=True)
class Record:
    """One conversation; its media precede the first question."""

    file: Path
    index: int
    id: str
    turns: tuple[Turn, ...]
    media: tuple[MediaFile, ...]
    task_type: str


def read_records(file: Path, media_root: Path, errors: list[str]) -> Iterator[Record]:
    """Good records of a file, in order; what is wrong with the others is appended to `errors`.

    Raises:
        OSError: the file cannot be read.
    """
    try:
        for index, item in enumerate(read_json_items(file)):
            try:
                yield parse_record(item, file, index, media_root)
            except RecordError as error:
                errors.append(str(error))
    except RecordError as error:
        # Past text that is not JSON nothing more can be read.
        errors.append(str(error))
    except UnicodeDecodeError as error:
        errors.append(f"{file}: byte {error.start} is not UTF-8")


def read_json_items(file: Path) -> Iterator[Any]:
    """Items of a JSON list or of a .jsonl file, decoded one by one: memory stays at the text.

    Raises:
        RecordError: the text is not JSON at some item, or goes on behind the list.
        UnicodeDecodeError: it is not UTF-8.
    """
    text = file.read_text(encoding="utf-8-sig")
    start = _BETWEEN.match(text)
    position = start.end() if start else 0
    in_list = text.startswith("[", position)
    position += in_list
    index = 0
    while True:
        gap = _BETWEEN.match(text, position)
        position = gap.end() if gap else position
        if position >= len(text) or (in_list and text[position] == "]"):
            if in_list and position >= len(text):
                raise RecordError(file, index, None, "the JSON list has no end; is the file whole?")
            if text[position + 1 :].strip():
                line = text.count("\n", 0, position) + 1
                fault = f"text follows the end of the list at line {line}; it would not be read"
                raise RecordError(file, index, None, fault)
            return
        try:
            item, position = _DECODER.raw_decode(text, position)
        except json.JSONDecodeError as error:
            raise RecordError(file, index, None, f"not JSON at line {error.lineno}") from None
        except (RecursionError, ValueError) as error:
            # Nested beyond Python's stack, or an integer of over 4300 digits.
            fault = f"cannot be decoded ({type(error).__name__})"
            raise RecordError(file, index, None, fault) from None
        yield item
        index += 1


def parse_record(item: Any, file: Path, index: int, media_root: Path) -> Record:
    """One item as a record; placeholders stripped, forged borders neutralised, media found.

    Raises:
        RecordError: as `read_records`.
    """
    if not isinstance(item, dict):
        raise RecordError(file, index, None, f"is a {type(item).__name__}, not an object")
    record_id = item.get("id", index)

    def fail(fault: str) -> RecordError:
        return RecordError(file, index, record_id, fault)

    media = tuple(_media(item, media_root, fail))
    turns = tuple(_turns(item.get("conversations"), media, fail))
    task_type = item.get("task_type", DEFAULT_TASK_TYPE)
    if not isinstance(task_type, str):
        raise fail(f"task_type is {task_type!r}, not a string")
    return Record(file, index, str(record_id), turns, media, task_type)


def strip_placeholders(question: str) -> str:
    """A conversation's first question without the `<image>` or `<pcl>` that marks its medium."""
    return _PLACEHOLDER.sub("", question)


def _media(
    item: Mapping[str, Any], media_root: Path, fail: Callable[[str], RecordError]
) -> Iterator[MediaFile]:
    for key, modality in _MEDIA_KEYS.items():
        names = item.get(key, [])
        for name in names if isinstance(names, list) else [names]:
            if not isinstance(name, str) or not name:
                raise fail(f"{key} is {name!r}, not a path")
            path = media_root / name
            if not path.is_file():
                raise fail(f"{key} file {path} does not exist")
            yield MediaFile(modality, path)


def _turns(
    conversations: Any, media: tuple[MediaFile, ...], fail: Callable[[str], RecordError]
) -> Iterator[Turn]:
    if not isinstance(conversations, list) or not conversations:
        raise fail("conversations is not a list with turns")
    if len(conversations) % 2:
        raise fail(f"{len(conversations)} messages: the last question has no answer")
    for number in range(0, len(conversations), 2):
        human = _value(conversations[number], "human", number, fail)
        answer = _value(conversations[number + 1], "gpt", number + 1, fail)
        if not answer.strip():
            raise fail(f"message {number + 1} is an empty answer")
        first = number == 0
        human = strip_placeholders(human) if first else human
        yield Turn(
            human=neutralise(human),
            assistant=neutralise(answer),
            media=tuple(medium.modality for medium in media) if first else (),
        )


def _value(message: Any, role: str, number: int, fail: Callable[[str], RecordError]) -> str:
    if not isinstance(message, dict) or message.get("from") != role:
        given = message.get("from") if isinstance(message, dict) else message
        raise fail(f"message {number} is from {given!r}, not {role!r}")
    value = message.get("value")
    if not isinstance(value, str):
        raise fail(f"message {number} has no text value")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise fail(
            f"message {number} has half a character ({value[error.start]!r}) at {error.start}"
        ) from None
    return value
