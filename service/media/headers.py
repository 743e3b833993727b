"""Reads the size of a medium, in pixels or points, from its header, without decoding it.

Headers come from clients, so they are read as plain bytes, with a bounded number of small reads. A
header may lie: the decoder checks again.
"""

from __future__ import annotations

import binascii
from collections.abc import Callable, Mapping
from typing import BinaryIO

from lamm_model.conversation import Modality
from lamm_model.formats.cloud_format import MediumBytes
from lamm_model.formats.point_cloud import FORMATS


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
        known = FORMATS.get(format)
        return None if known is None else known.count(content, columns)
    magic = content.read(0, 12)
    reader = next((read for begin, read in _PICTURES.items() if magic.startswith(begin)), None)
    size = None if reader is None else reader(content)
    return None if size is None else size[0] * size[1]


def kind_of_bytes(content: MediumBytes, format: str) -> tuple[Modality, str] | None:
    """Modality and cloud format by the first bytes; None if they are no known signature.

    `format` is the file's suffix. It decides between formats with the same signature, and for those
    whose files may begin with any bytes.
    """
    head = content.read(0, _SIGNATURE)
    if format in FORMATS and FORMATS[format].unsigned:
        return None
    found = [name for name, known in FORMATS.items() if head.startswith(known.signatures)]
    if found:
        return Modality.POINT_CLOUD, format if format in found else found[0]
    if any(head.startswith(begin) for begin in _PICTURES):
        return Modality.IMAGE, ""
    return None


_SIGNATURE = 16
_MAX_SEGMENTS = 256
_JPEG_FRAMES = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
_JPEG_BARE = frozenset({0x01, *range(0xD0, 0xD8)})
_JPEG_SCAN = 0xDA
_BMP_CORE_HEADER = 12

Size = tuple[int, int]  # width, height


def _png(content: MediumBytes) -> Size | None:
    head = content.read(12, 12)
    if len(head) < 12 or head[:4] != b"IHDR":
        return None
    return _big(head[4:8]), _big(head[8:12])


def _gif(content: MediumBytes) -> Size | None:
    return _pair(content.read(6, 4))


def _bmp(content: MediumBytes) -> Size | None:
    head = content.read(14, 12)
    if len(head) < 12:
        return None
    if _little(head[:4]) == _BMP_CORE_HEADER:
        return _pair(head[4:8])
    # A picture that is stored top-down has a negative height.
    sides = (int.from_bytes(head[at : at + 4], "little", signed=True) for at in (4, 8))
    width, height = (abs(side) for side in sides)
    return width, height


def _webp(content: MediumBytes) -> Size | None:
    """From the first chunk (RFC 9649, sections 2.5 to 2.7)."""
    head = content.read(8, 22)
    kind, body = head[4:8], head[12:22]
    if head[:4] != b"WEBP" or len(body) < 10:
        return None
    if kind == b"VP8X":
        return 1 + _little(body[4:7]), 1 + _little(body[7:10])
    if kind == b"VP8L":
        bits = _little(body[1:5])
        return 1 + (bits & 0x3FFF), 1 + ((bits >> 14) & 0x3FFF)
    if kind == b"VP8 ":
        return _little(body[6:8]) & 0x3FFF, _little(body[8:10]) & 0x3FFF
    return None


def _jpeg(content: MediumBytes) -> Size | None:
    """From the first frame header, segment by segment (ITU-T T.81, annex B)."""
    at = 2
    for _ in range(_MAX_SEGMENTS):
        head = content.read(at, 9)
        if len(head) < 9 or head[0] != 0xFF or head[1] == _JPEG_SCAN:
            return None
        if head[1] in _JPEG_FRAMES:
            return _big(head[7:9]), _big(head[5:7])
        if head[1] == 0xFF:
            at += 1  # fill bytes may stand before a marker
        else:
            at += 2 if head[1] in _JPEG_BARE else 2 + _big(head[2:4])
    return None


_PICTURES: Mapping[bytes, Callable[[MediumBytes], Size | None]] = {
    b"\x89PNG\r\n\x1a\n": _png,
    b"\xff\xd8\xff": _jpeg,
    b"GIF87a": _gif,
    b"GIF89a": _gif,
    b"BM": _bmp,
    b"RIFF": _webp,
}


def _pair(head: bytes) -> Size | None:
    return (_little(head[:2]), _little(head[2:4])) if len(head) == 4 else None


def _big(value: bytes) -> int:
    return int.from_bytes(value, "big")


def _little(value: bytes) -> int:
    return int.from_bytes(value, "little")
