"""Decoding of untrusted media files into RGB pictures and metric point clouds, without torch."""

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
# Metres: beyond any scan, and small enough that squared distances do not overflow float32.
MAX_COORDINATE = 1e6
UP_AXES = ("z", "y")


@dataclass(frozen=True, slots=True)
class MediaLimits:
    """Limits that are checked before anything is allocated."""

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

    `array` is float32: [3, S, S] (normalised picture) or [N, 3 or 6] (sampled cloud). `digest` is
    the SHA-256 of the decoded content, its shape and the preprocessing, and the key of all caches.
    `info` is the JSON of the API's `media` block: original width and height, whether an EXIF
    orientation was applied, and the transform for pictures; points in and kept, seed, bounds and
    centre for clouds.
    """

    modality: Modality
    digest: str
    array: FloatArray
    info: Mapping[str, Any]


def decode_image(
    data: bytes, limits: MediaLimits = DEFAULT_LIMITS
) -> tuple[Image.Image, dict[str, Any]]:
    """An upright RGB picture (alpha over white, first frame) and information on the original.

    Returns:
        The picture and `{"format", "width", "height", "exif_orientation_applied"}`. Width and
        height are in pixels, after the EXIF orientation is applied.

    Raises:
        MediaTooLargeError: more bytes, or more pixels by the header, than the limits allow.
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
    """A cloud in metres with z up, decoded from the bytes of a file.

    Args:
        data: the file.
        format: one of `POINT_CLOUD_FORMATS`.
        units: `m`, `cm` or `mm`, the unit of the file's coordinates.
        up_axis: `z`, or `y` (rotated by (x, y, z) -> (x, -z, y)).
        limits: bytes and points allowed.
        columns: float32 values per point (3 to 6), for `bin` only. If omitted, it is 3 unless the
            size also fits 6, which is an error.

    Raises:
        MediaFormatError: unknown format, units or up axis, or `columns` is required.
        MediaTooLargeError: more bytes, or more points by the header, than the limits allow.
        MediaDecodeError: corrupt, truncated, pickled, empty, or a coordinate is not finite.
    """
    if format not in POINT_CLOUD_FORMATS:
        known = ", ".join(POINT_CLOUD_FORMATS)
        raise MediaFormatError(f"format is {format[:32]!r}; expected one of {known}")
    if units not in METRES:
        raise MediaFormatError(f"units is {units[:32]!r}; expected one of {', '.join(METRES)}")
    if up_axis not in UP_AXES:
        known = ", ".join(UP_AXES)
        raise MediaFormatError(f"up_axis is {up_axis[:32]!r}; expected one of {known}")
    _check_bytes(data, limits)
    raw = read_point_cloud(data, format, CloudOptions(limits.max_points, columns))
    with np.errstate(over="ignore", invalid="ignore"):  # refused below
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
        raise MediaDecodeError("the medium has 0 bytes")
    if len(data) > limits.max_bytes:
        raise MediaTooLargeError(
            f"the medium has {len(data)} bytes; the limit is {limits.max_bytes}"
        )


def _plain(row: npt.NDArray[Any]) -> str:
    return "(" + ", ".join(f"{float(value):g}" for value in row) + ")"
