"""The binary part of glTF: accessors, and primitives as vertices, triangles and colours."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lamm_model.formats.cloud import Array, FloatArray
from lamm_model.formats.errors import MediaDecodeError
from lamm_model.formats.gltf_scene import entry, unsupported
from lamm_model.formats.mesh import Floats, Integers, check_faces, check_mesh_size

WHITE: Floats = np.ones(3)
_TYPES = {5120: "<i1", 5121: "<u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
_COLUMNS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4}
_POINTS, _TRIANGLES, _STRIP, _FAN = 0, 4, 5, 6
# From one corner for so many vertices, looking at each vertex is faster than sorting the corners.
_DENSE = 16
_COMPRESSIONS = (
    "KHR_draco_mesh_compression", "EXT_meshopt_compression", "KHR_meshopt_compression"
)  # fmt: skip


class Accessors:
    """Reads accessors of one document as arrays; nothing is allocated but decoded buffers."""

    def __init__(
        self, document: Mapping[str, Any], binary: bytes | None, format: str, max_points: int
    ) -> None:
        """`binary` is the chunk of a glb file, which buffer 0 means if it has no `uri`."""
        self._document, self._binary = document, binary
        self.format, self.max_points = format, max_points
        self._buffers: dict[int, bytes] = {}
        self._faces = 0

    def count_faces(self, more: int) -> None:
        """Refuses a document whose primitives together have more than `max_points` faces."""
        self._faces += more
        check_mesh_size(self._faces, "faces", self.format, self.max_points)

    def read(self, index: Any, columns: tuple[int, ...], most: int, what: str) -> Array:
        """An accessor [count, columns] in its own type; integers that are normalised as floats.

        Raises:
            MediaTooLargeError: more than `most` items, called `what`.
            MediaDecodeError: other columns, or it does not lie within its buffer.
            MediaFormatError: it is sparse or compressed, or in another file.
        """
        accessor = entry(self._document, "accessors", index, self.format)
        name = f"accessors[{index}]"
        if "sparse" in accessor:
            raise unsupported(f"sparse values ({name})", self.format)
        if "bufferView" not in accessor:
            raise unsupported(f"values that are not in a buffer ({name})", self.format)
        kind = _TYPES.get(accessor["componentType"])
        found = _COLUMNS.get(accessor["type"], 0)
        if kind is None or found not in columns:
            raise MediaDecodeError(f"the {self.format} {name} has a type that its use forbids")
        count, start = accessor["count"], accessor.get("byteOffset", 0)
        check_mesh_size(_whole(count, name), what, self.format, most)
        view, stride = self._view(accessor["bufferView"])
        dtype = np.dtype(kind)
        row = found * dtype.itemsize
        stride = stride or row
        if count and _whole(start, name) + (count - 1) * stride + row > len(view):
            raise MediaDecodeError(
                f"the {self.format} {name} declares {count} items, more than its buffer has"
            )
        array: Array = np.ndarray(
            (count, found), dtype, view, start if count else 0, (stride, dtype.itemsize)
        )
        if accessor.get("normalized") and dtype.kind != "f":
            return np.maximum(array / float(np.iinfo(dtype).max), -1.0)
        return array

    def _view(self, index: Any) -> tuple[bytes, int]:
        """Bytes and stride (0: none) of a buffer view."""
        view = entry(self._document, "bufferViews", index, self.format)
        name = f"bufferViews[{index}]"
        used = next((name for name in _COMPRESSIONS if name in view.get("extensions", {})), None)
        if used is not None:
            raise unsupported(used, self.format)
        start, size = _whole(view.get("byteOffset", 0), name), _whole(view["byteLength"], name)
        buffer = self._buffer(view["buffer"])
        if start + size > len(buffer):
            raise MediaDecodeError(
                f"the {self.format} {name} ends at byte {start + size}; its buffer has "
                f"{len(buffer)}"
            )
        return buffer[start : start + size], _whole(view.get("byteStride", 0), name)

    def _buffer(self, index: Any) -> bytes:
        if index not in self._buffers:
            buffer = entry(self._document, "buffers", index, self.format)
            self._buffers[index] = self._bytes_of(buffer, index)
        return self._buffers[index]

    def _bytes_of(self, buffer: Mapping[str, Any], index: int) -> bytes:
        if "uri" not in buffer:
            if index or self._binary is None:
                raise MediaDecodeError(f"the {self.format} buffers[{index}] is not in the file")
            return self._binary
        head, comma, text = str(buffer["uri"]).partition(",")
        if not head.lower().startswith("data:") or not comma:
            raise unsupported(
                f"the external file {str(buffer['uri'])[:48]!r} (buffers are embedded in glb "
                "files, or are data: URIs)", self.format
            )  # fmt: skip
        try:
            return base64.b64decode(text, validate=True)
        except binascii.Error:
            raise MediaDecodeError(f"the {self.format} buffers[{index}] is no base64") from None


@dataclass(frozen=True, slots=True)
class Primitive:
    """`vertices` [V, 3], `faces` [F, 3]; `rgb` is linear, 0-1, [V, 3] or [3], or None."""

    vertices: Floats
    faces: Integers
    rgb: Floats | None


def read_primitive(
    document: Mapping[str, Any], part: Mapping[str, Any], accessors: Accessors
) -> Primitive:
    """A primitive's used vertices; one of lines has none.

    Raises as `Accessors.read`.
    """
    mode, attributes = part.get("mode", _TRIANGLES), part["attributes"]
    used = next((name for name in _COMPRESSIONS if name in part.get("extensions", {})), None)
    position = entry(document, "accessors", attributes.get("POSITION"), accessors.format)
    if used is not None and "bufferView" not in position:
        raise unsupported(used, accessors.format)
    if mode not in (_POINTS, _TRIANGLES, _STRIP, _FAN):
        return Primitive(np.empty((0, 3)), np.empty((0, 3), np.int64), None)
    most = accessors.max_points
    xyz = accessors.read(attributes["POSITION"], (3,), most, "vertices")
    if "indices" in part:
        # A limit on the indices of as many triangles as are allowed.
        order = accessors.read(part["indices"], (1,), 3 * most, "indices")[:, 0].astype(np.int64)
    else:
        order = np.arange(len(xyz))
    faces = _faces(order, mode, accessors.format)
    check_faces(faces, len(xyz), accessors.format)
    accessors.count_faces(len(faces))
    rgb, colours = _base_colour(document, part, accessors.format), None
    if "COLOR_0" in attributes:
        colours = accessors.read(attributes["COLOR_0"], (3, 4), most, "colours")[:, :3]
        if len(colours) != len(xyz):
            raise MediaDecodeError(
                f"a {accessors.format} primitive has {len(xyz)} positions, "
                f"but {len(colours)} colours"
            )
    if mode != _POINTS:
        # Many primitives may share one list of vertices.
        kept, faces = _used(faces, len(xyz))
        xyz, colours = xyz[kept], None if colours is None else colours[kept]
    if colours is not None:
        rgb = colours.astype(np.float64) * (WHITE if rgb is None else rgb)
    return Primitive(xyz.astype(np.float64), faces, rgb)


def srgb(linear: Floats) -> FloatArray:
    """Linear 0-1 to sRGB 0-255 (IEC 61966-2-1): glTF's factors and vertex colours are linear."""
    values = np.nan_to_num(linear).clip(0.0, 1.0)
    curved = np.where(
        values <= 0.0031308, 12.92 * values, 1.055 * np.power(values, 1 / 2.4) - 0.055
    )
    return (255.0 * curved).astype(np.float32)


