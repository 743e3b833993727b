"""Readers of point-cloud files: bytes -> coordinates and colours as the file has them. Torch-free.

Called by `lamm_model.media.decode_point_cloud` alone, which applies units, axes and value checks.
Every reader learns the number of points from a header (or the byte count) and checks it against the
limit and against the body before it materialises anything. PLY and PCD: see `ply_pcd_files`; xyz
text is read by numpy, because open3d's reader drops colours and skips lines it cannot parse.
"""

from __future__ import annotations

import io
import math
import warnings
import zipfile
from typing import Any

import numpy as np
import numpy.typing as npt

from lamm_model.formats.errors import (
    MediaDecodeError,
    MediaError,
    MediaFormatError,
    MediaTooLargeError,
)
from lamm_model.formats.ply_pcd import read_ply_or_pcd

Array = npt.NDArray[Any]

FORMATS = ("npy", "npz", "ply", "pcd", "xyz", "bin")

_MIN_COLUMNS, _COLOUR_COLUMNS = 3, 6
_XYZ_NAMES = ("xyz", "points", "coord", "coords", "arr_0")
_RGB_NAMES = ("rgb", "color", "colors", "arr_1")
_MAX_MEMBERS = 64
_HEADER_SLACK = 1 << 16
_MAX_ITEM_BYTES = 16


def read_points(
    data: bytes, format: str, max_points: int, columns: int | None = None
) -> tuple[Array, Array | None]:
    """Coordinates [N, 3] and colours [N, 3] (or None) in the file's own units and number type.

    Args:
        data: the file.
        format: one of `FORMATS`.
        max_points: limit on N.
        columns: values a point, for `bin` alone.

    Raises:
        MediaTooLargeError: more than `max_points` points.
        MediaDecodeError: corrupt, truncated, pickled or empty.
        MediaFormatError: `columns` is missing where it cannot be inferred, or open3d is.
    """
    try:
        if format in ("ply", "pcd"):
            return read_ply_or_pcd(data, format, max_points)
        if format == "npz":
            return _read_npz(data, max_points)
        readers = {"npy": _read_npy, "xyz": _read_xyz}
        table = (
            _read_bin(data, max_points, columns)
            if format == "bin"
            else readers[format](data, max_points)
        )
        return _split(table)
    except MediaError:
        raise
    except Exception as error:
        # zlib, tokenize, struct and zipfile raise their own kinds for bytes that are no such file.
        raise MediaDecodeError(f"the {format} file is corrupt or truncated") from error


def _split(table: Array) -> tuple[Array, Array | None]:
    colours = table[:, 3:6] if table.shape[1] == _COLOUR_COLUMNS else None
    return table[:, :3], colours


def _check_count(points: int, max_points: int) -> None:
    if points < 1:
        raise MediaDecodeError("the cloud is empty: 0 points; at least 1 is needed")
    if points > max_points:
        raise MediaTooLargeError(f"the cloud has {points} points; the limit is {max_points}")


def _check_columns(columns: int) -> None:
    if not _MIN_COLUMNS <= columns <= _COLOUR_COLUMNS:
        raise MediaDecodeError(
            f"the cloud has {columns} columns; it must have 3 to 6 (x y z r g b)"
        )


def _read_npy(data: bytes, max_points: int) -> Array:
    stream = io.BytesIO(data)
    version = np.lib.format.read_magic(stream)
    header = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }.get(version)
    if header is None:
        raise MediaDecodeError(f"the npy file has version {version}; 1.0 and 2.0 are read")
    shape, fortran, dtype = header(stream)
    if dtype.hasobject:
        raise MediaDecodeError("the npy file holds pickled Python objects; they are never loaded")
    if dtype.kind not in "fiu" or dtype.itemsize > _MAX_ITEM_BYTES:
        raise MediaDecodeError(f"the npy file holds {dtype.str}; floats or integers are read")
    if len(shape) != 2 or min(shape) < 0:
        raise MediaDecodeError(
            f"the npy array has shape {shape!s:.64}; it must be [points, 3 to 6]"
        )
    _check_count(shape[0], max_points)
    _check_columns(shape[1])
    expected, found = math.prod(shape) * dtype.itemsize, len(data) - stream.tell()
    if expected != found:
        raise MediaDecodeError(f"the npy header announces {expected} bytes; the body has {found}")
    flat = np.frombuffer(data, dtype=dtype, offset=stream.tell())
    return flat.reshape(shape, order="F" if fortran else "C")


