"""The picture formats that are read: the one table that messages, documents and the page follow."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PictureFormat:
    """A format: its name, suffixes of its files, media types, and how its files begin.

    Formats in the ISO base media file format (ISO/IEC 14496-12) have `brands`, listed in the
    first box; the others have a `signature`. `extra` is the extra of this package that installs the
    decoder if the core does not.
    """

    name: str
    suffixes: tuple[str, ...]
    media_types: tuple[str, ...]
    signature: re.Pattern[bytes] | None = None
    brands: tuple[bytes, ...] = ()
    extra: str | None = None


def _begins(pattern: bytes) -> re.Pattern[bytes]:
    return re.compile(pattern, re.DOTALL)


PICTURE_FORMATS = (
    PictureFormat(
        "JPEG", ("jpg", "jpeg", "jpe", "jfif"), ("image/jpeg",), _begins(rb"\xff\xd8\xff")
    ),
    PictureFormat("PNG", ("png",), ("image/png",), _begins(rb"\x89PNG\r\n\x1a\n")),
    PictureFormat("WebP", ("webp",), ("image/webp",), _begins(rb"RIFF.{4}WEBP")),
    PictureFormat("BMP", ("bmp", "dib"), ("image/bmp",), _begins(rb"BM")),
    PictureFormat("GIF", ("gif",), ("image/gif",), _begins(rb"GIF8[79]a")),
    PictureFormat("TIFF", ("tif", "tiff"), ("image/tiff",), _begins(rb"II[*+]\0|MM\0[*+]")),
    PictureFormat(
        "HEIC", ("heic", "heif", "hif"), ("image/heic", "image/heif"),
        brands=(b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"),
        extra="heif",
    ),
    PictureFormat("AVIF", ("avif",), ("image/avif",), brands=(b"avif", b"avis")),
)  # fmt: skip
IMAGE_FORMATS = tuple(one.name for one in PICTURE_FORMATS)
PICTURE_SUFFIXES = tuple(suffix for one in PICTURE_FORMATS for suffix in one.suffixes)
# By suffix, without the dot.
MEDIA_TYPES = {suffix: one.media_types[0] for one in PICTURE_FORMATS for suffix in one.suffixes}
