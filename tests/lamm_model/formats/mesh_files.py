"""Writers of mesh files for the tests, in every encoding, with NumPy alone."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tests.lamm_model.formats.point_files import Column, ply, records

Array = npt.NDArray[Any]
Polygons = Sequence[Sequence[int]]


def obj(xyz: Array, polygons: Polygons, rgb: Array | None = None, *, style: str = "v") -> bytes:
    """`style` is the form of a corner: v, v/vt, v//vn, v/vt/vn, or `negative`."""
    rows = xyz if rgb is None else np.hstack([xyz, rgb / 255])
    lines = ["# a mesh", "mtllib none.mtl", "o thing"]
    lines += ["v " + " ".join(map(repr, row)) for row in rows.tolist()]
    lines += ["vt 0 0", "vn 0 0 1", "usemtl none", "s off", "l 1 1"]
    for polygon in polygons:
        corners = [index + 1 for index in polygon]
        if style == "negative":
            corners = [index - len(xyz) for index in polygon]
        after = {"v/vt": "/1", "v//vn": "//1", "v/vt/vn": "/1/1"}.get(style, "")
        lines.append("f " + " ".join(f"{corner}{after}" for corner in corners))
    return ("\n".join(lines) + "\n").encode()


def off(
    xyz: Array, polygons: Polygons, rgb: Array | None = None, *, glitch: bool = False,
    normals: bool = False,
) -> bytes:  # fmt: skip
    """With `glitch`, the counts follow the keyword at once, as in a part of ModelNet."""
    rows: list[list[Any]] = xyz.tolist()
    if normals:
        rows = [[*row, 0.0, 0.0, 1.0] for row in rows]
    if rgb is not None:
        rows = [[*row, *colour, 255] for row, colour in zip(rows, rgb.tolist(), strict=True)]
    head = ("C" if rgb is not None else "") + ("N" if normals else "") + "OFF"
    head += ("" if glitch else "\n# a comment\n\n") + f"{len(xyz)} {len(polygons)} 0\n"
    body = "".join(" ".join(map(str, row)) + "  # x y z\n" for row in rows)
    faces = "".join(f"{len(p)} " + " ".join(map(str, p)) + "\n" for p in polygons)
    return (head + body + faces).encode()


def stl(xyz: Array, faces: Array, *, text: bool = False, head: bytes = b"solid thing") -> bytes:
    corners = xyz[faces]
    if not text:
        table = np.zeros(len(faces), [("n", "<f4", 3), ("c", "<f4", (3, 3)), ("a", "<u2")])
        table["c"] = corners
        return head.ljust(80, b" ") + struct.pack("<I", len(faces)) + table.tobytes()
    lines = [head.decode()]
    for face in corners.tolist():
        lines += ["facet normal 0 0 0", "  outer loop"]
        lines += [f"    vertex {x!r} {y!r} {z!r}" for x, y, z in face]
        lines += ["  endloop", "endfacet"]
    return ("\n".join([*lines, "endsolid thing"]) + "\n").encode()


def ply_mesh(
    xyz: Array, polygons: Polygons, rgb: Array | None, encoding: str, *, first: bool = False
) -> bytes:
    """`first` puts the faces before the vertices."""
    columns: list[Column] = [(name, xyz[:, axis]) for axis, name in enumerate("xyz")]
    if rgb is not None:
        columns += [
            (name, rgb[:, axis].astype("u1"))
            for axis, name in enumerate(("red", "green", "blue"))
        ]  # fmt: skip
    head = f"element face {len(polygons)}\nproperty uchar flags\n"
    head += "property list uchar int vertex_indices\n"
    order = ">" if encoding == "binary_big_endian" else "<"
    if encoding == "ascii":
        body = "".join(f"7 {len(p)} {' '.join(map(str, p))}\n" for p in polygons).encode()
    else:
        body = b"".join(struct.pack(f"{order}BB{len(p)}i", 7, len(p), *p) for p in polygons)
    around: dict[str, Any] = {"before" if first else "after": (head, body)}
    return ply(columns, encoding, **around)


def glb(document: dict[str, Any], binary: bytes = b"", version: int = 2) -> bytes:
    """A container around a document and its binary chunk."""
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    binary += bytes(-len(binary) % 4)
    chunks = struct.pack("<I4s", len(text), b"JSON") + text
    if binary:
        chunks += struct.pack("<I4s", len(binary), b"BIN\0") + binary
    return struct.pack("<4sII", b"glTF", version, 12 + len(chunks)) + chunks


def gltf_parts(
    xyz: Array, faces: Array, rgb: Array | None = None, *, interleaved: bool = False
) -> tuple[dict[str, Any], bytes]:
    """A document with one mesh in one node, and its buffer."""
    index = np.asarray(faces).ravel().astype("<u4").tobytes()
    columns: list[Column] = [(str(axis), xyz[:, axis].astype("f4")) for axis in range(3)]
    if rgb is not None:
        columns += [(f"c{axis}", (rgb[:, axis] / 255).astype("f4")) for axis in range(3)]
    stride = 12 if rgb is None or not interleaved else 24
    if interleaved:
        vertices = records(columns, "<")
        colour_offset = 12
    else:
        vertices = records(columns[:3], "<") + (
            records(columns[3:], "<") if rgb is not None else b""
        )
        colour_offset = 12 * len(xyz)
    view = {
        "buffer": 0,
        "byteOffset": len(index),
        "byteLength": len(vertices),
        "byteStride": stride,
    }
    attributes = {"POSITION": 1}
    accessors: list[dict[str, Any]] = [
        {"bufferView": 0, "componentType": 5125, "count": len(index) // 4, "type": "SCALAR"},
        {"bufferView": 1, "componentType": 5126, "count": len(xyz), "type": "VEC3"},
    ]
    if rgb is not None:
        attributes["COLOR_0"] = 2
        accessors.append({**accessors[1], "byteOffset": colour_offset})
    document: dict[str, Any] = {
        "asset": {"version": "2.0"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [{"attributes": attributes, "indices": 0}]}],
        "accessors": accessors,
        "bufferViews": [{"buffer": 0, "byteLength": len(index)}, view],
        "buffers": [{"byteLength": len(index) + len(vertices)}],
    }
    return document, index + vertices


def gltf(document: dict[str, Any], binary: bytes) -> bytes:
    """A document with its buffer as a data: URI."""
    text = base64.b64encode(binary).decode()
    uri = f"data:application/octet-stream;base64,{text}"
    return json.dumps({**document, "buffers": [{"byteLength": len(binary), "uri": uri}]}).encode()
