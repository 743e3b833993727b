"""The faces of a PLY mesh: lists of vertex indices, text and binary."""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lamm_model.formats.errors import MediaDecodeError
from lamm_model.formats.mesh import Integers
from lamm_model.formats.text_table import numbered_lines, quoted

NAMES = ("vertex_indices", "vertex_index")


@dataclass(frozen=True, slots=True)
class Property:
    """A property of the element: one value, or a list whose length has the type `length`."""

    name: str
    type: np.dtype[Any]
    length: np.dtype[Any] | None = None


def read_faces(
    data: bytes, start: int, rows: int, properties: Sequence[Property], *, text: bool
) -> tuple[Integers, Integers]:
    """The corners of all polygons, one after the other, and [rows] the corners of each.

    Raises:
        MediaDecodeError: there is no list of vertex indices, or the file ends before its faces.
    """
    names = [one.name for one in properties]
    index = next((names.index(name) for name in NAMES if name in names), None)
    if index is None or properties[index].length is None or properties[index].type.kind == "f":
        raise MediaDecodeError(
            f"the ply element face has the properties {', '.join(names)[:64]}; "
            f"expected a list of whole numbers named {' or '.join(NAMES)}"
        )
    if text:
        return _collected(_text_rows(data, start, rows, properties, index), rows)
    even = _even_rows(data, start, rows, properties, index)
    return even or _collected(_binary_rows(data, start, rows, properties, index), rows)


def _collected(found: Iterator[Sequence[int]], rows: int) -> tuple[Integers, Integers]:
    corners, sizes = array("q"), array("q")
    for polygon in found:
        corners.extend(polygon)
        sizes.append(len(polygon))
    if len(sizes) < rows:
        raise MediaDecodeError(f"the ply header declares {rows} faces; the file has {len(sizes)}")
    return np.array(corners, np.int64), np.array(sizes, np.int64)


def _even_rows(
    data: bytes, start: int, rows: int, properties: Sequence[Property], index: int
) -> tuple[Integers, Integers] | None:
    """As `read_faces`, fast, if the lists of every row are as long as those of the first."""
    layout: list[tuple[str, np.dtype[Any]] | tuple[str, np.dtype[Any], int]] = []
    lengths: dict[str, int] = {}
    at = start
    for number, one in enumerate(properties):
        if one.length is None:
            layout.append((str(number), one.type))
            at += one.type.itemsize
            continue
        head = data[at : at + one.length.itemsize]
        if len(head) < one.length.itemsize:
            return None
        length = int(np.frombuffer(head, one.length)[0])
        if not 0 <= length <= len(data):
            return None
        lengths[f"n{number}"] = length
        layout += [(f"n{number}", one.length), (str(number), one.type, length)]
        at += one.length.itemsize + length * one.type.itemsize
    if rows * (at - start) > len(data) - start:
        return None
    table = np.frombuffer(data, np.dtype(layout), rows, start)
    if any((table[name] != length).any() for name, length in lengths.items()):
        return None
    size = lengths[f"n{index}"]
    corners = table[str(index)].reshape(rows, size).astype(np.int64)
    return corners.reshape(-1), np.full(rows, size, np.int64)


def _binary_rows(
    data: bytes, at: int, rows: int, properties: Sequence[Property], index: int
) -> Iterator[Sequence[int]]:
    for _ in range(rows):
        polygon: Sequence[int] = ()
        for number, one in enumerate(properties):
            length = 1
            if one.length is not None:
                if at + one.length.itemsize > len(data):
                    return
                (length,) = struct.unpack_from(_code(one.length, 1), data, at)
                at += one.length.itemsize
                if length < 0:
                    raise MediaDecodeError(f"the ply file has a list of length {length}")
            end = at + length * one.type.itemsize
            if end > len(data):
                return
            if number == index:
                polygon = struct.unpack_from(_code(one.type, length), data, at)
            at = end
        yield polygon


def _code(type_: np.dtype[Any], count: int) -> str:
    """The format of `count` values for `struct`, which is faster than NumPy for a few."""
    order = ">" if type_.str[0] == ">" else "<"
    return f"{order}{count}{type_.char}"


def _text_rows(
    data: bytes, start: int, rows: int, properties: Sequence[Property], index: int
) -> Iterator[Sequence[int]]:
    lines = numbered_lines(data[start:], 1 + data.count(b"\n", 0, start))
    for _, (line_number, line) in zip(range(rows), lines, strict=False):
        words = line.split()
        at, polygon = 0, list[int]()
        try:
            for number, one in enumerate(properties):
                length = 1
                if one.length is not None:
                    length, at = int(words[at]), at + 1
                if not 0 <= length <= len(words) - at:
                    raise ValueError
                if number == index:
                    polygon = [int(word) for word in words[at : at + length]]
                at += length
        except (ValueError, IndexError):
            raise MediaDecodeError(
                f"line {line_number} of the ply file is {quoted(line)}; expected a face"
            ) from None
        yield polygon
