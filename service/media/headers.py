"""Reads the size of a medium, in pixels or points, from its header, without decoding it.

Headers come from clients, so they are read as plain bytes, with a bounded number of small reads. A
header may lie: the decoder checks again.
"""

from __future__ import annotations

import binascii
from typing import BinaryIO

from lamm_model.conversation import Modality
from lamm_model.formats.cloud_format import MediumBytes
from lamm_model.formats.pictures.picture_kind import HEAD, known_format
from lamm_model.formats.pictures.picture_size import picture_size
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
        known = FORMATS.get(format)
        return None if known is None else known.count(content, columns)
    size = picture_size(content.read)
    return None if size is None else size[0] * size[1]


def kind_of_bytes(content: MediumBytes, format: str) -> tuple[Modality, str] | None:
    """Modality and cloud format by the first bytes; None if they are no known signature.

    `format` is the file's suffix. It decides between formats with the same signature, and for those
    whose files may begin with any bytes. Clients give the name `bin` to files without one too, so
    it decides only where a signature is shorter than a float.
    """
    head = content.read(0, HEAD)
    raw = format == "bin"
    if not raw and format in FORMATS and FORMATS[format].unsigned:
        return None
    shortest = _FLOAT_BYTES if raw else 0
    found = [
        name
        for name, known in FORMATS.items()
        if any(head.startswith(one) for one in known.signatures if len(one) >= shortest)
    ]
    if found:
        return Modality.POINT_CLOUD, format if format in found else found[0]
    name = known_format(head)
    if name is None or (raw and name in _SHORT_SIGNATURES):
        return None
    return Modality.IMAGE, ""


_FLOAT_BYTES = 4
# Pictures whose signatures have fewer bytes than a float.
_SHORT_SIGNATURES = ("BMP", "JPEG")
