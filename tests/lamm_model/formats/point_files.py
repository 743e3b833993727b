"""Writers of PLY and PCD files for the tests, in every encoding, with NumPy alone."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Column = tuple[str, Array]  # name, values [N] or [N, COUNT]

PLY_TYPES = {
    "i1": ("char", "int8"), "u1": ("uchar", "uint8"), "i2": ("short", "int16"),
    "u2": ("ushort", "uint16"), "i4": ("int", "int32"), "u4": ("uint", "uint32"),
    "f4": ("float", "float32"), "f8": ("double", "float64"),
}  # fmt: skip
PLY_ENCODINGS = ("ascii", "binary_little_endian", "binary_big_endian")
PCD_ENCODINGS = ("ascii", "binary", "binary_compressed")


def ply(
    columns: Sequence[Column],
    encoding: str = "binary_little_endian",
    *,
    alias: int = 0,
    before: tuple[str, bytes] = ("", b""),
    after: tuple[str, bytes] = ("", b""),
) -> bytes:
    """A PLY file of `columns`; `alias` picks the old or the new type names.

    `before` and `after` are header text and body of the elements around the vertices.
    """
    points = len(columns[0][1])
    head = f"ply\nformat {encoding} 1.0\n{before[0]}element vertex {points}\n"
    for name, values in columns:
        head += f"property {PLY_TYPES[values.dtype.str[1:]][alias]} {name}\n"
    head += f"{after[0]}end_header\n"
    if encoding == "ascii":
        body = text_rows(columns)
    else:
        body = records(columns, ">" if encoding == "binary_big_endian" else "<")
    return head.encode() + before[1] + body + after[1]


def pcd(columns: Sequence[Column], encoding: str = "binary") -> bytes:
    """A PCD file of `columns`."""
    points = len(columns[0][1])
    kinds = [(values.dtype.kind.upper(), values.dtype.itemsize) for _, values in columns]
    counts = [int(np.prod(values.shape[1:])) for _, values in columns]
    head = "# .PCD v0.7 - Point Cloud Data file format\nVERSION 0.7\n"
    for key, words in (
        ("FIELDS", [name for name, _ in columns]),
        ("SIZE", [size for _, size in kinds]),
        ("TYPE", [kind for kind, _ in kinds]),
        ("COUNT", counts),
        ("WIDTH", [points]),
        ("HEIGHT", [1]),
        ("VIEWPOINT", [0, 0, 0, 1, 0, 0, 0]),
        ("POINTS", [points]),
        ("DATA", [encoding]),
    ):
        head += f"{key} {' '.join(map(str, words))}\n"
    if encoding == "ascii":
        return head.encode() + text_rows(columns)
    if encoding == "binary":
        return head.encode() + records(columns, "<")
    blocks = b"".join(
        values.astype(values.dtype.newbyteorder("<")).tobytes() for _, values in columns
    )
    packed = lzf_literals(blocks)
    return head.encode() + struct.pack("<II", len(packed), len(blocks)) + packed


def records(columns: Sequence[Column], order: str) -> bytes:
    """One packed record per point."""
    layout = [(str(i), order + v.dtype.str[1:], v.shape[1:]) for i, (_, v) in enumerate(columns)]
    rows = np.zeros(len(columns[0][1]), np.dtype(layout))
    for index, (_, values) in enumerate(columns):
        rows[str(index)] = values
    return rows.tobytes()


def text_rows(columns: Sequence[Column]) -> bytes:
    """One line per point; every value is written so that its type reads it back exactly."""
    lines = []
    for point in range(len(columns[0][1])):
        values = [value for _, column in columns for value in np.ravel(column[point])]
        lines.append(" ".join(str(value) for value in values) + "\n")
    return "".join(lines).encode()


def lzf_literals(data: bytes) -> bytes:
    """A valid LZF stream without any match."""
    runs = [data[at : at + 32] for at in range(0, len(data), 32)]
    return b"".join(bytes([len(run) - 1]) + run for run in runs)
