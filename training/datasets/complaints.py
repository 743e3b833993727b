"""Kinds of fault in a dataset, and a log that counts them all and keeps a few examples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Self


class Kind(StrEnum):
    """Kinds of complaint and their meanings; `--fail-on` and the JSON report use the values."""

    meaning: str

    def __new__(cls, value: str, meaning: str = "") -> Self:
        """A member that equals the string `value`."""
        kind = str.__new__(cls, value)
        kind._value_, kind.meaning = value, meaning
        return kind

    UNREADABLE = "unreadable", "a file that is not one complete JSON list"
    SCHEMA = "schema", "a record with a missing field, or a field of the wrong form"
    EMPTY_CONVERSATION = (
        "empty_conversation",
        "a conversation without messages, or with an empty message",
    )
    WRONG_SPEAKER = (
        "wrong_speaker",
        "messages that do not alternate between human and gpt, ending with gpt",
    )
    PLACEHOLDER = "placeholder", "a placeholder of media without a medium, or out of place"
    UNKNOWN_MEDIA = "unknown_media", "media under a key that is not read"
    UNKNOWN_TASK_TYPE = "unknown_task_type", "a task_type for which LAMM has no system prompt"
    MISSING_MEDIA = "missing_media", "a record whose picture or cloud file is missing"
    CORRUPT_MEDIA = (
        "corrupt_media",
        "a record whose picture or cloud cannot be decoded within the limits",
    )
    MEDIA_OUTSIDE = (
        "media_outside",
        "a media path that is absolute or leads out of the dataset's folder",
    )
    DUPLICATE_MEDIA = "duplicate_media", "a picture or cloud with the same bytes as another one"
    RECORD_ID = "record_id", "an id that is missing or repeated within a file"
    BOX = "box", "a box, point or joint that is degenerate or outside its frame"
    TOO_LONG = "too_long", "a record with more tokens than --limit-length"
    RECORD_COUNT = (
        "record_count",
        "a file or benchmark whose number of records differs from the published one",
    )
    MISSING_FILE = "missing_file", "a published file that is missing"
    UNKNOWN_FILE = "unknown_file", "a .json file without a published name, which is not read"
    MISSING_FOLDER = "missing_folder", "a published media folder that is missing"


# Kinds that do not by themselves make training or scoring wrong.
WARNINGS = frozenset(
    {
        Kind.DUPLICATE_MEDIA,
        Kind.RECORD_ID,
        Kind.BOX,
        Kind.TOO_LONG,
        Kind.RECORD_COUNT,
        Kind.MISSING_FILE,
        Kind.UNKNOWN_FILE,
        Kind.MISSING_FOLDER,
    }
)
ERRORS = frozenset(Kind) - WARNINGS


@dataclass(frozen=True, slots=True)
class Complaint:
    """One fault. `file` is relative to the root; `index` counts records from 0."""

    kind: Kind
    file: str
    message: str
    index: int | None = None
    record_id: str | None = None

    def __str__(self) -> str:
        shown = "" if self.record_id is None else f" (id {self.record_id!r})"
        record = "" if self.index is None else f" record {self.index}{shown}:"
        text = f"{self.file}:{record} {self.message}"
        # Text from a dataset must not control the terminal.
        return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


class ComplaintLog:
    """Counts every complaint by file and kind; keeps the first `keep` of each kind."""

    def __init__(self, keep: int) -> None:
        self._keep = keep
        self._counts: Counter[tuple[str, Kind]] = Counter()
        self._kept: dict[Kind, list[Complaint]] = {}

    def add(self, complaint: Complaint) -> None:
        self._counts[complaint.file, complaint.kind] += 1
        kept = self._kept.setdefault(complaint.kind, [])
        if len(kept) < self._keep:
            kept.append(complaint)

    def total(self, kinds: Iterable[Kind] = tuple(Kind)) -> int:
        """Complaints of some kinds, over all files."""
        wanted = frozenset(kinds)
        return sum(count for (_, kind), count in self._counts.items() if kind in wanted)

    def by_kind(self) -> dict[Kind, int]:
        """Totals of the kinds that occurred, in the order of `Kind`."""
        totals = {kind: self.total((kind,)) for kind in Kind}
        return {kind: total for kind, total in totals.items() if total}

    def of_file(self, file: str) -> dict[Kind, int]:
        """Totals of one file, in the order of `Kind`."""
        return {kind: self._counts[file, kind] for kind in Kind if (file, kind) in self._counts}

    def examples(self, kind: Kind) -> tuple[Complaint, ...]:
        """The first complaints of a kind, in order of arrival."""
        return tuple(self._kept.get(kind, ()))
