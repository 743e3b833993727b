"""Lines of numbers -> a table; what cannot be read is refused with its line number and text."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lamm_model.formats.errors import MediaDecodeError

COMMENTS = (b"#", b"//")
BOM = b"\xef\xbb\xbf"  # of UTF-8; programs on Windows write it
_MAX_QUOTED = 80
# Microsoft's C library writes `-nan(ind)`.
_NAN_PAYLOAD = re.compile(rb"(?i)nan\([a-z0-9_]*\)")
_NUMBER = re.compile(
    rb"(?i)[+-]?(?:(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?|nan(?:\(\w*\))?|inf(?:inity)?)\Z"
)


def read_table(
    text: bytes, format: str, *, first_line: int, step: int = 1, columns: int | None = None,
    rows: int | None = None, exact: bool = False, comments: bool = False,
    shown: bytes | None = None,
) -> npt.NDArray[np.float64]:  # fmt: skip
    """Lines of numbers, separated by white space, as [N, columns] float64; blank lines are skipped.

    Args:
        text: the lines.
        format: names the file in errors.
        first_line: the number of the first line in the file, from 1.
        step: lines of the file per line of `text`.
        columns: numbers per line; None takes those of the first line.
        rows: the number of lines; None reads all.
        exact: whether more lines than `rows` are refused.
        comments: whether `#` and `//` begin comments.
        shown: the lines as the file has them, for errors; None for `text`.

    Raises:
        MediaDecodeError: a line has a value that is not a number or another number of values, or
            there are fewer than `rows` lines, or more if `exact`.
    """
    lines = _Lines(text, text if shown is None else shown, format, first_line, step, comments)
    text = _NAN_PAYLOAD.sub(b"nan", text) if b"(" in text else text
    # NumPy splits lines in Python if it is to look for comments of two characters.
    marks = [mark.decode() for mark in COMMENTS if mark in text] if comments else None
    most = None if rows is None else rows + exact
    try:
        with warnings.catch_warnings():
            # NumPy warns about empty text; the shape is checked below.
            warnings.simplefilter("ignore", UserWarning)
            table = np.loadtxt(
                io.BytesIO(text), dtype=np.float64, comments=marks or None, ndmin=2, max_rows=most
            )
    except ValueError:
        raise lines.fault(columns) from None
    if table.size and columns is not None and table.shape[1] != columns:
        raise lines.fault(columns)
    found = len(table) if table.size else 0
    if rows is not None and found < rows:
        raise MediaDecodeError(f"the {format} file declares {rows} points, but has {found} lines")
    if rows is not None and found > rows:
        raise MediaDecodeError(
            f"the {format} file declares {rows} points, but has more lines of points"
        )
    return table if table.size else np.empty((0, columns or 0))


def is_number(word: bytes) -> bool:
    """Whether NumPy reads it as a number."""
    return _NUMBER.match(word) is not None


def numbered_lines(text: bytes, first_line: int) -> Iterator[tuple[int, bytes]]:
    """Line numbers and lines, without white space at their ends and without the blank ones."""
    for number, line in enumerate(io.BytesIO(text), first_line):
        if stripped := line.strip():
            yield number, stripped


def quoted(line: bytes) -> str:
    """A line of the file as error messages have it."""
    text = line.decode("utf8", errors="replace").strip()
    # Control characters become spaces: an error message is one line.
    text = "".join(sign if sign.isprintable() else " " for sign in text[: _MAX_QUOTED + 1])
    return repr(text if len(text) <= _MAX_QUOTED else text[:_MAX_QUOTED] + "...")


@dataclass(frozen=True, slots=True)
class _Lines:
    """The arguments of `read_table` that tell where a line is in the file."""

    text: bytes
    shown: bytes
    format: str
    first_line: int
    step: int
    comments: bool

    def fault(self, columns: int | None) -> MediaDecodeError:
        """The error of the first line that is not `columns` numbers."""
        for index, line in numbered_lines(self.text, 0):
            words = (re.split(rb"#|//", line)[0] if self.comments else line).split()
            if not words:
                continue
            columns = columns or len(words)
            bad = next((word for word in words if not is_number(word)), None)
            if bad is not None:
                reason = f"{quoted(bad)} is not a number"
            elif len(words) != columns:
                reason = f"it has {len(words)} values; expected {columns}"
            else:
                continue
            number = self.first_line + index * self.step
            whole = quoted(self.shown.split(b"\n", index + 1)[index])
            return MediaDecodeError(f"line {number} of the {self.format} file is {whole}: {reason}")
        return MediaDecodeError(f"the {self.format} file has lines that are not numbers")
