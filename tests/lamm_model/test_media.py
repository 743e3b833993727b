"""Pictures from outside: formats, orientation, transparency, and every way to be refused."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from lamm_model.media import (
    IMAGE_FORMATS,
    MediaDecodeError,
    MediaFormatError,
    MediaLimits,
    MediaTooLargeError,
    decode_image,
)


def encoded(image: Image.Image, format: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()


def picture(width: int = 12, height: int = 8) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def png_header(width: int, height: int) -> bytes:
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))
    return b"\x89PNG\r\n\x1a\n" + chunk


@pytest.mark.parametrize("format", ["PNG", "BMP", "JPEG", "WEBP", "GIF", "TIFF", "AVIF"])
def test_each_format_is_read(format: str) -> None:
    rgb, info = decode_image(encoded(picture(), format))
    assert (rgb.mode, rgb.size) == ("RGB", (12, 8))
    assert (info["width"], info["height"], info["exif_orientation_applied"]) == (12, 8, False)
    assert info["format"].upper() == format


def test_lossless_pixels_are_kept() -> None:
    rgb, _ = decode_image(encoded(picture(), "PNG"))
    assert np.array_equal(np.asarray(rgb), np.asarray(picture()))


def test_other_formats_are_refused() -> None:
    with pytest.raises(MediaFormatError, match=f"expected one of {', '.join(IMAGE_FORMATS)}"):
        decode_image(encoded(picture(), "PPM"))
    with pytest.raises(MediaFormatError, match="68656c6c6f"):
        decode_image(b"hello")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    rgb, info = decode_image(encoded(picture(), "PNG", exif=exif))
    assert rgb.size == ((12, 8) if orientation < 5 else (8, 12))
    assert info["exif_orientation_applied"] is (orientation != 1)
    original, upright = np.asarray(picture()), np.asarray(rgb)
    expected = {
        1: original,
        2: original[:, ::-1],
        3: original[::-1, ::-1],
        4: original[::-1],
        5: original.transpose(1, 0, 2),
        6: np.rot90(original, -1),
        7: np.rot90(original, 2).transpose(1, 0, 2),
        8: np.rot90(original),
    }[orientation]
    assert np.array_equal(upright, expected)


def test_a_transparent_picture_lies_on_white() -> None:
    rgb, _ = decode_image(encoded(Image.new("RGBA", (4, 4), (255, 0, 0, 0)), "PNG"))
    assert rgb.getpixel((0, 0)) == (255, 255, 255)
    half, _ = decode_image(encoded(Image.new("LA", (4, 4), (0, 128)), "PNG"))
    assert half.getpixel((0, 0)) == (127, 127, 127)


def test_a_transparent_palette_lies_on_white() -> None:
    image = Image.new("P", (4, 4), 0)
    image.putpalette([10, 20, 30])
    rgb, _ = decode_image(encoded(image, "PNG", transparency=0))
    assert rgb.getpixel((1, 1)) == (255, 255, 255)


def test_sixteen_bits_are_scaled() -> None:
    deep = Image.fromarray(np.full((4, 4), 0x8000, np.uint16))
    rgb, _ = decode_image(encoded(deep, "PNG"))
    assert rgb.getpixel((0, 0)) == (128, 128, 128)


def test_the_first_frame_of_a_gif_counts() -> None:
    frames = [Image.new("RGB", (5, 5), colour) for colour in ("red", "blue")]
    rgb, _ = decode_image(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    assert rgb.getpixel((0, 0)) == (255, 0, 0)


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "AVIF"])
@pytest.mark.parametrize("kept", [0.9, 0.5, 0.1])
def test_truncated_pictures_are_refused(format: str, kept: float) -> None:
    data = encoded(picture(64, 64), format)
    with pytest.raises(MediaDecodeError, match="truncated"):
        decode_image(data[: int(len(data) * kept)])


def test_an_empty_file_is_refused() -> None:
    with pytest.raises(MediaDecodeError, match="0 bytes"):
        decode_image(b"")


def test_pixels_are_counted_before_they_are_decoded() -> None:
    with pytest.raises(MediaTooLargeError, match="20000 x 20000 = 400000000 pixels"):
        decode_image(png_header(20_000, 20_000))


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "AVIF"])
def test_the_pixel_limit_holds_for_each_format(format: str) -> None:
    with pytest.raises(MediaTooLargeError, match="the limit is 95"):
        decode_image(encoded(picture(), format), MediaLimits(max_pixels=95))
    decode_image(encoded(picture(), format), MediaLimits(max_pixels=96))


@pytest.mark.parametrize(
    "options", [{"lossless": True}, {"lossless": False}, {"exif": b"Exif\0\0"}]
)
def test_each_kind_of_webp_header_is_understood(options: dict[str, object]) -> None:
    with pytest.raises(MediaTooLargeError, match="12 x 8"):
        decode_image(encoded(picture(), "WEBP", **options), MediaLimits(max_pixels=1))


def test_the_byte_limit_holds() -> None:
    with pytest.raises(MediaTooLargeError, match="the limit is 10"):
        decode_image(encoded(picture(), "PNG"), MediaLimits(max_bytes=10))
