"""Shared by the readers of point-cloud files: their signature, limits and table checks."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lamm_model.formats.errors import MediaDecodeError, MediaTooLargeError

Array = npt.NDArray[Any]
FloatArray = npt.NDArray[np.float32]

MIN_COLUMNS, MAX_COLUMNS = 3, 6
MAX_COLOUR = 255.0


@dataclass(frozen=True, slots=True)
class RawCloud:
    """A cloud in the file's own units and axes.

    `xyz` [N, 3] has any integer or float type; `rgb` is [N, 3] float32, 0-255, or None.
    """

    xyz: Array
    rgb: FloatArray | None = None


@dataclass(frozen=True, slots=True)
class CloudOptions:
    """`max_points` is the limit on N; `columns` (3 to 6) describes files without a header."""

    max_points: int
    columns: int | None = None


# Checks the number of points against the limit and the body before it allocates anything, and
# raises `MediaError`; any other exception means that the file is corrupt.
CloudReader = Callable[[bytes, CloudOptions], RawCloud]


def check_count(points: int, max_points: int) -> None:
    """Refuses an empty cloud and one of more than `max_points`."""
    if points < 1:
        raise MediaDecodeError("the cloud has 0 points; at least 1 is required")
    if points > max_points:
        raise MediaTooLargeError(f"the cloud has {points} points; the limit is {max_points}")


def check_columns(columns: int) -> None:
    """Refuses a table that is not `x y z` with up to three more values per point."""
    if not MIN_COLUMNS <= columns <= MAX_COLUMNS:
        raise MediaDecodeError(
            f"the cloud has {columns} columns; expected 3 to 6 (x y z, or x y z r g b)"
        )


def cloud_from_table(table: Array) -> RawCloud:
    """`table` [N, 3 to 6]; columns 4 to 6 are colours if the table has exactly 6."""
    rgb = colours(table[:, 3:6]) if table.shape[1] == MAX_COLUMNS else None
    return RawCloud(table[:, :3], rgb)


def colours(values: Array) -> FloatArray:
    """[N, 3] float32, 0-255. Floats that never exceed 1 are fractions of 255."""
    with np.errstate(over="ignore", invalid="ignore"):  # refused below
        rgb = values.astype(np.float32)
    low, high = float(rgb.min()), float(rgb.max())
    if not (low >= 0.0 and high <= MAX_COLOUR):
        bad = low if low < 0.0 else high
        raise MediaDecodeError(f"a colour value is {bad:g}; expected 0 to 255")
    if high <= 1.0 and not np.issubdtype(values.dtype, np.integer):
        rgb *= MAX_COLOUR
    return np.ascontiguousarray(rgb)


def read_text_table(text: bytes, comments: tuple[str, ...] | None, rows: int | None) -> Array:
    """Lines of numbers as [N, columns] float64; the first `rows` lines, or all of them.

    Raises:
        ValueError: a line has a value that is not a number, or another number of values.
    """
    with warnings.catch_warnings():
        # NumPy warns about blank lines and empty text; the caller checks the shape.
        warnings.simplefilter("ignore", UserWarning)
        return np.loadtxt(
            io.BytesIO(text), dtype=np.float64, comments=comments, ndmin=2, max_rows=rows
        )
