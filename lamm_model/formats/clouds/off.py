"""OFF, text (Geomview, "OFF Files"), with the variations of ModelNet and MeshLab.

The first line has the prefixes C (colours), N (normals) and ST (texture coordinates), in any
combination. Numbers may follow the keyword on its own line, as in a part of ModelNet.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterator, Mapping

import numpy as np

from lamm_model.formats.cloud import CloudOptions, FloatArray, RawCloud, colours
from lamm_model.formats.cloud_format import CloudFormat
from lamm_model.formats.errors import MediaDecodeError
from lamm_model.formats.fields import header_count
from lamm_model.formats.mesh import (
    Floats,
    Integers,
    Mesh,
    check_mesh_size,
    mesh_cloud,
    triangles,
)
from lamm_model.formats.text_table import BOM, numbered_lines, quoted, read_table


def read_off(data: bytes, options: CloudOptions) -> RawCloud:
    """See `CloudReader`."""
    data = data.removeprefix(BOM)
    found = _KEYWORD.match(data)
    if found is None:
        first = data.split(b"\n", 1)[0]
        raise MediaDecodeError(
            f"the off file begins with {quoted(first)}; expected OFF, with C, N or ST before it"
        )
    lines = _lines(data[found.end() :], 1 + data.count(b"\n", 0, found.end()))
    vertices, faces = _counts(lines)
    check_mesh_size(vertices, "vertices", "off", options.max_points)
    check_mesh_size(faces, "faces", "off", options.max_points)
    kind = found[1].upper()
    table = _vertices(lines, vertices)
    corners, sizes, rgb = _faces(lines, faces)
    triangle, polygon = triangles(corners, sizes, "off", options.max_points)
    mesh = Mesh(
        table[:, :3], triangle, _vertex_rgb(table, kind),
        None if rgb is None else rgb[polygon], int((sizes < 3).sum()),
    )  # fmt: skip
    return mesh_cloud(mesh, "off", options, "surface")


FORMATS: Mapping[str, CloudFormat] = {
    "off": CloudFormat(
        read_off,
        (b"OFF", b"COFF", b"NOFF", b"CNOFF", b"STOFF", b"STCOFF", b"STNOFF", b"STCNOFF"),
        fields=frozenset({"sample"}),
    )
}

# The dimensions 4 and n, and the binary kind, are refused since they do not match.
_KEYWORD = re.compile(rb"(?i)(?:\s|#[^\n]*\n)*((?:ST)?C?N?)OFF(?![A-Za-z])(?!\s+BINARY)")
_Lines = Iterator[tuple[int, bytes]]


def _lines(text: bytes, first: int) -> _Lines:
    """Line numbers and lines without comments and without the blank ones."""
    for number, line in numbered_lines(text, first):
        if stripped := line.split(b"#", 1)[0].strip():
            yield number, stripped


def _counts(lines: _Lines) -> tuple[int, int]:
    number, line = next(lines, (0, b""))
    words = [word.decode("ascii", "replace") for word in line.split(None, 4)]
    if not 2 <= len(words) <= 3:
        raise MediaDecodeError(
            f"line {number} of the off file is {quoted(line)}; expected the numbers of vertices, "
            "faces and edges"
        )
    return header_count(words[0], "off"), header_count(words[1], "off")


def _vertices(lines: _Lines, count: int) -> Floats:
    """[V, 3 or more]."""
    if count == 0:
        return np.empty((0, 3))
    rows = [line for _, (_, line) in zip(range(count), lines, strict=False)]
    if len(rows) < count:
        raise MediaDecodeError(f"the off header declares {count} vertices; {len(rows)} follow")
    table = read_table(b"\n".join(rows), "off", first_line=1)
    if not _MIN_VALUES <= table.shape[1] <= _MAX_VALUES:
        raise MediaDecodeError(
            f"the off vertices have {table.shape[1]} values; "
            f"expected {_MIN_VALUES} to {_MAX_VALUES}"
        )
    return table


_MIN_VALUES, _MAX_VALUES = 3, 12  # x y z, normal, r g b a, s t


def _vertex_rgb(table: Floats, kind: bytes) -> FloatArray | None:
    """Colours follow the normals; alpha is not used."""
    start = 6 if b"N" in kind else 3
    if b"C" not in kind:
        return None
    if table.shape[1] < start + 3:
        raise MediaDecodeError(
            f"the off vertices have {table.shape[1]} values, too few for the colours that the "
            "keyword announces"
        )
    return colours(table[:, start : start + 3])


def _faces(lines: _Lines, count: int) -> tuple[Integers, Integers, FloatArray | None]:
    """Corners of all polygons, corners of each, and colours if all have them."""
    corners, sizes, rgb = array("q"), array("q"), array("d")
    for _, (number, line) in zip(range(count), lines, strict=False):
        words = line.split()
        try:
            size = int(words[0])
            if not 0 <= size < len(words):
                raise ValueError
            corners.extend(map(int, words[1 : size + 1]))
            if len(words) in (size + 4, size + 5):
                rgb.extend(map(float, words[size + 1 : size + 4]))
        except (ValueError, OverflowError):
            raise MediaDecodeError(
                f"line {number} of the off file is {quoted(line)}; expected the number of corners "
                "and as many vertex indices"
            ) from None
        sizes.append(size)
    if len(sizes) < count:
        raise MediaDecodeError(f"the off header declares {count} faces; {len(sizes)} follow")
    has_rgb = count > 0 and len(rgb) == 3 * count
    return (
        np.array(corners, np.int64), np.array(sizes, np.int64),
        colours(np.array(rgb).reshape(-1, 3)) if has_rgb else None,
    )  # fmt: skip
