"""Media from outside: bytes become an RGB picture or a metric cloud, under limits. Torch-free.

Called by the service's decode workers, the trainer's dataset and the processor.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from lamm_model.conversation import Modality
from lamm_model.formats.cloud import CloudOptions, FloatArray
from lamm_model.formats.errors import (
    MediaDecodeError,
    MediaError,
    MediaFormatError,
    MediaTooLargeError,
)
from lamm_model.formats.picture import IMAGE_FORMATS, read_image
from lamm_model.formats.point_cloud import FORMATS as POINT_CLOUD_FORMATS
from lamm_model.formats.point_cloud import read_point_cloud

__all__ = [
    "DEFAULT_LIMITS", "IMAGE_FORMATS", "POINT_CLOUD_FORMATS", "FloatArray", "MediaDecodeError",
    "MediaError", "MediaFormatError", "MediaLimits", "MediaTooLargeError",
    "PointCloud", "PreparedMedia", "decode_image", "decode_point_cloud",
]  # fmt: skip

METRES: Mapping[str, float] = {"m": 1.0, "cm": 0.01, "mm": 0.001}
# Metres. Far beyond any scan, and far below where squared distances overflow float32.
MAX_COORDINATE = 1e6
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
    return read_image(data, limits.max_pixels)


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
    raw = read_point_cloud(data, format, CloudOptions(limits.max_points, columns))
    with np.errstate(over="ignore"):
        xyz = np.asarray(raw.xyz, dtype=np.float64) * METRES[units]
        xyz = xyz.astype(np.float32)
    finite = np.isfinite(xyz)
    if not finite.all():
        row = int(np.argmin(finite.all(axis=1)))
        raise MediaDecodeError(
            f"point {row} of {len(xyz)} is {_plain(raw.xyz[row])}; coordinates must be finite"
        )
    far = np.abs(xyz) > MAX_COORDINATE
    if far.any():
        row = int(np.argmax(far.any(axis=1)))
        raise MediaDecodeError(
            f"point {row} of {len(xyz)} is {_plain(raw.xyz[row])} {units}; "
            f"coordinates must lie within {MAX_COORDINATE:g} m"
        )
    if up_axis == "y":
        xyz = np.stack([xyz[:, 0], -xyz[:, 2], xyz[:, 1]], axis=1)
    return PointCloud(np.ascontiguousarray(xyz), raw.rgb)


def _check_bytes(data: bytes, limits: MediaLimits) -> None:
    if not data:
        raise MediaDecodeError("the medium is empty: 0 bytes")
    if len(data) > limits.max_bytes:
        raise MediaTooLargeError(
            f"the medium has {len(data)} bytes; the limit is {limits.max_bytes}"
        )


def _plain(row: npt.NDArray[Any]) -> str:
    return "(" + ", ".join(f"{float(value):g}" for value in row) + ")"
