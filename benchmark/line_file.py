"""A file of lines that a run adds to as things come, and a later run goes on with.

Used by `answers` and `judge`, which know what a line says.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from benchmark.errors import BenchmarkError


class LineFile:
    """Append-only lines, open to one writer at a time; `path` is made where it is missing.

    Raises:
        BenchmarkError: another run is writing to the file, or it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # Without a buffer: what could not be written must not be tried again on closing. And
            # the end is read too, where a kill may have left half a line.
            self._stream = path.open("a+b", buffering=0)
        except OSError as error:
            raise BenchmarkError(f"{path}: {error.strerror}") from None
        try:
            # Two runs would ask everything twice. A killed run holds no lock.
            fcntl.flock(self._stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._stream.close()
            raise BenchmarkError(f"another run is writing to {path}; wait for its end") from None
        self._has_half_line = False
        if self._stream.seek(0, os.SEEK_END):
            self._stream.seek(-1, os.SEEK_END)
            self._has_half_line = self._stream.read(1) != b"\n"

    def append(self, line: str) -> None:
        """Writes a line, given without its end; with the operating system it survives a kill.

        Raises:
            BenchmarkError: it cannot be written; nothing that is not kept may count as asked.
        """
        # A lone surrogate, which JSON can spell and UTF-8 cannot, must not end the run.
        left = (line + "\n").encode("utf8", errors="backslashreplace")
        if self._has_half_line:
            left = b"\n" + left
        self._has_half_line = True
        try:
            while left:
                left = left[self._stream.write(left) :]
        except OSError as error:
            raise BenchmarkError(f"{self._path}: {error.strerror}; asking stops") from None
        self._has_half_line = False

    def close(self) -> None:
        """Lets the next writer in."""
        self._stream.close()
