"""Text clouds: one point per line, as CloudCompare, MeshLab, Open3D, Leica and pandas write them.

Values are separated by white space, commas or semicolons; with semicolons or white space, a comma
may be the decimal sign. Before the points there may be comments (`#`, `//`), a line that names the
columns and a line that counts the points.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from lamm_model.formats.cloud import (
    AXES,
    MAX_COLUMNS,
    CloudOptions,
    RawCloud,
    check_columns,
    check_count,
    cloud_from_table,
)
from lamm_model.formats.cloud_format import CloudFormat
from lamm_model.formats.errors import MediaDecodeError, MediaTooLargeError
from lamm_model.formats.text_table import (
    BOM,
    COMMENTS,
    is_number,
    numbered_lines,
    quoted,
    read_table,
)


def read_text(data: bytes, options: CloudOptions) -> RawCloud:
    """See `CloudReader`."""
    return _read(data, options)


def read_pts(data: bytes, options: CloudOptions) -> RawCloud:
    """See `CloudReader`. Leica's `x y z intensity r g b` if a line has 7 values and no names."""
    return _read(data, options, _PTS_NAMES)


FORMATS: Mapping[str, CloudFormat] = {
    **dict.fromkeys(("asc", "csv", "txt", "xyz", "xyzn", "xyzrgb"), CloudFormat(read_text)),
    "pts": CloudFormat(read_pts),
}

_PTS_NAMES = ("x", "y", "z", "intensity", "r", "g", "b")
_UTF16_BOMS = (b"\xff\xfe", b"\xfe\xff")
_SEPARATORS = re.compile(rb"[\s,;]+")
_EMPTY_VALUE = re.compile(rb"(?m)(?:(?<=[,;])|^)[ \t]*(?=[,;])")
_EMPTY_LAST_VALUE = re.compile(rb"(?m)(?<=[,;])[ \t]*(?=\r?$)")
# `x [m]` and `"X"` name x.
_NAME_NOISE = re.compile(r"\[.*?\]|\(.*?\)|[\"'\s]")


@dataclass(frozen=True, slots=True)
class _Names:
    """Lower-case names of the columns, the line that has them, and whether it is a comment."""

    names: tuple[str, ...]
    line: int
    is_comment: bool


@dataclass(frozen=True, slots=True)
class _Preamble:
    """What precedes the first point, which is the text `first` in line `line`."""

    first: bytes
    line: int
    names: _Names | None
    count: int | None
    count_line: int


def _read(
    data: bytes, options: CloudOptions, usual_names: tuple[str, ...] | None = None
) -> RawCloud:
    if data.startswith(_UTF16_BOMS) or (data[:4:2] == b"\0\0") != (data[1:4:2] == b"\0\0"):
        raise MediaDecodeError("the text is UTF-16; expected ASCII or UTF-8")
    data = data.removeprefix(BOM)
    if b"\n" not in data:
        data = data.replace(b"\r", b"\n")  # line ends of old Macintosh programs
    # Few lines are comments or blank, so line ends bound the points before any is parsed.
    lines = data.count(b"\n") + (not data.endswith(b"\n"))
    if lines > 2 * options.max_points:
        raise MediaTooLargeError(
            f"the cloud has {lines} lines; the limit is {options.max_points} points"
        )
    before = _preamble(data)
    if before is None:
        check_count(0, options.max_points)
    assert before is not None  # `check_count` raises
    first = re.split(rb"#|//", before.first)[0]
    if len(_SEPARATORS.split(first.strip(b", ;\t"), MAX_COLUMNS)) > MAX_COLUMNS:
        # NumPy would take memory for each of them.
        raise MediaDecodeError(
            f"line {before.line} of the text file has more than {MAX_COLUMNS} values"
        )
    body = data.split(b"\n", before.line - 1)[-1]
    table = read_table(
        _spaced(body, first, before), "text", first_line=before.line, comments=True, shown=body
    )
    check_count(len(table), options.max_points)
    if before.count is not None and before.count != len(table):
        raise MediaDecodeError(
            f"line {before.count_line} declares {before.count} points, but {len(table)} follow"
        )
    columns = table.shape[1]
    check_columns(columns)
    names = None if before.names is None else _columns(before.names, before.line, columns)
    if names is None and usual_names is not None and len(usual_names) == columns:
        names = {name: column for column, name in enumerate(usual_names)}
    return cloud_from_table(table, names)


def _preamble(data: bytes) -> _Preamble | None:
    """None if there is no point."""
    names: _Names | None = None
    count: int | None = None
    count_line = 0
    for number, line in numbered_lines(data, 1):
        is_comment = line.startswith(COMMENTS)
        words = [word for word in _SEPARATORS.split(line, MAX_COLUMNS) if word]
        if len(words) == 1 and words[0].isdigit() and count is None:
            count, count_line = int(words[0][:18]), number
        elif not is_comment and any(is_number(word) for word in words):
            return _Preamble(line, number, names, count, count_line)
        else:
            named = _names(line.lstrip(b"#/ \t") if is_comment else line)
            if {*AXES} <= {*named}:
                names = _Names(named, number, is_comment)
            elif not is_comment:
                raise MediaDecodeError(
                    f"line {number} of the text file is {quoted(line)}; expected a point, or the "
                    "names of the columns with x, y and z among them"
                )
    return None


def _names(line: bytes) -> tuple[str, ...]:
    """Lower-case column names; with commas, semicolons or tabs, names may have spaces."""
    text = line.decode("utf8", errors="replace")
    separator = next((sign for sign in ";,\t" if sign in text), None)
    return tuple(
        _NAME_NOISE.sub("", word).lower()
        for word in (text.split() if separator is None else text.split(separator))
    )


def _columns(found: _Names, points_line: int, columns: int) -> Mapping[str, int] | None:
    """Name -> column; None if a comment names other columns than those that follow."""
    names = found.names[:-1] if found.names[-1] == "" else found.names
    if len(names) != columns:
        if found.is_comment:
            return None
        raise MediaDecodeError(
            f"line {found.line} of the text file names {len(names)} columns, but line "
            f"{points_line} has {columns} values"
        )
    repeated = next((name for name in AXES if names.count(name) > 1), None)
    if repeated is not None:
        raise MediaDecodeError(
            f"line {found.line} of the text file names the column {repeated} twice"
        )
    return {name: column for column, name in enumerate(names)}


def _spaced(body: bytes, first: bytes, before: _Preamble) -> bytes:
    """Separators become spaces and decimal commas points; the `first` point tells them apart."""
    if b"," not in body and b";" not in body:
        return body
    # pandas leaves values empty that are not a number. Some programs end every line with a comma.
    if _has_empty_value(body):
        body = _EMPTY_VALUE.sub(b" nan ", body)
        if before.names is not None and before.names.names[-1] != "":
            body = _EMPTY_LAST_VALUE.sub(b" nan", body)
    if b";" in first:
        body = body.replace(b";", b" ")
        return body if b"." in first else body.replace(b",", b".")
    spaced = any(b" " in word or b"\t" in word for word in map(bytes.strip, first.split(b",")))
    if spaced and b"." not in first:
        return body.replace(b",", b".")
    return body.replace(b",", b" ")


def _has_empty_value(body: bytes) -> bool:
    """Whether a line may have one; much faster than the patterns."""
    dense = b"\n" + body.translate(None, b" \t\r") + b"\n"
    ends = (b",", b";", b"\n")
    return any(one + other in dense for one in ends for other in ends if one + other != b"\n\n")
