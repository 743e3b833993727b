"""HEIC and AVIF: what is broken, too large, of another coding, or without its decoder."""

from __future__ import annotations

import struct
import sys
from pathlib import Path

import pytest
from PIL import AvifImagePlugin

from lamm_model.formats.pictures.heif_header import HeifHeader, read_heif_header
from lamm_model.media import (
    MediaDecodeError,
    MediaFormatError,
    MediaLimits,
    MediaTooLargeError,
    decode_image,
)

FOLDER = Path(__file__).parent / "fixtures"
HEIC = (FOLDER / "heif_enc.heic").read_bytes()
TURNED = (FOLDER / "pillow_heif_orientation6.heic").read_bytes()
GRID = (FOLDER / "libheif_grid.heic").read_bytes()
AVIF = (FOLDER / "avifenc.avif").read_bytes()
AVIF_GRID = (FOLDER / "avifenc_grid.avif").read_bytes()


def header(data: bytes) -> HeifHeader | None:
    return read_heif_header(lambda at, count: data[at : at + count])


def sized(data: bytes, width: int, height: int) -> bytes:
    """The file with other numbers in all `ispe` boxes."""
    pieces = data.split(b"ispe\0\0\0\0")
    size = struct.pack(">II", width, height)
    return (b"ispe\0\0\0\0" + size).join([pieces[0], *(piece[8:] for piece in pieces[1:])])


@pytest.mark.parametrize(
    ("data", "coding", "is_turned"),
    [
        (HEIC, b"hvc1", False), (TURNED, b"hvc1", True), (GRID, b"hvc1", False),
        (AVIF, b"av01", False), (AVIF_GRID, b"av01", False),
    ],
)  # fmt: skip
def test_the_header_is_read(data: bytes, coding: bytes, is_turned: bool) -> None:
    assert header(data) == HeifHeader(256, 256, coding, is_turned, len(data))


def test_a_quarter_turn_swaps_width_and_height() -> None:
    assert header(sized(TURNED, 300, 200)) == HeifHeader(200, 300, b"hvc1", True, len(TURNED))


@pytest.mark.parametrize("data", [HEIC, TURNED, GRID, AVIF, AVIF_GRID])
def test_limits_hold_before_decoding(data: bytes) -> None:
    decode_image(data, MediaLimits(max_pixels=65_536))
    with pytest.raises(MediaTooLargeError, match="256 x 256 = 65536 pixels; the limit is 65535"):
        decode_image(data, MediaLimits(max_pixels=65_535))
    with pytest.raises(MediaTooLargeError, match="limit per side is 32768"):
        decode_image(sized(data, 32_769, 3))
    with pytest.raises(MediaDecodeError, match="expected at least 1 x 1"):
        decode_image(sized(data, 0, 0) if data not in (GRID, AVIF_GRID) else sized(HEIC, 0, 9))


@pytest.mark.parametrize("data", [GRID, AVIF_GRID])
def test_a_grid_is_as_large_as_its_tiles_say(data: bytes) -> None:
    # Rows, columns, width and height of the grid, which may say more than its `ispe` box.
    at = data.index(bytes([0, 0, 1, 1, 1, 0, 1, 0]))
    larger = data[: at + 4] + struct.pack(">HH", 60_000, 50_000) + data[at + 8 :]
    found = header(larger)
    assert found is not None
    assert (found.width, found.height) == (60_000, 50_000)
    with pytest.raises(MediaTooLargeError, match="60000 x 50000"):
        decode_image(larger)


@pytest.mark.parametrize("data", [HEIC, AVIF, GRID])
@pytest.mark.parametrize("width", [64, 255, 257, 2000])
def test_a_header_that_lies_is_refused_or_harmless(data: bytes, width: int) -> None:
    try:
        image, info = decode_image(sized(data, width, 256))
    except MediaDecodeError:
        return
    assert image.width * image.height <= 65_536 or image.width == width
    assert info["width"] == image.width


@pytest.mark.parametrize("data", [HEIC, TURNED, GRID, AVIF, AVIF_GRID])
@pytest.mark.parametrize("kept", [0.9, 0.5, 0.2, 0.05])
def test_a_truncated_file_is_refused(data: bytes, kept: float) -> None:
    with pytest.raises(MediaDecodeError, match=r"truncated"):
        decode_image(data[: int(len(data) * kept)])


@pytest.mark.parametrize(
    ("coding", "name"), [(b"jpeg", "JPEG"), (b"vvc1", "H.266"), (b"abcd", "unknown")]
)
def test_another_coding_is_named(coding: bytes, name: str) -> None:
    data = HEIC.replace(b"hvc1", coding)
    with pytest.raises(MediaFormatError, match=f"is {name}; expected HEVC"):
        decode_image(data)


def test_av1_without_its_brand_is_named() -> None:
    plain = AVIF.replace(b"avif", b"mif1").replace(b"miaf", b"mif1")
    with pytest.raises(MediaFormatError, match="is AV1 without the brand of AVIF; expected HEVC"):
        decode_image(plain)


def test_a_film_or_nothing_is_refused() -> None:
    start = b"\0\0\0\x18ftyphevc\0\0\0\0msf1hevc"
    for rest in (b"", b"\0\0\0\x08moov", b"\0\0\0\0meta", b"\xff" * 40, bytes(1000)):
        assert header(start + rest) is None
        with pytest.raises(MediaDecodeError, match="no still picture"):
            decode_image(start + rest)


def test_without_the_decoder_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "_pi_heif", None)
    with pytest.raises(MediaFormatError, match=r"HEIC file, which needs the `heif` extra.* JPEG"):
        decode_image(HEIC)


def test_without_libavif_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AvifImagePlugin, "SUPPORTED", False)
    with pytest.raises(MediaFormatError, match=r"AVIF file, and this server's Pillow .* JPEG"):
        decode_image(AVIF)
