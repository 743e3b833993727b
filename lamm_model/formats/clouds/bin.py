"""Headerless little-endian float32 records, as KITTI and nuScenes publish them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from lamm_model.formats.cloud import (
    MIN_COLUMNS,
    CloudOptions,
    RawCloud,
    check_count,
    cloud_from_table,
)
from lamm_model.formats.cloud_format import CloudFormat, MediumBytes
from lamm_model.formats.errors import MediaDecodeError, MediaFormatError


def read_bin(data: bytes, options: CloudOptions) -> RawCloud:
    """See `CloudReader`. `columns` may be omitted if the size fits 3 values per point but not 6.

    Raises:
        MediaFormatError: `columns` is required.
    """
    columns = options.columns
    if columns is None:
        columns = _infer_columns(len(data))
    if not MIN_COLUMNS <= columns <= _MAX_COLUMNS:
        raise MediaDecodeError(
            f"the bin file has {columns} columns; expected {MIN_COLUMNS} to {_MAX_COLUMNS}"
        )
    points, rest = divmod(len(data), columns * 4)
    if rest:
        raise MediaDecodeError(
            f"{len(data)} bytes are not a whole number of {columns}-column float32 points"
        )
    check_count(points, options.max_points)
    return cloud_from_table(np.frombuffer(data, dtype="<f4").reshape(points, columns))


def count_points(content: MediumBytes, columns: int | None) -> int | None:
    """See `PointCounter`; by default 3 columns if 6 do not fit."""
    if columns is None:
        # The decoder refuses sizes that fit neither or both.
        columns = MIN_COLUMNS if content.size % (4 * _MAX_COLUMNS) else None
    return None if columns is None else content.size // (4 * columns)


FORMATS: Mapping[str, CloudFormat] = {
    "bin": CloudFormat(read_bin, count=count_points, fields=frozenset({"columns"}), unsigned=True)
}

_MAX_COLUMNS = 6


def _infer_columns(size: int) -> int:
    fits = [columns for columns in (MIN_COLUMNS, _MAX_COLUMNS) if size % (columns * 4) == 0]
    if fits != [MIN_COLUMNS]:
        raise MediaFormatError(
            f"{size} bytes fit {' and '.join(map(str, fits)) or 'neither 3 nor 6'} float32 "
            "columns; set `columns` to the number of values per point (3 to 6)"
        )
    return MIN_COLUMNS
