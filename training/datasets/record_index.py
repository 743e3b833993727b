"""The state of a check about millions of records, in a database file instead of memory.

File names are those of complaints; media paths are relative to the root.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Self

from lamm_model.conversation import Modality
from training.datasets.complaints import Kind


class Medium(NamedTuple):
    """A distinct medium: number, path and expected modality."""

    number: int
    path: str
    modality: Modality


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of decoding a medium: digest of its bytes, or kind and fault."""

    medium: int
    digest: bytes | None
    kind: Kind | None = None
    fault: str = ""


class Use(NamedTuple):
    """A record that names a medium; `position` counts the records of `file` from 0."""

    file: str
    position: int
    record_id: str


class RecordIndex:
    """Records, their media and the verdicts on these; a context manager."""

    def __init__(self, directory: Path) -> None:
        """Creates the database file in `directory`, which the caller removes."""
        self._connection = sqlite3.connect(directory / "records.sqlite")
        # The file does not outlive the process, so it needs no journal.
        self._connection.executescript("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;")
        self._connection.executescript(_TABLES)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def add(self, use: Use, path: str | None, modality: Modality) -> None:
        """Adds a record; `path` is None if its medium is not followed."""
        medium = None
        if path is not None:
            self._connection.execute(
                "INSERT OR IGNORE INTO media (path, modality) VALUES (?, ?)", (path, modality)
            )
            row = self._connection.execute("SELECT number FROM media WHERE path = ?", (path,))
            (medium,) = row.fetchone()
        self._connection.execute("INSERT INTO uses VALUES (?, ?, ?, ?)", (*use, medium))

    def media_count(self, file: str | None = None) -> int:
        """Number of distinct media of one file or of all."""
        if file is None:
            row = self._connection.execute("SELECT COUNT(*) FROM media")
        else:
            query = "SELECT COUNT(DISTINCT medium) FROM uses WHERE file = ?"
            row = self._connection.execute(query, (file,))
        return int(row.fetchone()[0])

    def media(self) -> Iterator[Medium]:
        """All media, in order of first use."""
        for number, path, modality in self._connection.execute(
            "SELECT number, path, modality FROM media ORDER BY number"
        ):
            yield Medium(number, path, Modality(modality))

    def judge(self, verdict: Verdict) -> None:
        self._connection.execute(
            "INSERT INTO verdicts VALUES (?, ?, ?, ?)",
            (verdict.medium, verdict.digest, verdict.kind, verdict.fault),
        )

    def bad_media(self) -> Iterator[tuple[Use, str, Kind, str]]:
        """Every record with a bad medium, by file: use, path, kind and fault."""
        self._connection.execute("CREATE INDEX IF NOT EXISTS uses_medium ON uses (medium)")
        for file, position, record_id, path, kind, fault in self._connection.execute(
            "SELECT file, position, record_id, path, kind, fault FROM uses "
            "JOIN verdicts USING (medium) JOIN media ON number = medium "
            "WHERE kind IS NOT NULL ORDER BY uses.rowid"
        ):
            yield Use(file, position, record_id), path, Kind(kind), fault

    def duplicate_media(self) -> Iterator[tuple[Use, str, str]]:
        """Media with the bytes of an earlier one: first use, path and the earlier path."""
        self._connection.execute("CREATE INDEX IF NOT EXISTS uses_medium ON uses (medium)")
        for file, position, record_id, path, earlier in self._connection.execute(_DUPLICATES):
            yield Use(file, position, record_id), path, earlier

    def repeated_ids(self) -> Iterator[tuple[Use, int]]:
        """Ids that occur more than once in a file: first use and number of uses."""
        for file, position, record_id, count in self._connection.execute(
            "SELECT file, MIN(position), record_id, COUNT(*) FROM uses "
            "GROUP BY file, record_id HAVING COUNT(*) > 1 ORDER BY MIN(uses.rowid)"
        ):
            yield Use(file, position, record_id), count


_TABLES = """
CREATE TABLE media (number INTEGER PRIMARY KEY, path TEXT NOT NULL UNIQUE, modality TEXT NOT NULL);
CREATE TABLE uses (
    file TEXT NOT NULL, position INTEGER NOT NULL, record_id TEXT NOT NULL, medium INTEGER
);
CREATE TABLE verdicts (medium INTEGER PRIMARY KEY, digest BLOB, kind TEXT, fault TEXT NOT NULL);
"""
_DUPLICATES = """
SELECT uses.file, uses.position, uses.record_id, later.path, earlier.path
FROM (
    SELECT digest, MIN(medium) AS first FROM verdicts
    WHERE digest IS NOT NULL GROUP BY digest HAVING COUNT(*) > 1
) AS same
JOIN verdicts ON verdicts.digest = same.digest AND verdicts.medium > same.first
JOIN media AS later ON later.number = verdicts.medium
JOIN media AS earlier ON earlier.number = same.first
JOIN uses ON uses.rowid = (SELECT MIN(rowid) FROM uses WHERE medium = verdicts.medium)
ORDER BY verdicts.medium
"""
