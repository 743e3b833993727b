"""Pictures that mean harm, or are merely odd: each with what must come of it."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lamm_model.conversation import Modality
from service.media.process import MediaJob
from tests.service.media.hostile_case import TRUNCATIONS, Case

MAX_PIXELS = 4_000_000
_RED = (200, 30, 40)
_FORMATS = ("PNG", "JPEG", "WebP", "BMP", "GIF", "TIFF", "AVIF")
FIXTURES = Path(__file__).resolve().parents[2] / "lamm_model/formats/pictures/fixtures"


def picture_cases() -> Iterator[Case]:
    """All of them."""
    for part in (
        _truncated, _sizes, _modes, _turned, _bombs, _heif, _polyglots, _foreign
    ):  # fmt: skip
        yield from part()


def encoded(image: Image.Image, format: str, **options: Any) -> bytes:
    """A file."""
    stream = io.BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()


def _case(name: str, data: bytes, size: tuple[int, int] | None, *, sure: bool = True) -> Case:
    """`size` is the answer's, None where the picture must be refused."""
    info = {} if size is None else {"width": size[0], "height": size[1]}
    refused = size is None if sure else None
    return Case(f"picture: {name}", MediaJob(Modality.IMAGE, data), refused, info)


def _noise(width: int = 48, height: int = 32) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8)
    return Image.fromarray(pixels)


def _plain(width: int, height: int, mode: str = "RGB") -> Image.Image:
    return Image.new("RGB", (width, height), _RED).convert(mode)