def _used(faces: Integers, vertices: int) -> tuple[Integers, Integers]:
    """The vertices that the faces use, in order, and the faces over those alone."""
    if faces.size * _DENSE < vertices:
        kept, inverse = np.unique(faces, return_inverse=True)
        return kept, inverse.reshape(faces.shape)
    mask = np.zeros(vertices, bool)
    mask[faces] = True
    return np.flatnonzero(mask), (np.cumsum(mask) - 1)[faces]


def _base_colour(
    document: Mapping[str, Any], part: Mapping[str, Any], format: str
) -> Floats | None:
    """The factor of a material without a texture, linear; None if it does not set one."""
    if "material" not in part:
        return None
    material = entry(document, "materials", part["material"], format)
    surface = material.get("pbrMetallicRoughness", {})
    if "baseColorTexture" in surface or "baseColorFactor" not in surface:
        return None
    red, green, blue, _ = map(float, surface["baseColorFactor"])
    return np.array([red, green, blue])


def _faces(order: Integers, mode: int, format: str) -> Integers:
    if mode == _POINTS:
        return np.empty((0, 3), np.int64)
    if mode == _TRIANGLES:
        if len(order) % 3:
            raise MediaDecodeError(
                f"a {format} primitive has {len(order)} corners; triangles have three each"
            )
        return order.reshape(-1, 3)
    first, second, third = order[:-2], order[1:-1], order[2:]
    if mode == _FAN:
        return np.stack([np.broadcast_to(order[:1], first.shape), second, third], axis=1)
    faces = np.stack([first, second, third], axis=1)
    faces[1::2] = faces[1::2, [1, 0, 2]]  # every other triangle of a strip is turned
    return faces


def _whole(value: Any, name: str) -> int:
    if type(value) is not int or value < 0:
        raise MediaDecodeError(f"the glTF {name} has {str(value)[:16]!r}; expected a whole number")
    return value
