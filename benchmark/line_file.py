"""A file to which a run appends lines as results arrive, and which a later run continues."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from benchmark.errors import BenchmarkError


class LineFile:
    """Append-only lines with a single writer. A missing file is created.

    Raises:
        BenchmarkError: another run is writing to the file, or it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # Unbuffered: a failed write must not be repeated on close. Readable too: a killed run
            # may have left half a line at the end.
            self._stream = path.open("a+b", buffering=0)
        except OSError as error:
            raise BenchmarkError(f"{path}: {error.strerror}") from None
        try:
            # Two runs would send every request twice. A killed run leaves no lock.
            fcntl.flock(self._stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._stream.close()
            raise BenchmarkError(f"another run is writing to {path}; wait until it ends") from None
        self._has_half_line = False
        if self._stream.seek(0, os.SEEK_END):
            self._stream.seek(-1, os.SEEK_END)
            self._has_half_line = self._stream.read(1) != b"\n"

    def append(self, line: str) -> None:
        """Writes a line, given without its line feed. The write survives a kill of this process.

        Raises:
            BenchmarkError: the line cannot be written.
        """
        # A lone surrogate, valid in JSON but not in UTF-8, must not end the run.
        left = (line + "\n").encode("utf8", errors="backslashreplace")
        if self._has_half_line:
            left = b"\n" + left
        self._has_half_line = True
        try:
            while left:
                left = left[self._stream.write(left) :]
        except OSError as error:
            raise BenchmarkError(f"cannot write {self._path}: {error.strerror}") from None
        self._has_half_line = False

    def close(self) -> None:
        """Closes the file and releases its lock."""
        self._stream.close()
