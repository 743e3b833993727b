"""Tells the format of a picture file by its first bytes."""

from __future__ import annotations

import re

from lamm_model.formats.errors import MediaFormatError

IMAGE_FORMATS = ("JPEG", "PNG", "WebP", "BMP", "GIF")


def picture_format(data: bytes) -> str:
    """One of `IMAGE_FORMATS`.

    Raises:
        MediaFormatError: another format, which the message names if its signature is known.
    """
    head = data[:_HEAD]
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WebP"
    for name, magic in _READ:
        if head.startswith(magic):
            return name
    expected = f"expected one of {', '.join(IMAGE_FORMATS)}"
    other = _other_format(head)
    if other is not None:
        raise MediaFormatError(f"the picture is a {other} file; {expected}")
    raise MediaFormatError(f"the picture begins with the bytes {data[:8].hex()}; {expected}")


_HEAD = 1024
_READ = (
    ("PNG", b"\x89PNG\r\n\x1a\n"),
    ("JPEG", b"\xff\xd8\xff"),
    ("GIF", b"GIF87a"),
    ("GIF", b"GIF89a"),
    ("BMP", b"BM"),
)
_OTHERS = (
    ("TIFF", b"II*\0"),
    ("TIFF", b"MM\0*"),
    ("TIFF", b"II+\0"),
    ("TIFF", b"MM\0+"),
    ("JPEG XL", b"\xff\x0a"),
    ("JPEG XL", b"\0\0\0\x0cJXL \r\n\x87\n"),
    ("JPEG 2000", b"\0\0\0\x0cjP  \r\n\x87\n"),
    ("JPEG 2000", b"\xff\x4f\xff\x51"),
    ("PDF", b"%PDF-"),
    ("PostScript", b"%!PS"),
    ("PSD", b"8BPS"),
    ("ICO", b"\0\0\x01\0"),
    ("OpenEXR", b"\x76\x2f\x31\x01"),
    ("Radiance HDR", b"#?RADIANCE"),
    ("DDS", b"DDS "),
    ("QOI", b"qoif"),
    ("Matroska or WebM video", b"\x1a\x45\xdf\xa3"),
)
# Brands of the ISO base media file format (ISO/IEC 14496-12, section 4.3).
_AVIF_BRANDS = (b"avif", b"avis")
_HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_PNM = re.compile(rb"P([1-7])[ \t\r\n]")
_SVG = re.compile(rb"<(?:\w+:)?svg[\s>]")
_HTML = re.compile(rb"\s*<(?:!doctype html|html)[\s>]", re.IGNORECASE)


def _other_format(head: bytes) -> str | None:
    if head[4:8] == b"ftyp":
        brands = {head[8:12], *(head[at : at + 4] for at in range(16, min(head[3], 64), 4))}
        if brands.intersection(_AVIF_BRANDS):
            return "AVIF"
        return "HEIC" if brands.intersection(_HEIC_BRANDS) else "MP4 or QuickTime video"
    for name, magic in _OTHERS:
        if head.startswith(magic):
            return name
    if _PNM.match(head):
        return "PNM"
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if _HTML.match(text):
        return "HTML"
    return "SVG" if text.startswith(b"<") and _SVG.search(text) else None
