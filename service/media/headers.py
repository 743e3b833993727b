"""Reads the size of a medium, in pixels or points, from its header, without decoding it.

Headers come from clients, so they are read as plain bytes, with a bounded number of small reads. A
header may lie: the decoder checks again.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Mapping
from typing import BinaryIO, Protocol

from lamm_model.conversation import Modality
from lamm_model.formats.picture_kind import HEAD, known_format
from lamm_model.formats.picture_size import picture_size


class MediumBytes(Protocol):
    """A medium's bytes with random access."""

    @property
    def size(self) -> int:
        """Number of bytes."""

    def read(self, offset: int, count: int) -> bytes:
        """`count` bytes from `offset`; fewer at the end, or if they cannot be read."""


class WholeBytes:
    """Bytes in memory."""

    def __init__(self, content: bytes) -> None:
        self._content, self.size = content, len(content)

    def read(self, offset: int, count: int) -> bytes:
        return self._content[offset : offset + count]


class Base64Bytes:
    """Base64 text, decoded only where it is read."""

    def __init__(self, text: str) -> None:
        self._text = text
        self.size = len(text) // 4 * 3 - text[-2:].count("=")

    def read(self, offset: int, count: int) -> bytes:
        first, end = offset // 3, -(-(offset + count) // 3)
        try:
            content = binascii.a2b_base64(self._text[4 * first : 4 * end])
        except ValueError:
            return b""
        return content[offset - 3 * first :][:count]


class FileBytes:
    """An open file of known size; blocks for the disk."""

    def __init__(self, stream: BinaryIO, size: int) -> None:
        self._stream, self.size = stream, size

    def read(self, offset: int, count: int) -> bytes:
        if offset >= self.size:
            return b""  # offsets come from the file, and may be more than a disk takes
        self._stream.seek(offset)
        return self._stream.read(count)


def announced_size(
    content: MediumBytes, modality: Modality, format: str = "", columns: int | None = None
) -> int | None:
    """Pixels of a picture, points of a cloud.

    None if no header has the number (`xyz` is text, `npz` is compressed) or it cannot be read: the
    decoder reports the error then.

    Args:
        content: the medium.
        modality: its modality.
        format: of a cloud, one of `POINT_CLOUD_FORMATS`.
        columns: float32 values per point of a `bin` file, if the request gives it.
    """
    if modality is Modality.POINT_CLOUD:
        if format == "bin":
            return _bin_points(content.size, columns)
        if format in _LAS:
            return _las_points(content)
        found = _POINTS[format].search(content.read(0, _TEXT_HEADER)) if format in _POINTS else None
        return None if found is None else int(found[1])
    size = picture_size(content.read)
    return None if size is None else size[0] * size[1]


def kind_of_bytes(content: MediumBytes, format: str) -> tuple[Modality, str] | None:
    """Modality and cloud format by the first bytes; None if they are no known signature.

    `format` is the file's suffix. It decides between kinds with the same signature. A `bin` file is
    raw floats, whose first bytes may equal a short signature; clients also give that name to files
    without one.
    """
    head = content.read(0, HEAD)
    for begin, kind in _CLOUDS.items():
        if head.startswith(begin):
            return Modality.POINT_CLOUD, format if (kind, format) == ("las", "laz") else kind
    name = known_format(head)
    if name is None or (format == "bin" and name in _SHORT_SIGNATURES):
        return None
    return Modality.IMAGE, ""


# Fewer bytes than a float has; those of clouds have as many.
_SHORT_SIGNATURES = ("BMP", "JPEG")
_CLOUDS: Mapping[bytes, str] = {
    b"ply\n": "ply",
    b"ply\r": "ply",
    b"# .PCD": "pcd",
    b"\x93NUMPY": "npy",
    b"PK\x03\x04": "npz",
    b"LASF": "las",
}
_TEXT_HEADER = 1 << 16
# Bounded digits: parsing an int of any length would take time.
_POINTS: Mapping[str, re.Pattern[bytes]] = {
    "npy": re.compile(rb"\A\x93NUMPY[^\n]{0,4096}?'shape': *\( *(\d{1,18}) *,", re.DOTALL),
    "ply": re.compile(rb"^element[ \t]+vertex[ \t]+(\d{1,18})[ \t\r]*$", re.MULTILINE),
    "pcd": re.compile(rb"^POINTS[ \t]+(\d{1,18})[ \t\r]*$", re.MULTILINE),
}
_LAS = ("las", "laz")


def _bin_points(size: int, columns: int | None) -> int | None:
    if columns is None:
        # By default 3 if 6 does not fit; the decoder refuses sizes that fit neither or both.
        columns = 3 if size % 24 else None
    return None if columns is None else size // (4 * columns)


def _las_points(content: MediumBytes) -> int | None:
    """By the public header block (ASPRS LAS 1.4, table 3)."""
    head = content.read(0, 255)
    if len(head) < 111 or head[:4] != b"LASF":
        return None
    legacy = _little(head[107:111])
    return legacy or (_little(head[247:255]) if len(head) == 255 else None)


def _little(value: bytes) -> int:
    return int.from_bytes(value, "little")
