"""STL, binary and text (3D Systems, "StereoLithography Interface Specification", 1989).

Colours in the attribute bytes are not read: programs disagree about their order.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from lamm_model.formats.cloud import CloudOptions, RawCloud
from lamm_model.formats.cloud_format import CloudFormat
from lamm_model.formats.errors import MediaDecodeError
from lamm_model.formats.mesh import Floats, Mesh, check_mesh_size, mesh_cloud
from lamm_model.formats.text_table import read_table


def read_stl(data: bytes, options: CloudOptions) -> RawCloud:
    """See `CloudReader`.

    Many binary files begin with `solid` as text files do, so the size decides first.
    """
    faces = int.from_bytes(data[80:84], "little")
    exact = len(data) == _HEADER + faces * _FACE.itemsize
    if len(data) >= _HEADER and (exact or not _is_text(data)):
        corners = _binary(data, faces, options.max_points)
    else:
        corners = _text(data, options.max_points)
    faces_of = np.arange(len(corners)).reshape(-1, 3)
    if options.sample == "vertices":
        # Faces share corners, and the file repeats them.
        corners, faces_of = np.unique(corners, axis=0), faces_of[:0]
        options = CloudOptions(options.max_points)
    return mesh_cloud(Mesh(corners, faces_of), "stl", options, "surface")


FORMATS: Mapping[str, CloudFormat] = {
    "stl": CloudFormat(
        read_stl, (b"solid ", b"solid\n", b"solid\r"), fields=frozenset({"sample"}), unsigned=True
    )
}

_HEADER = 84
_FACE = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
_VERTEX = re.compile(rb"(?im)^[ \t]*vertex[ \t]+([^\r\n]*)")
_LOOP = re.compile(rb"(?im)^[ \t]*endloop\b")
_END = re.compile(rb"(?im)^[ \t]*endsolid\b")


def _is_text(data: bytes) -> bool:
    start = data[:_HEADER].lstrip().lower()
    return start.startswith(b"solid") and b"facet" in data[:4096].lower()


def _binary(data: bytes, faces: int, max_faces: int) -> Floats:
    """The corners [3 F, 3]."""
    check_mesh_size(faces, "faces", "stl", max_faces)
    needed = _HEADER + faces * _FACE.itemsize
    if needed > len(data):
        raise MediaDecodeError(
            f"the stl header declares {faces} faces, which take {needed} bytes; "
            f"the file has {len(data)}"
        )
    records = np.frombuffer(data, _FACE, faces, _HEADER)
    return records["corners"].reshape(-1, 3).astype(np.float64)


def _text(data: bytes, max_faces: int) -> Floats:
    """The corners [3 F, 3]."""
    if not data.lstrip()[:5].lower() == b"solid":
        raise MediaDecodeError(
            f"the stl file has {len(data)} bytes and does not begin with `solid`; "
            f"a binary file has at least {_HEADER}"
        )
    loops = sum(1 for _ in _LOOP.finditer(data))
    check_mesh_size(loops, "faces", "stl", max_faces)
    lines = [found[1] for found in _VERTEX.finditer(data)]
    if len(lines) != 3 * loops:
        raise MediaDecodeError(
            f"the stl text has {loops} loops and {len(lines)} vertices; expected 3 a loop"
        )
    if not _END.search(data):
        raise MediaDecodeError("the stl text ends before `endsolid`")
    return read_table(b"\n".join(lines), "stl", first_line=1, columns=3) if lines else _NOTHING


_NOTHING: Floats = np.empty((0, 3))
