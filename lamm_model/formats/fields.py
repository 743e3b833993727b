"""Point records described by a header, as PLY and PCD files have them: fields of any scalar type.

The header becomes a list of `Field`. Coordinates and colours are picked by name, so the order of
the fields and the presence of others do not matter.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lamm_model.formats.cloud import (
    AXES,
    CHANNELS,
    PACKED,
    Array,
    FloatArray,
    RawCloud,
    colours,
    raw_cloud,
    unpacked,
    unpacked_text,
)
from lamm_model.formats.errors import MediaDecodeError
from lamm_model.formats.text_table import numbered_lines, read_table

# As `raw_cloud`: coordinates, colours as the file has them or None, and their conversion.
CloudMaker = Callable[[Array, Array | None, Callable[[Array], FloatArray]], RawCloud]
_MAX_HEADER = 1 << 16
_MAX_DIGITS = 15


@dataclass(frozen=True, slots=True)
class Field:
    """`count` values of the scalar `type` (with its byte order) per point."""

    name: str
    type: np.dtype[Any]
    count: int = 1


class PointFields:
    """The fields of one point in file order, and which of them are coordinates and colours.

    Raises:
        MediaDecodeError: x, y or z is missing; a coordinate or colour is repeated or has several
            values; the type of a colour does not tell its range.
    """

    def __init__(self, fields: Sequence[Field], format: str, make: CloudMaker = raw_cloud) -> None:
        """`format` names the file in errors; `make` makes the cloud of all points.

        Names are the same in upper and lower case.
        """
        self.fields, self._format, self._make = tuple(fields), format, make
        self._by_name: dict[str, list[int]] = {}
        for index, field in enumerate(fields):
            self._by_name.setdefault(field.name.lower(), []).append(index)
        missing = [name for name in AXES if name not in self._by_name]
        if missing:
            raise MediaDecodeError(f"the {format} points have no field {', '.join(missing)}")
        self._axes = [self._only(name) for name in AXES]
        self._packed = next((self._only(name) for name in PACKED if name in self._by_name), None)
        self._channels = next(
            ([self._only(n) for n in names] for names in CHANNELS if {*names} <= {*self._by_name}),
            None,
        )
        self._check_colour_types()

    @property
    def columns(self) -> int:
        """Values per point."""
        return sum(field.count for field in self.fields)

    @property
    def record(self) -> np.dtype[Any]:
        """One point of a binary body; the fields are named by their index."""
        return np.dtype([(str(index), f.type, (f.count,)) for index, f in enumerate(self.fields)])

    def from_binary(self, body: bytes, offset: int, points: int) -> RawCloud:
        """The cloud of a body that has one record after the other."""
        rows = np.frombuffer(body, dtype=self.record, count=points, offset=offset)
        return self.cloud(lambda index: rows[str(index)][:, 0])

    def from_text(
        self, body: bytes, points: int, first_line: int, is_last: bool = True
    ) -> RawCloud:
        """The cloud of a body that has one line per point; its first line is number `first_line`.

        Only if other elements follow (`is_last` is false) may there be more lines.

        A point may have several lines, as librealsense writes them, if all have the same number.
        """
        lines = self._lines_per_point(body)
        if lines > 1:
            body = _joined(body, lines, points)
        table = read_table(
            body,
            self._format,
            first_line=first_line,
            step=lines,
            columns=self.columns,
            rows=points,
            exact=is_last,
        )
        starts = np.cumsum([0, *(field.count for field in self.fields)])
        return self.cloud(
            lambda index: self._text_column(index, table[:, starts[index]]), unpacked_text
        )

    def cloud(
        self,
        column: Callable[[int], Array],
        unpack: Callable[[Array], FloatArray] | None = None,
    ) -> RawCloud:
        """The cloud whose field `index` has the values `column(index)` [N] of the field's type.

        `unpack` converts a packed colour.
        """
        with np.errstate(invalid="ignore"):  # a signalling NaN; its point is dropped
            xyz = np.stack([column(index).astype(np.float64) for index in self._axes], axis=1)
        if self._packed is not None:
            return self._make(xyz, column(self._packed), unpack or unpacked)
        if self._channels is None:
            return self._make(xyz, None, colours)
        channels = np.stack([column(i) for i in self._channels], axis=1)
        return self._make(xyz, channels, colours)

    def _lines_per_point(self, body: bytes) -> int:
        values = 0
        for lines, (_, line) in enumerate(numbered_lines(body, 1), 1):
            values += len(line.split(None, self.columns))
            if values >= self.columns:
                return lines if values == self.columns else 1
        return 1

    def _only(self, name: str) -> int:
        first, *more = self._by_name[name]
        if more or self.fields[first].count != 1:
            values = sum(self.fields[index].count for index in (first, *more))
            raise MediaDecodeError(
                f"the {self._format} field {name} has {values} values per point; expected 1"
            )
        return first

    def _check_colour_types(self) -> None:
        if self._packed is not None:
            field = self.fields[self._packed]
            if field.type.itemsize != 4:
                raise MediaDecodeError(
                    f"the {self._format} field {field.name} has type {field.type.name}; "
                    "a packed colour has 4 bytes"
                )
        elif self._channels is not None:
            names = [self.fields[index].type.name for index in self._channels]
            if len(set(names)) > 1:
                raise MediaDecodeError(
                    f"the {self._format} colour fields have types {', '.join(names)}; "
                    "expected one type"
                )

    def _text_column(self, index: int, values: Array) -> Array:
        field = self.fields[index]
        # `unpacked_text` needs all digits of a packed colour.
        is_packed_float = index == self._packed and field.type.kind == "f"
        return values if is_packed_float else self._cast(values, field)

    def _cast(self, values: Array, field: Field) -> Array:
        """Text values in the type that the header declares, so that text reads as binary does."""
        if field.type.kind == "f":
            with np.errstate(over="ignore"):
                return values.astype(field.type)
        limits = np.iinfo(field.type)
        whole = np.isfinite(values) & (values == np.rint(values))
        fits = whole & (values >= float(limits.min)) & (values <= float(limits.max))
        if not fits.all():
            raise MediaDecodeError(
                f"the {self._format} field {field.name} has type {field.type.name} "
                f"and the value {values[np.argmin(fits)]:g}"
            )
        # Above 2**53 a text value has lost its last digits; coordinates become float64 anyway.
        return values if field.type.itemsize == 8 else values.astype(field.type)


def header_lines(data: bytes, format: str, last: bytes) -> tuple[list[list[str]], int]:
    """Words of each header line up to the one that begins with `last`, and the body's offset."""
    lines: list[list[str]] = []
    start = 0
    while True:
        end = data.find(b"\n", start, _MAX_HEADER)
        if end < 0:
            raise MediaDecodeError(
                f"the {format} header has no line {last.decode()} in its first {_MAX_HEADER} bytes"
            )
        line = data[start:end].strip()
        lines.append(line.decode("ascii", errors="replace").split())
        start = end + 1
        if line.startswith(last):
            return lines, start


def header_count(text: str, format: str) -> int:
    """A count in a header.

    Raises:
        MediaDecodeError: not a decimal number of at most 15 digits.
    """
    if not text.isascii() or not text.isdigit() or len(text) > _MAX_DIGITS:
        raise MediaDecodeError(
            f"the {format} header has the count {text[:32]!r}; expected a whole number"
        )
    return int(text)


def check_body(needed: int, found: int, format: str) -> None:
    """Refuses a body that is shorter than its header declares."""
    if needed > found:
        raise MediaDecodeError(
            f"the {format} header declares at least {needed} bytes of points, "
            f"but the body has {found}"
        )


def _joined(body: bytes, lines: int, points: int) -> bytes:
    """The first `lines` x `points` lines with every `lines` of them as one."""
    parts: list[bytes] = []
    for index, (_, line) in enumerate(numbered_lines(body, 1)):
        if index == lines * points:
            break
        parts += (line, b"\n" if (index + 1) % lines == 0 else b" ")
    return b"".join(parts)
