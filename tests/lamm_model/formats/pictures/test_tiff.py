"""TIFF files of many layouts, written by tifffile: read as they are, or refused by name."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tifffile

from lamm_model.conversation import Modality
from lamm_model.formats.pictures.tiff_header import first_directory
from lamm_model.media import (
    MediaDecodeError,
    MediaFormatError,
    MediaLimits,
    MediaTooLargeError,
    decode_image,
)
from service.media.headers import WholeBytes, announced_size

FIXTURES = Path(__file__).parent / "fixtures"
RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (40, 56, 3), np.uint8)
GREY = RNG.integers(0, 256, (40, 56), np.uint8)
PLANES = RGB.transpose(2, 0, 1)
UNIT = (GREY / 255).astype(np.float32)
RGB_OPTIONS: dict[str, Any] = {"photometric": "rgb", "planarconfig": "separate"}


def tiff(pixels: npt.NDArray[Any], **options: Any) -> bytes:
    stream = io.BytesIO()
    tifffile.imwrite(stream, pixels, **{"metadata": None, **options})
    return stream.getvalue()


def read(data: bytes) -> npt.NDArray[Any]:
    return np.array(decode_image(data)[0])


def deep(pixels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """16 bits with noise in the lower byte."""
    low = RNG.integers(0, 256, pixels.shape, np.uint16)
    both: npt.NDArray[Any] = pixels.astype(np.uint16) * 256 + low
    return both


def tags_of(data: bytes) -> dict[int, int]:
    """Place of the value of each tag of a little-endian classic file."""
    (at,) = struct.unpack("<I", data[4:8])
    (count,) = struct.unpack("<H", data[at : at + 2])
    starts = [at + 2 + 12 * n for n in range(count)]
    return {struct.unpack("<H", data[one : one + 2])[0]: one + 8 for one in starts}


def with_tag(data: bytes, tag: int, value: int) -> bytes:
    at = tags_of(data)[tag]
    return data[:at] + struct.pack("<I", value) + data[at + 4 :]


READ = {
    "planes of 8 bits": (tiff(PLANES, **RGB_OPTIONS), RGB),
    "planes of 16 bits": (tiff(deep(PLANES), **RGB_OPTIONS), RGB),
    "planes of 16 bits, deflate": (tiff(deep(PLANES), compression="zlib", **RGB_OPTIONS), RGB),
    "planes of 16 bits in tiles": (tiff(deep(PLANES), tile=(16, 16), **RGB_OPTIONS), RGB),
    "16-bit RGB, big-endian": (tiff(deep(RGB), photometric="rgb", byteorder=">"), RGB),
    "16-bit grey": (tiff(deep(GREY)), GREY),
    "16-bit grey, white is zero": (tiff(~deep(GREY), photometric="miniswhite"), GREY),
    "8-bit grey, white is zero": (tiff(~GREY, photometric="miniswhite"), GREY),
    "float from 0 to 1": (tiff(UNIT), GREY),
    "float from 0 to 1, white is zero": (tiff(1 - UNIT, photometric="miniswhite"), GREY),
    "float from 0 to 255": (tiff(GREY.astype(np.float32)), GREY),
    "float, big-endian": (tiff(UNIT, byteorder=">"), GREY),
    "float, big-endian, deflate": (tiff(UNIT, byteorder=">", compression="zlib"), GREY),
    "float in tiles, BigTIFF": (tiff(UNIT, bigtiff=True, tile=(16, 16)), GREY),
    "five samples": (
        tiff(np.dstack([RGB, GREY, GREY]), photometric="rgb", extrasamples=["unspecified"] * 2),
        RGB,
    ),
    "premultiplied alpha": (
        tiff(np.dstack([RGB // 2, 0 * GREY + 128]), photometric="rgb", extrasamples=["assocalpha"]),
        None,
    ),
    "a stack": (tiff(np.stack([GREY, ~GREY]), photometric="minisblack"), GREY),
}


@pytest.mark.parametrize(("data", "pixels"), READ.values(), ids=READ)
def test_it_is_read(data: bytes, pixels: npt.NDArray[Any] | None) -> None:
    found = read(data)
    assert announced_size(WholeBytes(data), Modality.IMAGE) == 40 * 56
    if pixels is None:
        assert np.abs(found.astype(int) - (RGB // 2 * 1 + 127)).max() <= 2
    else:
        assert np.array_equal(found, pixels if pixels.ndim == 3 else np.dstack([pixels] * 3))


UNREAD = {
    "float RGB": (tiff(RGB / np.float32(255), photometric="rgb"), r"3 x 32-bit float .*\(RGB\)"),
    "double": (tiff(GREY / 255), "1 x 64-bit float"),
    "half": (tiff(UNIT.astype(np.float16)), "1 x 16-bit float"),
    "complex": (tiff(GREY.astype(np.complex64)), "1 x 64-bit complex"),
    "signed 8-bit": (tiff(GREY.astype(np.int8)), "1 x 8-bit signed"),
    "signed 16-bit": (tiff(GREY.astype(np.int16)), "1 x 16-bit signed"),
    "32-bit": (tiff(GREY.astype(np.uint32)), "1 x 32-bit unsigned"),
    "two planes": (
        tiff(np.stack([GREY, GREY]), photometric="minisblack", planarconfig="separate",
             extrasamples=["unassalpha"]),
        "2 x 8-bit unsigned",
    ),
    "16-bit grey with alpha": (
        tiff(np.dstack([deep(GREY)] * 2), photometric="minisblack", planarconfig="contig",
             extrasamples=["unassalpha"]),
        "2 x 16-bit unsigned",
    ),
    "big-endian BigTIFF": (tiff(RGB, bigtiff=True, byteorder=">"), "big-endian BigTIFF"),
    "old-style JPEG": (with_tag(tiff(RGB, photometric="rgb"), 259, 6), "old-style JPEG; expected"),
    "an unknown compression": (with_tag(tiff(RGB, photometric="rgb"), 259, 777), "number 777"),
    "a thumbnail": (tiff(RGB, photometric="rgb", subfiletype=1), "first page .* reduced copy"),
}  # fmt: skip


@pytest.mark.parametrize(("data", "words"), UNREAD.values(), ids=UNREAD)
def test_it_is_refused_by_name(data: bytes, words: str) -> None:
    with pytest.raises(MediaFormatError, match=words):
        decode_image(data)


@pytest.mark.parametrize(
    ("pixels", "words"),
    [
        (np.where(GREY.max() == GREY, np.nan, UNIT), r"has \d+ float samples that are not finite"),
        (
            GREY.astype(np.float32) * 40 - 1000,
            r"from -1000 to [\d.]+; expected 0 to 1, or 0 to 255",
        ),
        (UNIT * 1.25, r"from 0 to 1\.25; expected 0 to 1, or 0 to 255"),
        (UNIT - 0.5, r"from -0\.5 to 0\.5; expected"),
        (np.full((4, 4), np.inf, np.float32), "has 16 float samples that are not finite"),
    ],
)
def test_floats_out_of_range_are_refused(pixels: npt.NDArray[Any], words: str) -> None:
    with pytest.raises(MediaDecodeError, match=words):
        decode_image(tiff(pixels.astype(np.float32)))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_is_applied_once(orientation: int) -> None:
    data = tiff(RGB, photometric="rgb", extratags=[(274, "H", 1, orientation, True)])
    expected = {
        1: RGB,
        2: RGB[:, ::-1],
        3: RGB[::-1, ::-1],
        4: RGB[::-1],
        5: RGB.transpose(1, 0, 2),
        6: np.rot90(RGB, -1),
        7: np.rot90(RGB, 2).transpose(1, 0, 2),
        8: np.rot90(RGB),
    }[orientation]
    image, info = decode_image(data)
    assert np.array_equal(np.asarray(image), expected)
    assert info["exif_orientation_applied"] is (orientation > 1)
    assert (info["width"], info["height"]) == (image.width, image.height)


COMPRESSED = {
    "uncompressed": {},
    "deflate": {"compression": "zlib"},
    "tiles": {"tile": (16, 16), "compression": "zlib"},
    "planes": {"planarconfig": "separate"},
}


@pytest.mark.parametrize("options", COMPRESSED.values(), ids=COMPRESSED)
@pytest.mark.parametrize("kept", [0.98, 0.5, 0.1, 0.01])
def test_a_truncated_file_is_refused(options: dict[str, Any], kept: float) -> None:
    pixels = PLANES if "planarconfig" in options else RGB
    data = tiff(pixels, photometric="rgb", **options)
    with pytest.raises((MediaDecodeError, MediaFormatError), match=r"truncated|begins with"):
        decode_image(data[: int(len(data) * kept)])


def test_the_end_of_the_pixels_is_named() -> None:
    data = tiff(RGB, photometric="rgb")
    end = len(data)
    with pytest.raises(MediaDecodeError, match=rf"end at byte {end}, but the file has {end - 100}"):
        decode_image(data[:-100])


def test_a_compression_that_a_build_may_lack_is_named() -> None:
    data = bytearray((FIXTURES / "tiffcp_lzma_tiled_separate.tif").read_bytes())
    data[200:260] = bytes(60)
    with pytest.raises(MediaDecodeError, match=r"corrupt or truncated, or .* compression, LZMA"):
        decode_image(bytes(data))


def test_limits_hold_before_decoding() -> None:
    data = tiff(RGB, photometric="rgb")
    with pytest.raises(MediaTooLargeError, match="56 x 40 = 2240 pixels; the limit is 2239"):
        decode_image(data, MediaLimits(max_pixels=2239))
    decode_image(data, MediaLimits(max_pixels=2240))
    with pytest.raises(MediaTooLargeError, match="70000 x 40 pixels; the limit per side is 65535"):
        decode_image(with_tag(data, 256, 70_000))
    tiled = tiff(RGB, photometric="rgb", tile=(16, 16), compression="zlib")
    tiled = with_tag(with_tag(tiled, 322, 60_000), 323, 60_000)
    with pytest.raises(MediaTooLargeError, match="tiles of 60000 x 60000 pixels"):
        decode_image(tiled)


def entries(*tags: tuple[int, int, int, int]) -> bytes:
    return struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *tag) for tag in tags)


def test_hostile_directories_end() -> None:
    head = b"II*\0\x08\0\0\0"
    size = [(256, 3, 1, 8), (257, 3, 1, 8)]
    strips = [(273, 4, 1, 8), (279, 4, 1, 8)]
    circle = head + entries(*size, *strips) + struct.pack("<I", 8) + bytes(64)
    assert read(circle).shape == (8, 8, 3)
    nested = head + entries(*size, *strips, (330, 4, 1, 8)) + bytes(64)
    assert read(nested).shape == (8, 8, 3)
    for data, words in {
        head + struct.pack("<H", 65_535) + bytes(12 * 65_535): "tags cannot be read",
        head + entries(*size, *[(50_000 + n, 1, 900_000, 8) for n in range(99)]) + bytes(
            1_000_000
        ): "tags cannot be read",
        head + entries(*size): "neither strips nor tiles",
        head + entries(*size, (273, 4, 400_000, 8), (279, 4, 1, 8)) + bytes(2_000_000): "400000",
        head + entries(*size, (273, 4, 1, 8), (279, 2, 1, 8)): "where its pixels are",
        b"MM\0*\xff\xff\xff\xff": "tags cannot be read",
        b"II+\0\x08\0\0\0" + b"\xff" * 8: "tags cannot be read",
        b"II+\0\x10\0\0\0" + bytes(64): "tags cannot be read",
    }.items():  # fmt: skip
        with pytest.raises((MediaDecodeError, MediaTooLargeError), match=words):
            decode_image(data)
        announced_size(WholeBytes(data), Modality.IMAGE)


def test_values_are_bounded() -> None:
    data = tiff(RGB, photometric="rgb", rowsperstrip=1)
    page = first_directory(lambda at, count: data[at : at + count])
    assert page is not None
    assert len(page.values(273, 5)) == 5
    assert page.values(258) == (8, 8, 8)
    assert page.values(282) == ()  # a fraction
    assert page.value(999, 7) == 7
