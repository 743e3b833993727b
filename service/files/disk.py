"""The directory of uploaded files: its layout, and the order of its changes.

`OWNER/ID` below the root is a file's content, `OWNER/ID.json` its metadata; `incoming/` holds
incomplete uploads. Metadata is written last and removed first: a file exists as long as its
metadata does. All functions block; call them in threads.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import re
import tempfile
import uuid
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from service.files.incoming import IncomingFile, translated_errors

logger = logging.getLogger(__name__)

_ID = re.compile(r"file-[0-9a-f]{64}")
_INCOMING = "incoming"
_LEFTOVER_AGE_S = 3600.0


class Purpose(StrEnum):
    """A file's purpose, in OpenAI's terms; clients upload all kinds but the last."""

    VISION = "vision"
    USER_DATA = "user_data"
    ASSISTANTS = "assistants"
    BATCH = "batch"
    BATCH_OUTPUT = "batch_output"


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One file; times in seconds since 1970. `path` may be gone once the file has expired."""

    id: str
    filename: str
    purpose: Purpose
    bytes: int
    created_at: int
    expires_at: int
    path: Path


class FileDirectory:
    """The files of all owners below one root."""

    def __init__(self, root: Path) -> None:
        """Makes missing directories and checks that they are writable.

        Raises:
            OSError: they cannot be made or written.
        """
        self._root, self._incoming = root, root / _INCOMING
        # One by one: `parents` gives the directories above the last one the umask's mode.
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._incoming.mkdir(mode=0o700, exist_ok=True)
        with tempfile.TemporaryFile(dir=self._incoming):
            pass

    def receive(self) -> IncomingFile:
        """A new file under a temporary name."""
        return IncomingFile(self._incoming / uuid.uuid4().hex)

    def read(self, owner: str, file_id: str) -> StoredFile | None:
        """The owner's file with that id, None if there is none.

        Raises:
            StorageUnavailableError: the disk cannot be read.
        """
        if not _ID.fullmatch(file_id):
            return None
        path = self._of(owner) / file_id
        with translated_errors():
            try:
                text = path.with_suffix(".json").read_bytes()
            except FileNotFoundError:
                return None
        try:
            values = json.loads(text)
            return StoredFile(
                id=file_id,
                filename=str(values["filename"]),
                purpose=Purpose(values["purpose"]),
                bytes=int(values["bytes"]),
                created_at=int(values["created_at"]),
                expires_at=int(values["expires_at"]),
                path=path,
            )
        except (ValueError, KeyError, TypeError):
            logger.warning("the metadata of stored file %s is damaged", file_id)
            return None

    def read_all(self, owner: str) -> list[StoredFile]:
        """All files of an owner, unordered.

        Raises:
            StorageUnavailableError: the disk cannot be read.
        """
        names = [path.stem for path in self._of(owner).glob("file-*.json")]
        return [file for name in names if (file := self.read(owner, name)) is not None]

    def keep(
        self, incoming: IncomingFile, owner: str, name: str, purpose: Purpose, now: int, end: int
    ) -> StoredFile:
        """Moves a complete file to its place; an existing one takes the new name.

        Raises:
            StorageFullError, StorageUnavailableError: its metadata cannot be written.
        """
        directory = self._of(owner)
        with translated_errors(), incoming.complete() as digest:
            file_id = f"file-{digest}"
            before = self.read(owner, file_id)
            first = before is None or before.expires_at <= now
            stored = StoredFile(
                id=file_id,
                filename=name,
                purpose=purpose,
                bytes=incoming.size,
                created_at=now if first or before is None else before.created_at,
                expires_at=end,
                path=directory / file_id,
            )
            directory.mkdir(mode=0o700, exist_ok=True)
            metadata = incoming.path.with_suffix(".json")
            try:
                _write_metadata(metadata, stored)
                incoming.path.replace(stored.path)
                metadata.replace(stored.path.with_suffix(".json"))
            finally:
                metadata.unlink(missing_ok=True)
            _sync(directory)
        return stored

    def remove(self, stored: StoredFile) -> None:
        """Removes a file, if it exists.

        Raises:
            StorageUnavailableError: the disk cannot be written.
        """
        with translated_errors():
            _remove(stored.path)

    def sizes(self, owner: str | None = None) -> list[int]:
        """Bytes of each complete file, of all owners or of one."""
        found = self._root.glob("*/file-*") if owner is None else self._of(owner).glob("file-*")
        contents = (path for path in found if path.suffix != ".json")
        return [size for path in contents if (size := _size(path)) is not None]

    def sweep(self, now: float) -> None:
        """Removes expired files, and uploads that were cut off over an hour ago.

        Raises:
            OSError: something cannot be removed.
        """
        for path in self._incoming.iterdir():
            _remove_leftover(path, now)
        for path in self._root.glob("*/file-*"):
            if path.suffix == ".json":
                if _expiry(path) <= now:
                    _remove(path.with_suffix(""))
            elif not path.with_suffix(".json").exists():
                _remove_leftover(path, now)

    def _of(self, owner: str) -> Path:
        # Hashed, so that an owner's name is never used as a path.
        return self._root / hashlib.sha256(owner.encode()).hexdigest()[:32]


def _write_metadata(path: Path, stored: StoredFile) -> None:
    values = {
        "filename": stored.filename,
        "purpose": stored.purpose,
        "bytes": stored.bytes,
        "created_at": stored.created_at,
        "expires_at": stored.expires_at,
    }
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf8") as file:
        json.dump(values, file)
        file.flush()
        os.fsync(file.fileno())


def _expiry(metadata: Path) -> float:
    """When a file expires; one with damaged metadata has expired."""
    try:
        return float(json.loads(metadata.read_bytes())["expires_at"])
    except (ValueError, KeyError, TypeError, FileNotFoundError):
        return 0.0


def _remove(content: Path) -> None:
    content.with_suffix(".json").unlink(missing_ok=True)
    content.unlink(missing_ok=True)


def _remove_leftover(path: Path, now: float) -> None:
    # Not at once: another process may be writing it.
    with contextlib.suppress(FileNotFoundError):
        if now - path.stat().st_mtime > _LEFTOVER_AGE_S:
            path.unlink()


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None


def _sync(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
