"""NumPy arrays: `npy`, and `npz` archives of them. Pickled objects are refused.

The header layout is that of NEP 1, "A Simple File Format for NumPy Arrays".
"""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lamm_model.formats.cloud import (
    AXES,
    MAX_COLUMNS,
    Array,
    CloudOptions,
    RawCloud,
    check_columns,
    check_count,
    cloud_from_table,
    raw_cloud,
)
from lamm_model.formats.cloud_format import CloudFormat, header_number
from lamm_model.formats.errors import MediaDecodeError
from lamm_model.formats.fields import Field, PointFields


def read_npy(data: bytes, options: CloudOptions) -> RawCloud:
    """See `CloudReader`. One array of integers or floats, or of records with x, y and z.

    An array is [N, 3 to 16], or [H, W, 3 to 16] as depth cameras make it.
    """
    return _cloud(_array(data, options.max_points))


def read_npz(data: bytes, options: CloudOptions) -> RawCloud:
    """See `CloudReader`. Coordinates and colours are found by the names of their arrays."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = archive.infolist()
        if not 1 <= len(members) <= _MAX_MEMBERS:
            raise MediaDecodeError(
                f"the npz file has {len(members)} arrays; expected 1 to {_MAX_MEMBERS}"
            )
        names = {member.filename.removesuffix(".npy").lower(): member for member in members}
        only = next(iter(names)) if len(names) == 1 else None
        xyz_name = next((name for name in XYZ_NAMES if name in names), only)
        if xyz_name is None:
            raise MediaDecodeError(
                f"the npz file has no array named {', '.join(XYZ_NAMES)}; "
                f"its arrays are {', '.join(names)[:200]}"
            )
        table = _member(archive, names[xyz_name], options.max_points)
        rgb_name = next((name for name in RGB_NAMES if name in names), None)
        if rgb_name is None or rgb_name == xyz_name or table.dtype.names:
            return _cloud(table)
        rgb = _member(archive, names[rgb_name], options.max_points)
        if rgb.shape != (len(table), 3):
            raise MediaDecodeError(
                f"the npz file has {len(table)} points, but colours of shape {rgb.shape}"
            )
        return raw_cloud(table[:, :3], rgb)


FORMATS: Mapping[str, CloudFormat] = {
    "npy": CloudFormat(
        read_npy,
        (b"\x93NUMPY",),
        header_number(rb"\A\x93NUMPY[^\n]{0,4096}?'shape': *\( *(\d{1,18}) *,"),
    ),
    "npz": CloudFormat(read_npz, (b"PK\x03\x04",)),
}

# In order of preference.
XYZ_NAMES = (
    "xyz", "points", "pc", "pcd", "coord", "coords", "pos", "positions", "vertices", "point_cloud",
    "pointcloud", "cloud", "arr_0",
)  # fmt: skip
RGB_NAMES = ("rgb", "color", "colors", "colour", "colours", "arr_1")
_MAX_MEMBERS = 64
_HEADER_SLACK = 1 << 16
_MAX_ITEM_BYTES = 16
_MAX_RECORD_BYTES = 4096
# librealsense's Python vertices have these names for x, y and z.
_UNNAMED_AXES = ("f0", "f1", "f2")


@dataclass(frozen=True, slots=True)
class _Header:
    """What an npy header declares, within the limits; the body has `size` bytes from `offset`."""

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[Any]
    offset: int
    size: int


def _cloud(array: Array) -> RawCloud:
    names = array.dtype.names
    if names is None:
        return cloud_from_table(array)
    by_name = dict(zip(AXES, names, strict=True)) if names == _UNNAMED_AXES else {
        name.lower(): name for name in names
    }  # fmt: skip
    types = [(name, array.dtype[own]) for name, own in by_name.items()]
    fields = PointFields([Field(name, t.base, math.prod(t.shape)) for name, t in types], "npy")
    columns = list(by_name.values())
    return fields.cloud(lambda index: array[columns[index]].reshape(len(array)))


def _array(data: bytes, max_points: int) -> Array:
    """[N, columns], or [N] records."""
    header = _header(data, max_points)
    found = len(data) - header.offset
    if header.size != found:
        raise MediaDecodeError(
            f"the npy header declares {header.size} bytes, but the body has {found}"
        )
    flat = np.frombuffer(data, dtype=header.dtype, offset=header.offset)
    array = flat.reshape(header.shape, order="F" if header.fortran else "C")
    return array.reshape(-1) if header.dtype.names else array.reshape(-1, header.shape[-1])


def _header(data: bytes, max_points: int) -> _Header:
    stream = io.BytesIO(data)
    version = np.lib.format.read_magic(stream)
    read = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }.get(version)
    if read is None:
        raise MediaDecodeError(f"the npy file has version {version}; expected 1.0 or 2.0")
    shape, fortran, dtype = read(stream)
    if dtype.hasobject:
        raise MediaDecodeError("the npy file holds pickled Python objects, which are never loaded")
    points = _points(shape, dtype)
    check_count(points, max_points)
    return _Header(shape, fortran, dtype, stream.tell(), math.prod(shape) * dtype.itemsize)


def _points(shape: tuple[int, ...], dtype: np.dtype[Any]) -> int:
    if dtype.names is not None:
        kinds = {dtype[name].base.kind for name in dtype.names}
        if not kinds <= set("fiu") or dtype.itemsize > _MAX_RECORD_BYTES:
            raise MediaDecodeError(f"the npy file holds records of {dtype.str}; expected numbers")
        if len(shape) not in (1, 2) or min(shape) < 0:
            raise MediaDecodeError(f"the npy records have shape {shape!s:.64}; expected [points]")
        return math.prod(shape)
    if dtype.kind not in "fiu" or dtype.itemsize > _MAX_ITEM_BYTES:
        raise MediaDecodeError(f"the npy file holds {dtype.str}; expected floats or integers")
    if len(shape) not in (2, 3) or min(shape) < 0:
        raise MediaDecodeError(
            f"the npy array has shape {shape!s:.64}; "
            f"expected [points, {len(AXES)} to {MAX_COLUMNS}]"
        )
    check_columns(shape[-1])
    return math.prod(shape[:-1])


def _member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, max_points: int) -> Array:
    with archive.open(member) as stream:
        # The size in the archive's directory may be false; that in the array's header is checked
        # against the limit on points before the rest is unpacked.
        body = stream.read(_HEADER_SLACK)
        header = _header(body, max_points)
        size = header.offset + header.size
        if member.file_size != size:
            raise MediaDecodeError(
                f"an npz array declares {size} bytes, but the archive has {member.file_size}"
            )
        body += stream.read(max(0, size - len(body)) + 1)
    return _array(body, max_points)
