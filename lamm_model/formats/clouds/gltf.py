"""glTF 2.0 (Khronos, ISO/IEC 12113): `glb`, and `gltf` with embedded buffers.

The triangles of the default scene, moved by their nodes. Textures, cameras, lights, morph targets
and animations are not read. The format's y axis points up.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from lamm_model.formats.cloud import CloudOptions, RawCloud
from lamm_model.formats.cloud_format import CloudFormat
from lamm_model.formats.errors import MediaDecodeError
from lamm_model.formats.gltf_primitive import WHITE, Accessors, Primitive, read_primitive, srgb
from lamm_model.formats.gltf_scene import check_extensions, entry, placed_meshes
from lamm_model.formats.mesh import Mesh, check_mesh_size, mesh_cloud
from lamm_model.formats.text_table import BOM


def read_glb(data: bytes, options: CloudOptions) -> RawCloud:
    """See `CloudReader`."""
    if not data.startswith(_MAGIC):
        raise MediaDecodeError("the glb file does not begin with `glTF`")
    version, length = (int.from_bytes(data[at : at + 4], "little") for at in (4, 8))
    if version != _VERSION:
        raise MediaDecodeError(f"the glb file has version {version}; expected {_VERSION}")
    if length > len(data):
        raise MediaDecodeError(f"the glb header declares {length} bytes; the file has {len(data)}")
    chunks: dict[bytes, bytes] = {}
    for kind, chunk in _chunks(data[:length]):
        chunks.setdefault(kind, chunk)
    if _JSON not in chunks:
        raise MediaDecodeError("the glb file has no JSON chunk")
    return _cloud(chunks[_JSON], chunks.get(_BINARY), "glb", options)


def read_gltf(data: bytes, options: CloudOptions) -> RawCloud:
    """See `CloudReader`. Buffers in other files are refused."""
    return _cloud(data.removeprefix(BOM), None, "gltf", options)


FORMATS: Mapping[str, CloudFormat] = {
    "glb": CloudFormat(read_glb, (b"glTF",), up_axis="y", fields=frozenset({"sample"})),
    "gltf": CloudFormat(read_gltf, up_axis="y", fields=frozenset({"sample"})),
}

_MAGIC, _JSON, _BINARY = b"glTF", b"JSON", b"BIN\0"
_VERSION = 2
_CHUNK_HEAD = 8


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Kinds and contents of the chunks of a whole file."""
    at = 12
    while at + _CHUNK_HEAD <= len(data):
        size, kind = int.from_bytes(data[at : at + 4], "little"), data[at + 4 : at + 8]
        at += _CHUNK_HEAD + size
        if at > len(data):
            raise MediaDecodeError(f"the glb file ends before its chunk of {size} bytes does")
        yield kind, data[at - size : at]


def _cloud(text: bytes, binary: bytes | None, format: str, options: CloudOptions) -> RawCloud:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        raise MediaDecodeError(f"the {format} file has no valid JSON") from None
    if not isinstance(document, dict) or not isinstance(document.get("asset"), dict):
        raise MediaDecodeError(f"the {format} JSON has no object `asset`")
    version = str(document["asset"].get("version", ""))[:16]
    if version.split(".")[0] != str(_VERSION):
        raise MediaDecodeError(f"the {format} asset has version {version!r}; expected {_VERSION}.0")
    check_extensions(document, format)
    return mesh_cloud(_mesh(document, binary, format, options), format, options, "surface")


def _mesh(
    document: Mapping[str, Any], binary: bytes | None, format: str, options: CloudOptions
) -> Mesh:
    """All primitives of the scene as one mesh."""
    accessors = Accessors(document, binary, format, options.max_points)
    meshes: dict[int, list[Primitive]] = {}
    vertices, faces, rgb = [np.empty((0, 3))], [np.empty((0, 3), np.int64)], [np.empty((0, 3))]
    has_rgb, first, total = False, 0, 0
    for index, matrix in placed_meshes(document, format):
        if index not in meshes:
            parts = entry(document, "meshes", index, format)["primitives"]
            read = (read_primitive(document, part, accessors) for part in parts)
            # Those without vertices must cost nothing in each of many nodes.
            meshes[index] = [one for one in read if len(one.vertices)]
        for one in meshes[index]:
            total += len(one.faces)
            check_mesh_size(first + len(one.vertices), "vertices", format, options.max_points)
            check_mesh_size(total, "faces", format, options.max_points)
            with np.errstate(over="ignore", invalid="ignore"):  # their faces are dropped
                vertices.append(one.vertices @ matrix[:3, :3].T + matrix[:3, 3])
            faces.append(one.faces + first)
            rgb.append(np.broadcast_to(WHITE if one.rgb is None else one.rgb, one.vertices.shape))
            has_rgb |= one.rgb is not None
            first += len(one.vertices)
    colours = srgb(np.concatenate(rgb)) if has_rgb else None
    return Mesh(np.concatenate(vertices), np.concatenate(faces), colours)
