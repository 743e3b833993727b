"""Wavefront OBJ: polygons over vertices, with colours as MeshLab and Open3D append them.

Materials are in files of their own, which are not sent, so they are not read. Curves and lines are
ignored.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping

import numpy as np

from lamm_model.formats.cloud import CloudOptions, FloatArray, RawCloud, colours
from lamm_model.formats.cloud_format import CloudFormat
from lamm_model.formats.errors import MediaDecodeError, MediaError
from lamm_model.formats.mesh import Mesh, check_mesh_size, mesh_cloud, triangles
from lamm_model.formats.text_table import BOM, numbered_lines, quoted


def read_obj(data: bytes, options: CloudOptions) -> RawCloud:
    """See `CloudReader`. A file without faces is its vertices."""
    data = data.removeprefix(BOM).replace(b"\\\r\n", b" ").replace(b"\\\n", b" ")
    if b"\n" not in data:
        data = data.replace(b"\r", b"\n")  # line ends of old Macintosh programs
    found = _Elements(options.max_points)
    for number, line in numbered_lines(data, 1):
        keyword = line[:2]
        try:
            if keyword in _VERTEX:
                found.add_vertex(line, number)
            elif keyword in _FACE:
                found.add_face(line)
        except MediaError:
            raise
        except (ValueError, OverflowError):
            raise MediaDecodeError(
                f"line {number} of the obj file is {quoted(line)}; expected "
                + ("numbers x y z" if keyword in _VERTEX else "vertex indices, from 1 or negative")
            ) from None
    return mesh_cloud(found.mesh(), "obj", options, "surface")


FORMATS: Mapping[str, CloudFormat] = {"obj": CloudFormat(read_obj, fields=frozenset({"sample"}))}

_VERTEX = (b"v ", b"v\t")
_FACE = (b"f ", b"f\t")


class _Elements:
    """Vertices and polygons as they are found."""

    def __init__(self, max_points: int) -> None:
        self._max_points = max_points
        self._xyz, self._rgb = array("d"), array("d")
        self._vertices = self._coloured = self._dropped = 0
        self._corners, self._sizes = array("q"), array("q")

    def add_vertex(self, line: bytes, number: int) -> None:
        """`v x y z`, with `w` or `r g b` after it; ValueError if a value is no number."""
        words = line.split(None, 8)[1:]
        if len(words) < 3:
            raise ValueError
        self._vertices += 1
        check_mesh_size(self._vertices, "vertices", "obj", self._max_points)
        self._xyz.extend(map(float, words[:3]))
        if len(words) >= 6:
            self._rgb.extend(map(float, words[-3:] if len(words) == 7 else words[3:6]))
            self._coloured += 1
        if self._coloured not in (0, self._vertices):
            raise MediaDecodeError(
                f"line {number} of the obj file is {quoted(line)}; it has "
                f"{'a' if len(words) >= 6 else 'no'} colour, unlike the vertices before it"
            )

    def add_face(self, line: bytes) -> None:
        """`f` and its corners: `v`, `v/vt`, `v//vn` or `v/vt/vn`.

        Negative indices count back from the vertices so far.
        """
        corners = [int(word.split(b"/", 1)[0]) for word in line.split()[1:]]
        if 0 in corners or not corners:
            raise ValueError
        if min(corners) < 0:
            corners = [c - 1 if c > 0 else self._vertices + c for c in corners]
            self._corners.extend(corners)
            if min(corners) < 0:
                raise ValueError
        else:
            self._corners.extend([corner - 1 for corner in corners])
        self._sizes.append(len(corners))

    def mesh(self) -> Mesh:
        """Everything that was added."""
        sizes = np.array(self._sizes, np.int64)
        faces, _ = triangles(np.array(self._corners, np.int64), sizes, "obj", self._max_points)
        xyz = np.array(self._xyz).reshape(-1, 3)
        rgb: FloatArray | None = None
        if self._coloured:
            rgb = colours(np.array(self._rgb).reshape(-1, 3))
        return Mesh(xyz, faces, rgb, dropped=int((sizes < 3).sum()))
