"""Tells the format of a picture file by its first bytes."""

from __future__ import annotations

import re

from lamm_model.formats.errors import MediaFormatError
from lamm_model.formats.pictures.camera_raw import camera_raw_name
from lamm_model.formats.pictures.picture_formats import IMAGE_FORMATS, PICTURE_FORMATS

__all__ = ["EXPECTED", "HEAD", "known_format", "picture_format"]

EXPECTED = f"expected one of {', '.join(IMAGE_FORMATS)}"
# Bytes of the beginning that `known_format` looks at.
HEAD = 1024


def known_format(head: bytes) -> str | None:
    """The format of `PICTURE_FORMATS` with this beginning, if any; camera raw is TIFF here."""
    brands = _brands(head)
    for one in PICTURE_FORMATS:
        if one.signature is not None and one.signature.match(head):
            return one.name
        if brands and brands[0] in one.brands:
            return one.name
    for one in PICTURE_FORMATS:
        if any(brand in one.brands for brand in brands):
            return one.name
    # HEIF without a brand that names its coding.
    return "HEIC" if any(brand in _HEIF_BRANDS for brand in brands) else None


def picture_format(data: bytes) -> str:
    """One of `IMAGE_FORMATS`.

    Raises:
        MediaFormatError: another format, which the message names if its signature is known.
    """
    head = data[:HEAD]
    name = known_format(head)
    other = _other_format(data) if name is None else None
    if name == "TIFF":
        other = camera_raw_name(lambda at, count: data[at : at + count])
    if other is not None:
        raise MediaFormatError(f"the picture is a {other} file; {EXPECTED}")
    if name is None:
        raise MediaFormatError(f"the picture begins with the bytes {data[:8].hex()}; {EXPECTED}")
    return name


_OTHERS = (
    ("JPEG XL", b"\xff\x0a"),
    ("JPEG XL", b"\0\0\0\x0cJXL \r\n\x87\n"),
    ("JPEG 2000", b"\0\0\0\x0cjP  \r\n\x87\n"),
    ("JPEG 2000", b"\xff\x4f\xff\x51"),
    ("PDF", b"%PDF-"),
    ("PostScript", b"%!PS"),
    ("PostScript", b"\xc5\xd0\xd3\xc6"),
    ("PSD", b"8BPS"),
    ("ICO", b"\0\0\x01\0"),
    ("ICNS", b"icns"),
    ("OpenEXR", b"\x76\x2f\x31\x01"),
    ("Radiance HDR", b"#?RADIANCE"),
    ("DDS", b"DDS "),
    ("QOI", b"qoif"),
    ("XCF (GIMP)", b"gimp xcf"),
    ("JPEG XR", b"II\xbc\x01"),
    ("WMF", b"\xd7\xcd\xc6\x9a"),
    ("FITS", b"SIMPLE  ="),
    ("HDF5", b"\x89HDF\r\n\x1a\n"),
    ("DjVu", b"AT&TFORM"),
    ("ORF (Olympus camera raw)", b"IIR"),
    ("ORF (Olympus camera raw)", b"MMOR"),
    ("RW2 (Panasonic camera raw)", b"IIU\0"),
    ("RAF (Fujifilm camera raw)", b"FUJIFILMCCD-RAW"),
    ("CRW (Canon camera raw)", b"II\x1a\0\0\0HEAPCCDR"),
    ("X3F (Sigma camera raw)", b"FOVb"),
    ("MRW (Minolta camera raw)", b"\0MRM"),
    ("Matroska or WebM video", b"\x1a\x45\xdf\xa3"),
    ("ZIP", b"PK\x03\x04"),
    ("gzip", b"\x1f\x8b"),
    # Point clouds and meshes.
    ("PLY", b"ply\n"),
    ("PLY", b"ply\r"),
    ("PCD", b"# .PCD"),
    ("NumPy", b"\x93NUMPY"),
    ("LAS", b"LASF"),
    ("E57", b"ASTM-E57"),
    ("glTF", b"glTF"),
)
_HEIF_BRANDS = (b"mif1", b"msf1", b"mif2", b"miaf")
_VIDEO = "MP4 or QuickTime video"
# Boxes that may come first in QuickTime files without a brand.
_QUICKTIME = (b"moov", b"mdat", b"wide", b"pnot")
_PNM = re.compile(rb"P[1-7Ff][ \t\r\n]")
_AVI = re.compile(rb"RIFF.{4}AVI ", re.DOTALL)
_TGA_END = b"TRUEVISION-XFILE.\0"
_SVG = re.compile(rb"<(?:\w+:)?svg[\s/>]")
_HTML = re.compile(rb"\s*<(?:!doctype html|html)[\s>]", re.IGNORECASE)


def _brands(head: bytes) -> list[bytes]:
    """The major brand, then the compatible ones (ISO/IEC 14496-12, section 4.3)."""
    if head[4:8] != b"ftyp":
        return []
    end = min(int.from_bytes(head[:4], "big"), 256)
    return [head[8:12], *(head[at : at + 4] for at in range(16, end - 3, 4))]


def _other_format(data: bytes) -> str | None:
    head = data[:HEAD]
    brands = _brands(head)
    if brands:
        return "CR3 (Canon camera raw)" if b"crx " in brands else _VIDEO
    by_place = {
        _VIDEO: head[4:8] in _QUICKTIME,
        "AVI video": _AVI.match(head),
        "PNM": _PNM.match(head),
        "DICOM": head[128:132] == b"DICM",
        "TGA": data.endswith(_TGA_END),
    }
    signed = (name for name, magic in _OTHERS if head.startswith(magic))
    name = next(signed, None) or next((name for name, found in by_place.items() if found), None)
    if name is not None:
        return name
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if _HTML.match(text):
        return "HTML"
    return "SVG" if text.startswith(b"<") and _SVG.search(text) else None
