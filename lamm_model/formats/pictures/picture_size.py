"""Reads the size of a picture from its header, without decoding it, and limits it.

Headers are read as plain bytes, with a bounded number of bounded reads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from lamm_model.formats.errors import MediaDecodeError, MediaTooLargeError
from lamm_model.formats.pictures.heif_header import read_heif_header
from lamm_model.formats.pictures.picture_kind import HEAD, known_format
from lamm_model.formats.pictures.tiff_header import HEIGHT, ORIENTATION, WIDTH, first_directory

# `count` bytes from an offset; fewer at the end, or if they cannot be read.
Read = Callable[[int, int], bytes]
Size = tuple[int, int]  # width, height

# Pixels: the most that JPEG and GIF can declare. Row by row, a decoder spends more on a picture of
# one column than on a square of the same area.
MAX_SIDE = 65_535


def picture_size(read: Read) -> Size | None:
    """Width and height in pixels; None if they cannot be read: the decoder says why then."""
    reader = _READERS.get(known_format(read(0, HEAD)) or "")
    return None if reader is None else reader(read)


def check_pixels(width: int, height: int, max_pixels: int, max_side: int = MAX_SIDE) -> None:
    """
    Raises:
        MediaTooLargeError: more than `max_pixels`, or a side over `max_side`.
        MediaDecodeError: no pixels.
    """
    if width < 1 or height < 1:
        raise MediaDecodeError(f"the picture is {width} x {height} pixels; expected at least 1 x 1")
    if width * height > max_pixels:
        raise MediaTooLargeError(
            f"the picture is {width} x {height} = {width * height} pixels; "
            f"the limit is {max_pixels}"
        )
    if max(width, height) > max_side:
        raise MediaTooLargeError(
            f"the picture is {width} x {height} pixels; the limit per side is {max_side}"
        )


_MAX_SEGMENTS = 256
_JPEG_FRAMES = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
_JPEG_BARE = frozenset({0x01, *range(0xD0, 0xD8)})
_JPEG_SCAN = 0xDA
_BMP_CORE_HEADER = 12
_SIDEWAYS = (5, 6, 7, 8)  # orientations that swap width and height


def _png(read: Read) -> Size | None:
    head = read(12, 12)
    if len(head) < 12 or head[:4] != b"IHDR":
        return None
    return _big(head[4:8]), _big(head[8:12])


def _gif(read: Read) -> Size | None:
    return _pair(read(6, 4))


def _bmp(read: Read) -> Size | None:
    head = read(14, 12)
    if len(head) < 12:
        return None
    if _little(head[:4]) == _BMP_CORE_HEADER:
        return _pair(head[4:8])
    # A picture that is stored top-down has a negative height.
    sides = (int.from_bytes(head[at : at + 4], "little", signed=True) for at in (4, 8))
    width, height = (abs(side) for side in sides)
    return width, height


def _webp(read: Read) -> Size | None:
    """From the first chunk (RFC 9649, sections 2.5 to 2.7)."""
    head = read(12, 18)
    kind, body = head[:4], head[8:]
    if len(body) < 10:
        return None
    if kind == b"VP8X":
        return 1 + _little(body[4:7]), 1 + _little(body[7:10])
    if kind == b"VP8L":
        bits = _little(body[1:5])
        return 1 + (bits & 0x3FFF), 1 + ((bits >> 14) & 0x3FFF)
    if kind == b"VP8 ":
        return _little(body[6:8]) & 0x3FFF, _little(body[8:10]) & 0x3FFF
    return None


def _jpeg(read: Read) -> Size | None:
    """From the first frame header, segment by segment (ITU-T T.81, annex B)."""
    at = 2
    for _ in range(_MAX_SEGMENTS):
        head = read(at, 9)
        if len(head) < 9 or head[0] != 0xFF or head[1] == _JPEG_SCAN:
            return None
        if head[1] in _JPEG_FRAMES:
            return _big(head[7:9]), _big(head[5:7])
        if head[1] == 0xFF:
            at += 1  # fill bytes may stand before a marker
        else:
            at += 2 if head[1] in _JPEG_BARE else 2 + _big(head[2:4])
    return None


def _tiff(read: Read) -> Size | None:
    page = first_directory(read)
    if page is None:
        return None
    width, height = page.value(WIDTH), page.value(HEIGHT)
    return (height, width) if page.value(ORIENTATION) in _SIDEWAYS else (width, height)


def _heif(read: Read) -> Size | None:
    header = read_heif_header(read)
    return None if header is None else (header.width, header.height)


_READERS: Mapping[str, Callable[[Read], Size | None]] = {
    "PNG": _png,
    "JPEG": _jpeg,
    "GIF": _gif,
    "BMP": _bmp,
    "WebP": _webp,
    "TIFF": _tiff,
    "HEIC": _heif,
    "AVIF": _heif,
}


def _pair(head: bytes) -> Size | None:
    return (_little(head[:2]), _little(head[2:4])) if len(head) == 4 else None


def _big(value: bytes) -> int:
    return int.from_bytes(value, "big")


def _little(value: bytes) -> int:
    return int.from_bytes(value, "little")
