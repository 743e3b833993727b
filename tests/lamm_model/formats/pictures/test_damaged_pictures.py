"""Pictures that viewers show although a part is too large or missing, and those beyond reading."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from lamm_model.media import (
    IMAGE_FORMATS,
    MediaDecodeError,
    MediaFormatError,
    MediaTooLargeError,
    decode_image,
)

JPEG_OPTIONS: dict[str, dict[str, object]] = {
    "baseline": {},
    "progressive": {"progressive": True},
    "restart rows": {"restart_marker_rows": 1},
    "restart blocks": {"restart_marker_blocks": 3},
}


def encoded(image: Image.Image, format: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()


def noise(width: int = 70, height: int = 50) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def slope() -> Image.Image:
    grey = np.add.outer(np.arange(100), np.arange(131)).astype(np.uint8)
    return Image.fromarray(grey).convert("RGB")


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(decode_image(data)[0])


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


BIG = zlib.compress(bytes(1_500_000))
LARGE_METADATA = {
    "profile": [png_chunk(b"iCCP", b"icc\0\0" + BIG)],
    "text": [png_chunk(b"zTXt", b"Comment\0\0" + BIG)],
    "international text": [png_chunk(b"iTXt", b"Comment\0\1\0en\0\0" + BIG)],
    "many texts": [png_chunk(b"zTXt", b"A\0\0" + zlib.compress(bytes(1_000_000)))] * 70,
    "many plain texts": [png_chunk(b"tEXt", b"A\0" + b"a" * 1_000_000)] * 30,
}


@pytest.mark.parametrize("chunks", LARGE_METADATA.values(), ids=LARGE_METADATA)
@pytest.mark.parametrize("behind", [False, True], ids=["before the pixels", "behind the pixels"])
def test_a_png_with_large_metadata_is_read(chunks: list[bytes], behind: bool) -> None:
    plain = encoded(noise(), "PNG")
    at = len(plain) - 12 if behind else 33
    data = plain[:at] + b"".join(chunks) + plain[at:]
    assert np.array_equal(pixels(data), np.asarray(noise()))


def test_metadata_within_the_limits_is_kept() -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("Title", "a coat", zip=True)
    info.add_itxt("Author", "nobody", zip=True)
    data = encoded(noise(), "PNG", icc_profile=b"profile" * 1000, pnginfo=info)
    data = data[:33] + png_chunk(b"zTXt", b"Comment\0\0" + BIG) + data[33:]
    kept = decode_image(data)[0].info
    assert (kept["icc_profile"], kept["Title"], kept["Author"]) == (
        b"profile" * 1000, "a coat", "nobody",
    )  # fmt: skip
    assert "Comment" not in kept


@pytest.mark.parametrize("options", JPEG_OPTIONS.values(), ids=JPEG_OPTIONS)
@pytest.mark.parametrize("missing", [1, 2])
def test_a_jpeg_without_its_end_marker_is_read(options: dict[str, object], missing: int) -> None:
    for picture in (noise(), slope(), slope().convert("L")):
        data = encoded(picture, "JPEG", **options)
        assert np.array_equal(pixels(data[:-missing]), pixels(data))
        assert np.array_equal(pixels(data[:-2] + bytes(100)), pixels(data))


@pytest.mark.parametrize("options", JPEG_OPTIONS.values(), ids=JPEG_OPTIONS)
@pytest.mark.parametrize("picture", [noise(), slope()], ids=["noise", "slope"])
def test_a_jpeg_that_lacks_pixels_is_refused(
    options: dict[str, object], picture: Image.Image
) -> None:
    data = encoded(picture, "JPEG", **options)
    # Also between two scans and two restart intervals, where no code is cut.
    borders = [at for at in range(len(data) - 2) if data[at] == 0xFF and data[at + 1] != 0]
    for cut in {*borders, *(len(data) * percent // 100 for percent in range(1, 96))} - {0}:
        with pytest.raises((MediaDecodeError, MediaFormatError)):
            decode_image(data[:cut])


@pytest.mark.parametrize("size", [(1, 40_000_000), (40_000_000, 1), (65_536, 2)])
def test_a_side_is_limited_by_the_header(size: tuple[int, int]) -> None:
    head = png_chunk(b"IHDR", struct.pack(">IIBBBBB", *size, 8, 2, 0, 0, 0))
    message = rf"is {size[0]} x {size[1]} pixels; the limit per side is 65535"
    with pytest.raises(MediaTooLargeError, match=message):
        decode_image(b"\x89PNG\r\n\x1a\n" + head)


def test_a_bmp_side_is_limited() -> None:
    bmp = encoded(noise(), "BMP")
    with pytest.raises(MediaTooLargeError, match="the limit per side is 65535"):
        decode_image(bmp[:18] + struct.pack("<ii", 65_536, 1) + bmp[26:])


def test_the_longest_side_is_read() -> None:
    assert pixels(encoded(Image.new("RGB", (65_535, 1), "red"), "PNG")).shape == (1, 65_535, 3)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("MP4 or QuickTime video", b"\0\0\0\x18ftypisom\0\0\0\0isomavc1"),
        ("MP4 or QuickTime video", b"\0\0\0\x14ftypqt  \0\0\0\0qt  "),
        ("MP4 or QuickTime video", b"\0\0\0\x08wide\0\0\0\0mdat"),
        ("AVI video", b"RIFF\0\0\0\0AVI LIST"),
        ("CR3 \\(Canon camera raw\\)", b"\0\0\0\x18ftypcrx \0\0\0\1crx isom"),
        ("CR2 \\(Canon camera raw\\)", b"II*\0\x10\0\0\0CR\2\0"),
        ("RAF \\(Fujifilm camera raw\\)", b"FUJIFILMCCD-RAW 0201"),
        ("DICOM", bytes(128) + b"DICM"),
        ("TGA", encoded(noise(), "TGA")),
        ("ZIP", b"PK\3\4\x14\0"),
        ("SVG", b"<svg xmlns='http://www.w3.org/2000/svg'/>"),
        ("SVG", b"\xef\xbb\xbf<?xml version='1.0'?>\n<!-- drawn -->\n<svg>"),
        ("HTML", b"\n<!DOCTYPE html><title>404</title><svg></svg>"),
        ("PDF", b"%PDF-1.7\n"),
        ("PLY", b"ply\nformat ascii 1.0\n"),
        ("PCD", b"# .PCD v0.7"),
        ("NumPy", b"\x93NUMPY\1\0"),
        ("JPEG XL", b"\xff\x0a\xfa\x1f"),
        ("JPEG XL", b"\0\0\0\x0cJXL \r\n\x87\n"),
        ("JPEG 2000", b"\0\0\0\x0cjP  \r\n\x87\n"),
        ("PSD", b"8BPS\0\1"),
        ("ICO", encoded(noise(), "ICO")),
        ("PNM", encoded(noise(), "PPM")),
        ("PNM", b"Pf\n2 2\n-1\n"),
    ],
)
def test_a_format_that_is_not_read_is_named(name: str, data: bytes) -> None:
    message = f"the picture is a {name} file; expected one of {', '.join(IMAGE_FORMATS)}"
    with pytest.raises(MediaFormatError, match=message):
        decode_image(data)
