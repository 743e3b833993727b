"""Reader of picture files: bytes -> an upright RGB picture.

The first bytes tell the format. The size in the header is checked before any pixel is decoded.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    JpegImagePlugin,
    PngImagePlugin,
    WebPImagePlugin,
)

from lamm_model.formats.errors import (
    MediaDecodeError,
    MediaError,
    MediaFormatError,
    MediaTooLargeError,
)

IMAGE_FORMATS = ("JPEG", "PNG", "WebP", "BMP", "GIF")


def read_image(data: bytes, max_pixels: int) -> tuple[Image.Image, dict[str, Any]]:
    """The picture and information on the original; see `lamm_model.media.decode_image`.

    Raises:
        MediaTooLargeError: the header declares more than `max_pixels`.
        MediaFormatError: the format is not one of `IMAGE_FORMATS`.
        MediaDecodeError: the file is corrupt or truncated.
    """
    name = _sniff_image(data)
    try:
        image = _open(name, data, max_pixels)
        image.load()
        orientation = _orientation(image)
        upright = image if orientation == 1 else image.transpose(_UPRIGHT[orientation])
        rgb = _to_rgb(upright)
    except MediaError:
        raise
    except Exception as error:
        # Decoders raise errors of any kind for hostile bytes; their text is not for clients.
        raise MediaDecodeError(f"the {name} picture is corrupt or truncated") from error
    info = {
        "format": name,
        "width": rgb.width,
        "height": rgb.height,
        "exif_orientation_applied": orientation != 1,
    }
    return rgb, info


_MAGIC = (
    ("PNG", b"\x89PNG\r\n\x1a\n"),
    ("JPEG", b"\xff\xd8\xff"),
    ("GIF", b"GIF87a"),
    ("GIF", b"GIF89a"),
    ("BMP", b"BM"),
)
# The plugin classes are used directly: Image.open would try every installed plugin, and its pixel
# check only warns, through a process-wide setting.
_OPENERS: Mapping[str, Callable[[io.BytesIO], Image.Image]] = {
    "PNG": PngImagePlugin.PngImageFile,
    "JPEG": JpegImagePlugin.JpegImageFile,
    "GIF": GifImagePlugin.GifImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
    "WebP": WebPImagePlugin.WebPImageFile,
}
_PNG_SIZE_END = 24
_EXIF_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def _sniff_image(data: bytes) -> str:
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WebP"
    for name, magic in _MAGIC:
        if data.startswith(magic):
            return name
    raise MediaFormatError(
        f"the picture begins with the bytes {data[:8].hex()}; "
        f"expected one of {', '.join(IMAGE_FORMATS)}"
    )


def _open(name: str, data: bytes, max_pixels: int) -> Image.Image:
    # Pillow's WebP plugin allocates the canvas on opening, and its PNG plugin reads up to the
    # pixels, so the header is checked first.
    if name == "WebP":
        _check_pixels(*_webp_size(data), max_pixels)
    elif name == "PNG" and data[12:16] == b"IHDR" and len(data) >= _PNG_SIZE_END:
        width, height = int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
        _check_pixels(width, height, max_pixels)
    try:
        image = _OPENERS[name](io.BytesIO(data))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise MediaTooLargeError(f"the picture has more than {max_pixels} pixels") from error
    _check_pixels(*image.size, max_pixels)
    return image


def _check_pixels(width: int, height: int, max_pixels: int) -> None:
    if width < 1 or height < 1:
        raise MediaDecodeError(f"the picture is {width} x {height} pixels; expected at least 1 x 1")
    if width * height > max_pixels:
        raise MediaTooLargeError(
            f"the picture is {width} x {height} = {width * height} pixels; "
            f"the limit is {max_pixels}"
        )


def _webp_size(data: bytes) -> tuple[int, int]:
    """Canvas size from the first chunk (RFC 9649 sections 2.5-2.7)."""
    kind, body = data[12:16], data[20:30]
    if len(body) == 10 and kind == b"VP8X":
        return 1 + int.from_bytes(body[4:7], "little"), 1 + int.from_bytes(body[7:10], "little")
    if len(body) == 10 and kind == b"VP8L":
        bits = int.from_bytes(body[1:5], "little")
        return 1 + (bits & 0x3FFF), 1 + ((bits >> 14) & 0x3FFF)
    if len(body) == 10 and kind == b"VP8 ":
        width, height = int.from_bytes(body[6:8], "little"), int.from_bytes(body[8:10], "little")
        return width & 0x3FFF, height & 0x3FFF
    raise MediaDecodeError("the WebP picture is corrupt or truncated")


def _orientation(image: Image.Image) -> int:
    try:
        value = image.getexif().get(_EXIF_ORIENTATION, 1)
    except Exception:
        # Broken EXIF data does not affect the pixels.
        return 1
    return value if isinstance(value, int) and value in _UPRIGHT else 1


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        # 16 bits per pixel; Pillow's own conversion clips at 255 instead of scaling.
        high_bytes = np.asarray(image).astype(np.int64) >> 8
        image = Image.fromarray(high_bytes.clip(0, 255).astype(np.uint8))
    if "A" in image.getbands() or "transparency" in image.info:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    return image.convert("RGB")
