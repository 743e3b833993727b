"""PLY, text and binary in both byte orders (Turk, "The PLY Polygon File Format", 1994).

The points are the element `vertex`. Elements before it are skipped, lists included; those after it
are not read, unless the surface of a mesh is to be sampled.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from lamm_model.formats.cloud import (
    Array,
    CloudOptions,
    FloatArray,
    RawCloud,
    check_count,
    raw_cloud,
)
from lamm_model.formats.cloud_format import CloudFormat, header_number
from lamm_model.formats.errors import MediaDecodeError, MediaTooLargeError
from lamm_model.formats.fields import (
    CloudMaker,
    Field,
    PointFields,
    check_body,
    header_count,
    header_lines,
)
from lamm_model.formats.mesh import Mesh, check_mesh_size, mesh_cloud, triangles
from lamm_model.formats.ply_faces import Property, read_faces
from lamm_model.formats.text_table import BOM


def read_ply(data: bytes, options: CloudOptions) -> RawCloud:
    """See `CloudReader`."""
    data = data.removeprefix(BOM)
    if not data.startswith(b"ply"):
        raise MediaDecodeError("the file does not begin with `ply`")
    lines, body = header_lines(data, "ply", b"end_header")
    encoding, elements, vertex = _elements(lines)
    if encoding not in _BYTE_ORDERS:
        known = ", ".join(_BYTE_ORDERS)
        raise MediaDecodeError(
            f"the ply header has the format {encoding[:32]!r}; expected one of {known}"
        )
    order = _BYTE_ORDERS[encoding]
    points = header_count(vertex.rows, "ply")
    check_count(points, options.max_points)
    make: CloudMaker = raw_cloud
    if options.sample == "surface":
        make = _mesh_maker(data, body, elements, encoding, options)
    fields = PointFields([_point_field(words, order) for words in vertex.properties], "ply", make)
    for element in elements[: elements.index(vertex)]:
        body = _skip(data, body, element, encoding, options.max_points)
    needed = points * (fields.columns * 2 if encoding == "ascii" else fields.record.itemsize)
    check_body(needed - (encoding == "ascii"), len(data) - body, "ply")
    if encoding == "ascii":
        first_line = 1 + data.count(b"\n", 0, body)
        return fields.from_text(data[body:], points, first_line, is_last=vertex is elements[-1])
    return fields.from_binary(data, body, points)


FORMATS: Mapping[str, CloudFormat] = {
    "ply": CloudFormat(
        read_ply,
        (b"ply\n", b"ply\r"),
        header_number(rb"^element[ \t]+vertex[ \t]+(\d{1,18})[ \t\r]*$"),
        fields=frozenset({"sample"}),
    )
}

_FEWEST_CORNERS = 3
_ByteOrder = Literal["little", "big"]
_BYTE_ORDERS: Mapping[str, _ByteOrder] = {
    "ascii": "little",
    "binary_little_endian": "little",
    "binary_big_endian": "big",
}
_TYPES = {
    "char": "i1", "uchar": "u1", "int8": "i1", "uint8": "u1",
    "short": "i2", "ushort": "u2", "int16": "i2", "uint16": "u2",
    "int": "i4", "uint": "u4", "int32": "i4", "uint32": "u4",
    "float": "f4", "float32": "f4", "double": "f8", "float64": "f8",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Element:
    """An element as in the header: `rows` is text, a property is a list of words."""

    name: str
    rows: str
    properties: list[list[str]] = field(default_factory=list)


def _elements(lines: Sequence[list[str]]) -> tuple[str, list[_Element], _Element]:
    """The encoding, all elements, and the vertices."""
    encoding = ""
    elements: list[_Element] = []
    for words in lines:
        match words:
            case ["format", encoding, *_]:
                pass
            case ["element", name, rows]:
                elements.append(_Element(name, rows))
            case ["property", *described] if elements:
                elements[-1].properties.append(described)
    names = [element.name for element in elements]
    if names.count("vertex") != 1:
        raise MediaDecodeError(
            f"the ply header has {names.count('vertex')} elements named vertex; expected 1"
        )
    return encoding, elements, elements[names.index("vertex")]


def _mesh_maker(
    data: bytes, body: int, elements: Sequence[_Element], encoding: str, options: CloudOptions
) -> CloudMaker:
    """Makes the cloud of the surface that the element `face` has over the vertices."""
    names = [element.name for element in elements]
    if "face" not in names:
        raise MediaDecodeError("the ply header has no element face, so no surface to sample")
    face = elements[names.index("face")]
    rows = header_count(face.rows, "ply")
    check_mesh_size(rows, "faces", "ply", options.max_points)
    for element in elements[: elements.index(face)]:
        body = _skip(data, body, element, encoding, options.max_points)
    order = _BYTE_ORDERS[encoding]
    properties = [_property(words, order) for words in face.properties]
    corners, sizes = read_faces(data, body, rows, properties, text=encoding == "ascii")
    faces, _ = triangles(corners, sizes, "ply", options.max_points)
    dropped = int((sizes < _FEWEST_CORNERS).sum())

    def make(xyz: Array, colour: Array | None, to_rgb: Callable[[Array], FloatArray]) -> RawCloud:
        rgb = None if colour is None else to_rgb(colour)
        return mesh_cloud(Mesh(xyz, faces, rgb, dropped=dropped), "ply", options, "vertices")

    return make


def _property(words: list[str], order: _ByteOrder) -> Property:
    match words:
        case ["list", length, kind, name]:
            return Property(name, _type(kind, order), _length_type(length, order))
    point = _point_field(words, order)
    return Property(point.name, point.type)


def _point_field(words: list[str], order: _ByteOrder) -> Field:
    match words:
        case [kind, name]:
            return Field(name, _type(kind, order))
        case ["list", _, _, name]:
            raise MediaDecodeError(
                f"the ply vertex property {name[:32]!r} is a list; expected one value per point"
            )
    raise MediaDecodeError(f"the ply header has the property {' '.join(words)[:64]!r}")


def _type(kind: str, order: _ByteOrder) -> np.dtype[Any]:
    if kind not in _TYPES:
        known = ", ".join(_TYPES)
        raise MediaDecodeError(
            f"the ply header has the property type {kind[:32]!r}; expected one of {known}"
        )
    return np.dtype(_TYPES[kind]).newbyteorder("<" if order == "little" else ">")


def _skip(data: bytes, start: int, element: _Element, encoding: str, max_rows: int) -> int:
    """The offset after the rows of an element."""
    rows = header_count(element.rows, "ply")
    if rows > max_rows:
        raise MediaTooLargeError(
            f"the ply element {element.name[:32]!r} before the vertices has {rows} rows; "
            f"the limit is {max_rows}"
        )
    if not element.properties:
        return start
    if encoding == "ascii":
        return _skip_lines(data, start, rows)
    return _skip_records(data, start, rows, element.properties, _BYTE_ORDERS[encoding])


def _skip_lines(data: bytes, start: int, rows: int) -> int:
    while rows:
        end = data.find(b"\n", start)
        if end < 0:
            raise MediaDecodeError("the ply text ends before its vertices")
        rows -= bool(data[start:end].strip())  # blank lines are not rows
        start = end + 1
    return start


def _skip_records(
    data: bytes, start: int, rows: int, properties: Sequence[list[str]], order: _ByteOrder
) -> int:
    # (type of the list length or None, bytes per value)
    shapes: list[tuple[np.dtype[Any] | None, int]] = []
    for words in properties:
        match words:
            case ["list", length, kind, _]:
                shapes.append((_length_type(length, order), _type(kind, order).itemsize))
            case _:
                shapes.append((None, _point_field(words, order).type.itemsize))
    if all(length_type is None for length_type, _ in shapes):
        start, rows = start + rows * sum(itemsize for _, itemsize in shapes), 0
    for _ in range(rows):
        for length_type, itemsize in shapes:
            if length_type is None:
                start += itemsize
                continue
            head = data[start : start + length_type.itemsize]
            count = int.from_bytes(head, order, signed=length_type.kind == "i")
            start += length_type.itemsize + max(count, 0) * itemsize
            if count < 0:
                raise MediaDecodeError(f"the ply file has a list of length {count}")
        if start > len(data):
            break
    if start > len(data):
        raise MediaDecodeError("the ply file ends before its vertices")
    return start


def _length_type(kind: str, order: _ByteOrder) -> np.dtype[Any]:
    found = _type(kind, order)
    if found.kind == "f":
        raise MediaDecodeError(f"the ply header has lists whose length has the type {kind!r}")
    return found