def _truncated() -> Iterator[Case]:
    for format in _FORMATS:
        data = encoded(_noise(), format)
        for percent in TRUNCATIONS:
            cut = data[: len(data) * percent // 100]
            yield _case(f"{format} cut at {percent} %", cut, None)
        sure = format == "JPEG"  # the pixels are complete
        yield _case(f"{format} without its last byte", data[:-1], (48, 32), sure=sure)


def _sizes() -> Iterator[Case]:
    for format in _FORMATS:
        for size in ((1, 1), (1, 4000), (4000, 1), (52_800, 44)):
            longest = {"WebP": 16_383, "AVIF": 32_768}.get(format, 65_535)
            if format == "WebP" and max(size) > longest:
                continue  # cannot be written
            data = encoded(_plain(*size), format)
            yield _case(f"{format} of {size}", data, size if max(size) <= longest else None)


def _modes() -> Iterator[Case]:
    size = (40, 30)
    for mode, format in (
        ("1", "PNG"), ("L", "PNG"), ("LA", "PNG"), ("P", "PNG"), ("RGBA", "PNG"),
        ("1", "BMP"), ("L", "BMP"), ("P", "BMP"), ("RGBA", "BMP"), ("L", "JPEG"),
        ("CMYK", "JPEG"), ("YCbCr", "JPEG"), ("RGBA", "WebP"), ("L", "GIF"), ("1", "GIF"),
    ):  # fmt: skip
        yield _case(f"{mode} {format}", encoded(_plain(*size, mode), format), size)
    deep = Image.fromarray(np.full((30, 40), 40_000, np.uint16))
    yield _case("16-bit PNG", encoded(deep, "PNG"), size)
    palette = _plain(*size).quantize(4)
    yield _case("PNG of a transparent palette", encoded(palette, "PNG", transparency=0), size)
    yield _case("progressive JPEG", encoded(_noise(40, 30), "JPEG", progressive=True), size)
    yield _case("lossless WebP", encoded(_noise(40, 30), "WebP", lossless=True), size)
    frames = [_noise(40, 30), _plain(40, 30), _plain(40, 30, "RGB").rotate(180)]
    for format in ("GIF", "WebP", "PNG"):
        data = encoded(frames[0], format, save_all=True, append_images=frames[1:])
        yield _case(f"animated {format}", data, size)


def _turned() -> Iterator[Case]:
    for format in ("JPEG", "PNG", "WebP"):
        for orientation in (*range(10), 65_535):
            exif = Image.Exif()
            exif[0x0112] = orientation
            size = (30, 40) if 5 <= orientation <= 8 else (40, 30)
            data = encoded(_noise(40, 30), format, exif=exif)
            yield _case(f"{format} of orientation {orientation}", data, size)
    for broken in (b"", b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0" + b"M" * 900):
        data = encoded(_noise(40, 30), "JPEG", exif=broken) if broken else encoded(_noise(), "JPEG")
        size = (40, 30) if broken else (48, 32)
        yield _case(f"JPEG with broken EXIF of {len(broken)} bytes", data, size, sure=False)


def png_of(width: int, height: int, *chunks: tuple[bytes, bytes], depth: int = 8) -> bytes:
    """A PNG of the chunks given after its header."""
    head = struct.pack(">IIBBBBB", width, height, depth, 0, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n"
    for kind, body in ((b"IHDR", head), *chunks):
        crc = struct.pack(">I", zlib.crc32(kind + body))
        data += struct.pack(">I", len(body)) + kind + body + crc
    return data


def _bombs() -> Iterator[Case]:
    pixels = zlib.compress(bytes(5000 // 8 + 1) * 5000, 9)
    end = (b"IEND", b"")
    yield _case("PNG bomb", png_of(5000, 5000, (b"IDAT", pixels), end, depth=1), None)
    ok = zlib.compress(bytes(9) * 8)
    text = b"Comment\0\0" + zlib.compress(bytes(50_000_000), 9)
    profile = b"icc\0\0" + zlib.compress(bytes(50_000_000), 9)
    for kind, body in ((b"zTXt", text), (b"iCCP", profile)):
        data = png_of(8, 8, (kind, body), (b"IDAT", ok), end)
        yield _case(f"PNG with a {kind.decode()} bomb", data, (8, 8))
        data = png_of(8, 8, *[(kind, body)] * 500, (b"IDAT", ok), end)
        yield _case(f"PNG with 500 {kind.decode()} bombs", data, (8, 8))
    more = zlib.compress(bytes(50_000_000), 9)
    yield _case(
        "PNG of too many pixels' bytes", png_of(8, 8, (b"IDAT", more), end), (8, 8), sure=False
    )
    for width, height in ((0, 8), (8, 0), (2**31 - 1, 2**31 - 1), (2**32 - 1, 1), (60_000, 60_000)):
        yield _case(f"PNG of {width} x {height}", png_of(width, height, (b"IDAT", ok), end), None)
    column = zlib.compress(bytes(2 * MAX_PIXELS), 1)
    for size in ((1, MAX_PIXELS), (MAX_PIXELS, 1), (65_536, 2)):
        yield _case(f"long PNG of {size}", png_of(*size, (b"IDAT", column), end), None)
    yield _case("PNG without pixels", png_of(8, 8, end), None)
    yield _case("PNG with a chunk of 4 GiB", png_of(8, 8) + b"\xff\xff\xff\xffIDAT", None)
    good = encoded(_noise(), "PNG")
    yield _case("PNG with a wrong checksum", good[:60] + b"\0\0\0\0" + good[64:], None, sure=False)
    for at in ((2, 0), (2, 65_535)):
        broken = bytearray(encoded(_noise(), "JPEG"))
        frame = broken.index(b"\xff\xc0")
        broken[frame + 5 : frame + 9] = struct.pack(">HH", at[1], 65_535)
        yield _case(f"JPEG of height {at[1]}", bytes(broken), None)
    gif = bytearray(encoded(_noise(), "GIF"))
    gif[6:10] = struct.pack("<HH", 65_535, 65_535)
    yield _case("GIF of a huge screen", bytes(gif), None)
    gif[6:10] = bytes(4)
    yield _case("GIF of no screen", bytes(gif), None, sure=False)
    bmp = encoded(_noise(), "BMP")
    for width, height in ((2**31 - 1, 2**31 - 1), (60_000, 60_000), (0, 0), (-5, 7)):
        data = bmp[:18] + struct.pack("<ii", width, height) + bmp[26:]
        yield _case(f"BMP of {width} x {height}", data, None)
    flipped = bmp[:22] + struct.pack("<i", -32) + bmp[26:]
    yield _case("BMP from the top down", flipped, (48, 32))
    yield _case("BMP with pixels far away", bmp[:10] + b"\xff\xff\xff\x7f" + bmp[14:], None)
    canvas = b"WEBPVP8X\x0a\0\0\0\0\0\0\0" + b"\xff" * 6
    yield _case("WebP of a huge canvas", b"RIFF\x1a\0\0\0" + canvas, None)
    yield _case("WebP with a lie", b"RIFF\xff\xff\xff\xffWEBPVP8 \xff\xff\xff\xff", None)
    scans = encoded(_noise(), "JPEG", progressive=True)
    yield _case("JPEG of many scans", scans[:-2] + scans[scans.rindex(b"\xff\xda") : -2] * 400
                + b"\xff\xd9", (48, 32), sure=False)  # fmt: skip


def _heif() -> Iterator[Case]:
    size = (256, 256)
    for name in ("heif_enc.heic", "libheif_grid.heic", "avifenc_grid.avif"):
        data = (FIXTURES / name).read_bytes()
        yield _case(name, data, size)
        for percent in TRUNCATIONS:
            yield _case(f"{name} cut at {percent} %", data[: len(data) * percent // 100], None)
        for width, height in ((1, 1), (3000, 1000), (65_535, 60)):
            lie = data.replace(struct.pack(">II", *size), struct.pack(">II", width, height))
            yield _case(f"{name} that says {width} x {height}", lie, None, sure=False)
    turned = (FIXTURES / "pillow_heif_orientation6.heic").read_bytes()
    # The item's type is no text, over which a decoder's reader of metadata stumbles.
    for kind in (b"\xff\xff\0f", b"E\x8dif", bytes(4)):
        data = turned.replace(b"\0Exif\0", b"\0" + kind + b"\0")
        yield _case(f"HEIC with metadata of type {kind!r}", data, size)


def _polyglots() -> Iterator[Case]:
    tails = {
        "ZIP": b"PK\x03\x04" + bytes(60) + b"PK\x05\x06" + bytes(18),
        "HTML": b"<script>alert(1)</script>",
        "PHP": b"<?php system($_GET[0]); ?>",
        "PNG": encoded(_noise(9, 9), "PNG"),
        "NUL": bytes(10_000),
    }
    for format in _FORMATS:
        data = encoded(_noise(), format)
        for name, tail in tails.items():
            yield _case(f"{format} with {name} behind it", data + tail, (48, 32), sure=False)
    yield _case("GIF that is a script", b"GIF89a/*" + bytes(20) + b"*/=1;alert(1)", None)
    yield _case("BMP that is a script", b"BM=1;/*" + bytes(60) + b"*/alert(1)", None)


def _foreign() -> Iterator[Case]:
    for name, data in {
        "ICO": encoded(_noise(), "ICO"),
        "PPM": encoded(_noise(), "PPM"),
        "EPS": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 1 1\n(/etc/passwd) run\n",
        "PDF": b"%PDF-1.7\n" + encoded(_noise(), "PNG"),
        "SVG": b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>",
        "PSD": b"8BPS\0\1" + bytes(40),
        "AVIF without pictures": b"\0\0\0 ftypavif" + bytes(40),
        "HEIC without pictures": b"\0\0\0 ftypheic" + bytes(40),
        "magic of TIFF alone": b"II*\0",
        "TIFF without a directory": b"II*\0\x08\0\0\0\0\0",
        "JPEG 2000": b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(40),
        "HDF5": b"\x89HDF\r\n\x1a\n" + bytes(40),
        "WMF": b"\xd7\xcd\xc6\x9a" + bytes(40),
        "FLI": b"\0\0\0\0\x11\xaf" + bytes(120),
        "pickle": b"cos\nsystem\n(S'touch /tmp/harm'\ntR.",
        "text": b"hello",
        "nothing": b"",
        "magic of PNG alone": b"\x89PNG\r\n\x1a\n",
        "magic of JPEG alone": b"\xff\xd8\xff",
        "magic of GIF alone": b"GIF89a",
        "magic of BMP alone": b"BM",
        "magic of WebP alone": b"RIFF\0\0\0\0WEBP",
    }.items():  # fmt: skip
        yield _case(name, data, None)
