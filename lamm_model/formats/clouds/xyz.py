"""XYZ text: one point per line, `x y z` or `x y z r g b`, separated by white space or commas."""

from __future__ import annotations

from collections.abc import Mapping

from lamm_model.formats.cloud import (
    CloudOptions,
    CloudReader,
    RawCloud,
    check_columns,
    check_count,
    cloud_from_table,
    read_text_table,
)
from lamm_model.formats.errors import MediaTooLargeError


def read_xyz(data: bytes, options: CloudOptions) -> RawCloud:
    """See `CloudReader`. Lines that begin with `#` or `//` are comments."""
    # Few lines are comments or blank, so line ends bound the points before any is parsed.
    lines = data.count(b"\n") + (not data.endswith(b"\n"))
    if lines > 2 * options.max_points:
        raise MediaTooLargeError(
            f"the cloud has {lines} lines; the limit is {options.max_points} points"
        )
    table = read_text_table(data.replace(b",", b" "), ("#", "//"), None)
    check_count(table.shape[0] if table.size else 0, options.max_points)
    check_columns(table.shape[1])
    return cloud_from_table(table)


READERS: Mapping[str, CloudReader] = {"xyz": read_xyz}
