"""NumPy arrays: `npy`, and `npz` archives of them. Pickled objects are refused.

The header layout is that of NEP 1, "A Simple File Format for NumPy Arrays".
"""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Mapping

import numpy as np

from lamm_model.formats.cloud import (
    MAX_COLUMNS,
    Array,
    CloudOptions,
    CloudReader,
    RawCloud,
    check_columns,
    check_count,
    cloud_from_table,
    colours,
)
from lamm_model.formats.errors import MediaDecodeError, MediaTooLargeError


def read_npy(data: bytes, options: CloudOptions) -> RawCloud:
    """See `CloudReader`. One array [N, 3 to 6] of integers or floats."""
    return cloud_from_table(_array(data, options.max_points))


def read_npz(data: bytes, options: CloudOptions) -> RawCloud:
    """See `CloudReader`. Coordinates and colours are found by the names of their arrays."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = archive.infolist()
        if not 1 <= len(members) <= _MAX_MEMBERS:
            raise MediaDecodeError(
                f"the npz file has {len(members)} arrays; expected 1 to {_MAX_MEMBERS}"
            )
        names = {member.filename.removesuffix(".npy"): member for member in members}
        only = next(iter(names)) if len(names) == 1 else None
        xyz_name = next((name for name in _XYZ_NAMES if name in names), only)
        if xyz_name is None:
            raise MediaDecodeError(f"the npz file has no array named {', '.join(_XYZ_NAMES)}")
        table = _member(archive, names[xyz_name], options.max_points)
        rgb_name = next((name for name in _RGB_NAMES if name in names), None)
        if rgb_name is None or rgb_name == xyz_name:
            return cloud_from_table(table)
        rgb = _member(archive, names[rgb_name], options.max_points)
        if rgb.shape != (len(table), 3):
            raise MediaDecodeError(
                f"the npz file has {len(table)} points, but colours of shape {rgb.shape}"
            )
        return RawCloud(table[:, :3], colours(rgb))


READERS: Mapping[str, CloudReader] = {"npy": read_npy, "npz": read_npz}

_XYZ_NAMES = ("xyz", "points", "coord", "coords", "arr_0")
_RGB_NAMES = ("rgb", "color", "colors", "arr_1")
_MAX_MEMBERS = 64
_HEADER_SLACK = 1 << 16
_MAX_ITEM_BYTES = 16


def _array(data: bytes, max_points: int) -> Array:
    stream = io.BytesIO(data)
    version = np.lib.format.read_magic(stream)
    header = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }.get(version)
    if header is None:
        raise MediaDecodeError(f"the npy file has version {version}; expected 1.0 or 2.0")
    shape, fortran, dtype = header(stream)
    if dtype.hasobject:
        raise MediaDecodeError("the npy file holds pickled Python objects, which are never loaded")
    if dtype.kind not in "fiu" or dtype.itemsize > _MAX_ITEM_BYTES:
        raise MediaDecodeError(f"the npy file holds {dtype.str}; expected floats or integers")
    if len(shape) != 2 or min(shape) < 0:
        raise MediaDecodeError(f"the npy array has shape {shape!s:.64}; expected [points, 3 to 6]")
    check_count(shape[0], max_points)
    check_columns(shape[1])
    expected, found = math.prod(shape) * dtype.itemsize, len(data) - stream.tell()
    if expected != found:
        raise MediaDecodeError(
            f"the npy header declares {expected} bytes, but the body has {found}"
        )
    flat = np.frombuffer(data, dtype=dtype, offset=stream.tell())
    return flat.reshape(shape, order="F" if fortran else "C")


def _member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, max_points: int) -> Array:
    # The size in the archive's directory may be false, so the read is bounded too.
    limit = max_points * MAX_COLUMNS * 8 + _HEADER_SLACK
    if member.file_size > limit:
        raise MediaTooLargeError(
            f"an npz array expands to {member.file_size} bytes; the limit is {limit}"
        )
    with archive.open(member) as stream:
        body = stream.read(limit + 1)
    if len(body) > limit:
        raise MediaTooLargeError(f"an npz array expands beyond the limit of {limit} bytes")
    return _array(body, max_points)
