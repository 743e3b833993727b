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
    MediaTooLargeError,
)
from lamm_model.formats.jpeg_end import END_MARKER, read_without_end
from lamm_model.formats.picture_kind import IMAGE_FORMATS, picture_format
from lamm_model.formats.png_metadata import without_large_metadata

__all__ = ["IMAGE_FORMATS", "MAX_SIDE", "read_image"]

# Pixels: the most that JPEG and GIF can declare. Row by row, a decoder spends more on a picture of
# one column than on a square of the same area.
MAX_SIDE = 65_535


def read_image(data: bytes, max_pixels: int) -> tuple[Image.Image, dict[str, Any]]:
    """The picture and information on the original; see `lamm_model.media.decode_image`.

    Raises:
        MediaTooLargeError: the header declares more than `max_pixels`, or a side over `MAX_SIDE`.
        MediaFormatError: the format is not one of `IMAGE_FORMATS`.
        MediaDecodeError: the file is corrupt or truncated.
    """
    name = picture_format(data)
    try:
        image = _load(name, data, _open(name, data, max_pixels))
        orientation = _orientation(image)
        upright = image if orientation == 1 else image.transpose(_UPRIGHT[orientation])
        rgb = _to_rgb(upright)
    except (MediaError, MemoryError):
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


def _load(name: str, data: bytes, image: Image.Image) -> Image.Image:
    try:
        image.load()
    except OSError:
        whole = None
        if name == "JPEG" and not data.endswith(END_MARKER):
            whole = read_without_end(data)
        if whole is None:
            raise
        return whole
    return image


def _open(name: str, data: bytes, max_pixels: int) -> Image.Image:
    # Pillow's WebP plugin allocates the canvas on opening, and its PNG plugin reads up to the
    # pixels, so the header is checked first.
    if name == "WebP":
        _check_pixels(*_webp_size(data), max_pixels)
    elif name == "PNG" and data[12:16] == b"IHDR" and len(data) >= _PNG_SIZE_END:
        width, height = int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
        _check_pixels(width, height, max_pixels)
        data = without_large_metadata(data)
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
    if max(width, height) > MAX_SIDE:
        raise MediaTooLargeError(
            f"the picture is {width} x {height} pixels; the limit per side is {MAX_SIDE}"
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
