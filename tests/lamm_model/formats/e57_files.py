"""A writer of E57 files for the tests: any kind of field, several scans, poses and damage."""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

Array = npt.NDArray[Any]
PAGE, CHECKSUM = 1024, 4


@dataclass
class Scan:
    """`columns` by their names in the format; `kinds` are float, double, integer or scaled."""

    columns: dict[str, Array]
    kinds: dict[str, str] = field(default_factory=dict)
    rotation: Sequence[float] | None = None
    translation: Sequence[float] | None = None
    limits: tuple[float, float] | None = None


def e57(scans: Sequence[Scan]) -> bytes:
    """The file of those scans."""
    lib: Any = pytest.importorskip("pye57").libe57
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.e57"
        image = lib.ImageFile(str(path), "w")
        image.extensionsAdd("", lib.E57_V1_0_URI)
        root = image.root()
        root.set("formatName", lib.StringNode(image, "ASTM E57 3D Imaging Data File"))
        data = lib.VectorNode(image, True)
        root.set("data3D", data)
        for scan in scans:
            _write(lib, image, data, scan)
        image.close()
        return path.read_bytes()


def resealed(data: bytes) -> bytes:
    """The same bytes with right checksums, so that damage reaches what is behind them."""
    pages = []
    for at in range(0, len(data), PAGE):
        body = data[at : at + PAGE - CHECKSUM]
        pages.append(
            body + struct.pack(">I", _crc32c(body)) if len(body) == PAGE - CHECKSUM else body
        )
    return b"".join(pages)


def xml_bounds(data: bytes) -> tuple[int, int]:
    """Where the XML begins in the file, and its length without checksums."""
    start, length = struct.unpack("<QQ", data[24:40])
    return start, length


def with_xml(data: bytes, change: tuple[bytes, bytes]) -> bytes:
    """The file with a piece of its XML replaced, once."""
    start, length = xml_bounds(data)
    logical = b"".join(data[at : at + PAGE - CHECKSUM] for at in range(0, len(data), PAGE))
    first, within = divmod(start, PAGE)
    at = first * (PAGE - CHECKSUM) + within
    xml = logical[at : at + length]
    assert change[0] in xml, xml
    xml = xml.replace(change[0], change[1], 1)
    whole = logical[:at] + xml
    whole += bytes(-len(whole) % (PAGE - CHECKSUM))
    size = len(whole) // (PAGE - CHECKSUM) * PAGE
    whole = whole[:16] + struct.pack("<QQQ", size, start, len(xml)) + whole[40:]
    step = PAGE - CHECKSUM
    return resealed(
        b"".join(whole[i : i + step] + bytes(CHECKSUM) for i in range(0, len(whole), step))
    )


def _write(lib: Any, image: Any, data: Any, scan: Scan) -> None:
    node = lib.StructureNode(image)
    prototype = lib.StructureNode(image)
    for name, values in scan.columns.items():
        prototype.set(name, _prototype(lib, image, values, scan.kinds.get(name, "double")))
    if scan.rotation is not None or scan.translation is not None:
        pose = lib.StructureNode(image)
        for part, axes in (("rotation", "wxyz"), ("translation", "xyz")):
            given = getattr(scan, part)
            if given is not None:
                inner = lib.StructureNode(image)
                for axis, value in zip(axes, given, strict=True):
                    inner.set(axis, lib.FloatNode(image, float(value)))
                pose.set(part, inner)
        node.set("pose", pose)
    if scan.limits is not None:
        limits = lib.StructureNode(image)
        for channel in ("Red", "Green", "Blue"):
            for end, value in zip(("Minimum", "Maximum"), scan.limits, strict=True):
                limits.set(f"color{channel}{end}", lib.FloatNode(image, float(value)))
        node.set("colorLimits", limits)
    points = lib.CompressedVectorNode(image, prototype, lib.VectorNode(image, True))
    node.set("points", points)
    data.append(node)
    buffers = lib.VectorSourceDestBuffer()
    kept = [np.ascontiguousarray(values, np.float64) for values in scan.columns.values()]
    count = len(kept[0])
    for name, values in zip(scan.columns, kept, strict=True):
        buffers.append(lib.SourceDestBuffer(image, name, values, count, True, True))
    writer = points.writer(buffers)
    writer.write(count)
    writer.close()


def _prototype(lib: Any, image: Any, values: Array, kind: str) -> Any:
    if kind == "integer":
        return lib.IntegerNode(image, 0, 0, 65535)
    if kind == "scaled":
        return lib.ScaledIntegerNode(image, 0, -(2**31), 2**31, 1 / 128, 0.0)
    precision = lib.E57_SINGLE if kind == "float" else lib.E57_DOUBLE
    return lib.FloatNode(image, 0.0, precision)


def _crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


def _table() -> list[int]:
    found = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ 0x82F63B78 * (value & 1)  # noqa: PLW2901 - the usual form
        found.append(value)
    return found


_TABLE = _table()