def _read_npz(data: bytes, max_points: int) -> tuple[Array, Array | None]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = archive.infolist()
        if not 1 <= len(members) <= _MAX_MEMBERS:
            raise MediaDecodeError(
                f"the npz file has {len(members)} arrays; it must have 1 to {_MAX_MEMBERS}"
            )
        names = {member.filename.removesuffix(".npy"): member for member in members}
        only = next(iter(names)) if len(names) == 1 else None
        xyz_name = next((name for name in _XYZ_NAMES if name in names), only)
        if xyz_name is None:
            raise MediaDecodeError(f"the npz file names no array {', '.join(_XYZ_NAMES)}")
        xyz, rgb = _split(_read_member(archive, names[xyz_name], max_points))
        rgb_name = next((name for name in _RGB_NAMES if name in names), None)
        if rgb_name is not None and rgb_name != xyz_name:
            rgb = _read_member(archive, names[rgb_name], max_points)
            if rgb.shape != xyz.shape:
                raise MediaDecodeError(f"the npz file has {len(xyz)} points and {len(rgb)} colours")
        return xyz, rgb


def _read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, max_points: int) -> Array:
    # The expansion guard: the size that the archive announces may lie, so the read is bounded too.
    limit = max_points * _COLOUR_COLUMNS * 8 + _HEADER_SLACK
    if member.file_size > limit:
        raise MediaTooLargeError(
            f"an npz array expands to {member.file_size} bytes; the limit is {limit}"
        )
    with archive.open(member) as stream:
        body = stream.read(limit + 1)
    if len(body) > limit:
        raise MediaTooLargeError(f"an npz array expands beyond the limit of {limit} bytes")
    return _read_npy(body, max_points)


def _read_xyz(data: bytes, max_points: int) -> Array:
    # Comment and blank lines are few; a count of line ends bounds the points before any is parsed.
    lines = data.count(b"\n") + (not data.endswith(b"\n"))
    if lines > 2 * max_points:
        raise MediaTooLargeError(f"the cloud has {lines} lines; the limit is {max_points} points")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # numpy warns of an empty file; we refuse it
        table = np.loadtxt(
            io.BytesIO(data.replace(b",", b" ")), dtype=np.float64, comments=("#", "//"), ndmin=2
        )
    _check_count(table.shape[0] if table.size else 0, max_points)
    _check_columns(table.shape[1])
    return table


def _read_bin(data: bytes, max_points: int, columns: int | None) -> Array:
    if columns is None:
        columns = _infer_columns(len(data))
    _check_columns(columns)
    points, rest = divmod(len(data), columns * 4)
    if rest:
        raise MediaDecodeError(
            f"{len(data)} bytes are not a whole number of {columns}-column float32 points"
        )
    _check_count(points, max_points)
    return np.frombuffer(data, dtype="<f4").reshape(points, columns)


def _infer_columns(size: int) -> int:
    fits = [columns for columns in (_MIN_COLUMNS, _COLOUR_COLUMNS) if size % (columns * 4) == 0]
    if fits != [_MIN_COLUMNS]:
        raise MediaFormatError(
            f"{size} bytes fit {' and '.join(map(str, fits)) or 'neither 3 nor 6'} float32 "
            "columns; say how many with `columns` (3 to 6)"
        )
    return _MIN_COLUMNS
