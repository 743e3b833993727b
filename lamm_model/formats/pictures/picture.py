"""Reader of picture files: bytes -> an upright RGB picture.

The first bytes tell the format. The size in the header is checked before any pixel is decoded.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from functools import partial
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
from lamm_model.formats.pictures.heif import read_avif, read_heic
from lamm_model.formats.pictures.jpeg_end import END_MARKER, read_without_end
from lamm_model.formats.pictures.orientation import upright
from lamm_model.formats.pictures.picture_kind import picture_format
from lamm_model.formats.pictures.picture_size import check_pixels, picture_size
from lamm_model.formats.pictures.png_metadata import without_large_metadata
from lamm_model.formats.pictures.tiff import read_tiff


def read_image(data: bytes, max_pixels: int) -> tuple[Image.Image, dict[str, Any]]:
    """The picture and information on the original; see `lamm_model.media.decode_image`.

    Raises:
        MediaTooLargeError: the header declares more than `max_pixels`, or a side over `MAX_SIDE`.
        MediaFormatError: the format is not one of `IMAGE_FORMATS`.
        MediaDecodeError: the file is corrupt or truncated.
    """
    name = picture_format(data)
    try:
        image, turned = _READERS.get(name, partial(_read, name))(data, max_pixels)
        rgb = _to_rgb(image)
    except (MediaError, MemoryError):
        raise
    except Exception as error:
        # Decoders raise errors of any kind for hostile bytes; their text is not for clients.
        raise MediaDecodeError(f"the {name} picture is corrupt or truncated") from error
    info = {
        "format": name,
        "width": rgb.width,
        "height": rgb.height,
        "exif_orientation_applied": turned,
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
# Formats with a reader of their own: the upright picture, and whether it was turned.
_READERS: Mapping[str, Callable[[bytes, int], tuple[Image.Image, bool]]] = {
    "TIFF": read_tiff,
    "HEIC": read_heic,
    "AVIF": read_avif,
}


def _read(name: str, data: bytes, max_pixels: int) -> tuple[Image.Image, bool]:
    return upright(_load(name, data, _open(name, data, max_pixels)))


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
    size = picture_size(lambda at, count: data[at : at + count])
    if size is not None:
        check_pixels(*size, max_pixels)
    elif name == "WebP":
        raise MediaDecodeError("the WebP picture is corrupt or truncated")
    try:
        image = _OPENERS[name](io.BytesIO(without_large_metadata(data) if name == "PNG" else data))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise MediaTooLargeError(f"the picture has more than {max_pixels} pixels") from error
    check_pixels(*image.size, max_pixels)
    return image


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        # 16 bits per pixel; Pillow's own conversion clips at 255 instead of scaling.
        high_bytes = np.asarray(image).astype(np.int64) >> 8
        image = Image.fromarray(high_bytes.clip(0, 255).astype(np.uint8))
    if "A" in image.getbands() or "transparency" in image.info:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    return image.convert("RGB")
