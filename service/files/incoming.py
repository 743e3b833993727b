"""One upload on its way to the disk, and the translation of disk errors."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import logging
import os
import threading
from collections.abc import Iterator
from pathlib import Path

from service.exceptions import StorageFullError, StorageUnavailableError

logger = logging.getLogger(__name__)

_FULL = (errno.ENOSPC, errno.EDQUOT)


class IncomingFile:
    """A file that is hashed and counted while it is written.

    Locked, so that a cancelled upload is not closed during a write.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.size = path, 0
        self._hash, self._fd, self._lock = hashlib.sha256(), -1, threading.Lock()
        self._discarded = False

    def append(self, data: bytes) -> None:
        """Writes to the end.

        Raises:
            StorageFullError, StorageUnavailableError: the disk cannot take it.
        """
        with self._lock, translated_errors():
            self._write(data)

    @contextlib.contextmanager
    def complete(self) -> Iterator[str]:
        """The SHA-256 of a file that is on the disk in full; it is not discarded meanwhile."""
        with self._lock:
            self._write(b"")
            os.fsync(self._fd)
            yield self._hash.hexdigest()

    def discard(self) -> None:
        """Closes the file and removes it if it still has its temporary name; idempotent."""
        with self._lock:
            self._discarded = True
            if self._fd >= 0:
                os.close(self._fd)
                self._fd = -1
            self.path.unlink(missing_ok=True)

    def _write(self, data: bytes) -> None:
        if self._discarded:
            raise StorageUnavailableError("the upload was given up")
        if self._fd < 0:
            self._fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        self._hash.update(data)
        self.size += len(data)
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]


@contextlib.contextmanager
def translated_errors() -> Iterator[None]:
    """Raises disk errors as domain errors.

    Raises:
        StorageFullError: the disk is full.
        StorageUnavailableError: any other error.
    """
    try:
        yield
    except OSError as error:
        logger.error("the file storage failed: %s", error)
        if error.errno in _FULL:
            raise StorageFullError("the disk that holds the files is full") from error
        message = "the disk that holds the files cannot be used"
        raise StorageUnavailableError(message) from error
