"""Media from outside: bytes become an RGB picture or a metric cloud, under limits. Torch-free.

Called by the service's decode workers, the trainer's dataset and the processor.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    JpegImagePlugin,
    PngImagePlugin,
    WebPImagePlugin,
)

from lamm_model.conversation import Modality
from lamm_model.media_errors import (
    MediaDecodeError,
    MediaDependencyError,
    MediaError,
    MediaFormatError,
    MediaTooLargeError,
)
from lamm_model.point_cloud_files import FORMATS as POINT_CLOUD_FORMATS
from lamm_model.point_cloud_files import read_points

__all__ = [
    "DEFAULT_LIMITS", "IMAGE_FORMATS", "POINT_CLOUD_FORMATS", "FloatArray", "MediaDecodeError",
    "MediaDependencyError", "MediaError", "MediaFormatError", "MediaLimits", "MediaTooLargeError",
    "PointCloud", "PreparedMedia", "decode_image", "decode_point_cloud",
]  # fmt: skip

FloatArray = npt.NDArray[np.float32]

IMAGE_FORMATS = ("JPEG", "PNG", "WebP", "BMP", "GIF")
METRES: Mapping[str, float] = {"m": 1.0, "cm": 0.01, "mm": 0.001}
UP_AXES = ("z", "y")


@dataclass(frozen=True, slots=True)
class MediaLimits:
    """Bounds checked before anything is materialised."""

    max_pixels: int = 40_000_000
    max_points: int = 2_000_000
    max_bytes: int = 32 * 1024 * 1024


DEFAULT_LIMITS = MediaLimits()


@dataclass(frozen=True, slots=True)
class PointCloud:
    """`xyz` [N, 3] float32 in metres, z up; `rgb` [N, 3] float32 0-255 or None."""

    xyz: FloatArray
    rgb: FloatArray | None = None


@dataclass(frozen=True, slots=True)
class PreparedMedia:
    """One medium ready for its encoder.

    `array` is [3, S, S] (picture, normalised) or [N, 3 or 6] (cloud, sampled), float32.
    `digest` is the SHA-256 of the decoded content with its shape and the preprocessing's name, and
    so the key of every cache. `info` is JSON for the API's `media` block: for a picture original
    width and height, whether an EXIF orientation was applied, and the transform; for a cloud points
    in and kept, seed, bounds, centre.
    """

    modality: Modality
    digest: str
    array: FloatArray
    info: Mapping[str, Any]


def decode_image(
    data: bytes, limits: MediaLimits = DEFAULT_LIMITS
) -> tuple[Image.Image, dict[str, Any]]:
    """An upright RGB picture (alpha over white, first frame) and what is known of the original.

    Returns:
        The picture, and `{"format", "width", "height", "exif_orientation_applied"}`; width and
        height in pixels as a viewer shows the picture, after the EXIF orientation.

    Raises:
        MediaTooLargeError: more bytes or, by the header, more pixels than the limits allow.
        MediaFormatError: not a JPEG, PNG, WebP, BMP or GIF.
        MediaDecodeError: corrupt or truncated.
    """
    _check_bytes(data, limits)
    name = _sniff_image(data)
    try:
        image = _open(name, data, limits)
        image.load()
        orientation = _orientation(image)
        upright = image if orientation == 1 else image.transpose(_UPRIGHT[orientation])
        rgb = _to_rgb(upright)
    except MediaError:
        raise
    except Exception as error:
        # A decoder fed hostile bytes may raise anything; its words are not ours to repeat.
        raise MediaDecodeError(f"the {name} picture is corrupt or truncated") from error
    info = {
        "format": name,
        "width": rgb.width,
        "height": rgb.height,
        "exif_orientation_applied": orientation != 1,
    }
    return rgb, info


def decode_point_cloud(
    data: bytes,
    format: str,
    units: str = "m",
    up_axis: str = "z",
    limits: MediaLimits = DEFAULT_LIMITS,
    *,
    columns: int | None = None,
) -> PointCloud:
    """A cloud in metres with z up, from the bytes of a file.

    Args:
        data: the file.
        format: `npy`, `npz`, `ply`, `pcd`, `xyz` or `bin`.
        units: `m`, `cm` or `mm`: what one unit of the file's coordinates is.
        up_axis: `z`, or `y` (turned by (x, y, z) -> (x, -z, y)).
        limits: bytes and points allowed.
        columns: 3 to 6, for `bin` alone: float32 values a point. Left out, it is 3 where the byte
            count does not also fit 6, and an error where it fits both: nothing is guessed.

    Raises:
        MediaFormatError: unknown format, units or up axis, or a library that reads it is missing.
        MediaTooLargeError: more bytes or, by the header, more points than the limits allow.
        MediaDecodeError: corrupt, truncated, pickled, empty, or a coordinate is not finite.
    """
    if format not in POINT_CLOUD_FORMATS:
        known = ", ".join(POINT_CLOUD_FORMATS)
        raise MediaFormatError(f"format is {format[:32]!r}; point clouds are read from {known}")
    if units not in METRES:
        raise MediaFormatError(f"units is {units[:32]!r}; it must be one of {', '.join(METRES)}")
    if up_axis not in UP_AXES:
        known = ", ".join(UP_AXES)
        raise MediaFormatError(f"up_axis is {up_axis[:32]!r}; it must be one of {known}")
    _check_bytes(data, limits)
    coordinates, colours = read_points(data, format, limits.max_points, columns)
    with np.errstate(over="ignore"):
        xyz = np.asarray(coordinates, dtype=np.float64) * METRES[units]
        xyz = xyz.astype(np.float32)
    finite = np.isfinite(xyz).all(axis=1)
    if not finite.all():
        row = int(np.argmin(finite))
        raise MediaDecodeError(
            f"point {row} of {len(xyz)} is {_plain(coordinates[row])}; coordinates must be finite"
        )
    if up_axis == "y":
        xyz = np.stack([xyz[:, 0], -xyz[:, 2], xyz[:, 1]], axis=1)
    return PointCloud(np.ascontiguousarray(xyz), None if colours is None else _colours(colours))


_MAGIC = (
    ("PNG", b"\x89PNG\r\n\x1a\n"),
    ("JPEG", b"\xff\xd8\xff"),
    ("GIF", b"GIF87a"),
    ("GIF", b"GIF89a"),
    ("BMP", b"BM"),
)
# The plugin classes are opened directly: Image.open would try every installed plugin, and its own
# pixel check warns through a process-wide setting instead of refusing at our limit.
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
_MAX_COLOUR = 255.0


def _check_bytes(data: bytes, limits: MediaLimits) -> None:
    if not data:
        raise MediaDecodeError("the medium is empty: 0 bytes")
    if len(data) > limits.max_bytes:
        raise MediaTooLargeError(
            f"the medium has {len(data)} bytes; the limit is {limits.max_bytes}"
        )


def _sniff_image(data: bytes) -> str:
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WebP"
    for name, magic in _MAGIC:
        if data.startswith(magic):
            return name
    raise MediaFormatError(
        f"the bytes begin with {data[:8].hex()}; pictures are read from {', '.join(IMAGE_FORMATS)}"
    )


def _open(name: str, data: bytes, limits: MediaLimits) -> Image.Image:
    # Pillow's WebP plugin allocates the whole canvas on opening, its PNG plugin reads on to the
    # pixels: look at the header before they do.
    if name == "WebP":
        _check_pixels(*_webp_size(data), limits)
    elif name == "PNG" and data[12:16] == b"IHDR" and len(data) >= _PNG_SIZE_END:
        width, height = int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
        _check_pixels(width, height, limits)
    try:
        image = _OPENERS[name](io.BytesIO(data))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise MediaTooLargeError(f"the picture has more than {limits.max_pixels} pixels") from error
    _check_pixels(*image.size, limits)
    return image


def _check_pixels(width: int, height: int, limits: MediaLimits) -> None:
    if width < 1 or height < 1:
        raise MediaDecodeError(f"the picture is {width} x {height} pixels; it has no content")
    if width * height > limits.max_pixels:
        raise MediaTooLargeError(
            f"the picture is {width} x {height} = {width * height} pixels; "
            f"the limit is {limits.max_pixels}"
        )


def _webp_size(data: bytes) -> tuple[int, int]:
    """Canvas size by the first chunk (RFC 9649 sections 2.5-2.7)."""
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
        # Broken EXIF data does not make a good picture bad: show it as it is stored.
        return 1
    return value if isinstance(value, int) and value in _UPRIGHT else 1


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        # 16 bits a pixel; Pillow's own conversion would clip at 255 instead of scaling.
        high_bytes = np.asarray(image).astype(np.int64) >> 8
        image = Image.fromarray(high_bytes.clip(0, 255).astype(np.uint8))
    if "A" in image.getbands() or "transparency" in image.info:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    return image.convert("RGB")


def _colours(colours: npt.NDArray[Any]) -> FloatArray:
    """[N, 3] float32 0-255; values that never exceed 1 in a float file are fractions."""
    rgb = np.asarray(colours, dtype=np.float32)
    low, high = float(rgb.min()), float(rgb.max())
    if not (low >= 0.0 and high <= _MAX_COLOUR):
        bad = low if low < 0.0 else high
        raise MediaDecodeError(
            f"a colour value is {bad}; colours (columns 4 to 6) must be within 0 and 255"
        )
    if high <= 1.0 and not np.issubdtype(colours.dtype, np.integer):
        rgb = rgb * _MAX_COLOUR
    return np.ascontiguousarray(rgb, dtype=np.float32)


def _plain(row: npt.NDArray[Any]) -> str:
    return "(" + ", ".join(f"{float(value):g}" for value in row) + ")"
