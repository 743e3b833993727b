"""Decoding of untrusted media files into RGB pictures and metric point clouds, without torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
from PIL import Image

from lamm_model.conversation import Modality
from lamm_model.formats.camera import Camera
from lamm_model.formats.cloud import CloudOptions, FloatArray, Sample, Surface, UpAxis, plain
from lamm_model.formats.cloud_format import CloudFile
from lamm_model.formats.errors import (
    MediaDecodeError,
    MediaError,
    MediaFormatError,
    MediaTooLargeError,
)
from lamm_model.formats.pictures.picture import read_image
from lamm_model.formats.pictures.picture_formats import IMAGE_FORMATS
from lamm_model.formats.point_cloud import FORMATS, check_fields, read_point_cloud

__all__ = [
    "DEFAULT_LIMITS", "IMAGE_FORMATS", "POINT_CLOUD_FORMATS", "POINT_CLOUD_SUFFIXES", "FloatArray",
    "MediaDecodeError", "MediaError", "MediaFormatError", "MediaLimits", "MediaTooLargeError",
    "PointCloud", "PreparedMedia", "decode_image", "decode_point_cloud",
]  # fmt: skip

POINT_CLOUD_FORMATS = tuple(FORMATS)
# Those of files whose suffix is the format.
POINT_CLOUD_SUFFIXES = tuple(name for name, known in FORMATS.items() if not known.is_picture)
METRES: Mapping[str, float] = {"m": 1.0, "cm": 0.01, "mm": 0.001}
# Metres from the middle of a cloud: beyond any scan, and small enough that squared distances do not
# overflow float32.
MAX_COORDINATE = 1e6
# Metres from the origin. Map projections and Earth-centred coordinates reach 1e7.
MAX_OFFSET = 1e8
# A cloud farther than this from the origin is moved to it before its coordinates become float32,
# whose step there is 0.06 mm. At map coordinates of 600 km it is 6 cm, a twentieth of a chair.
GEOREFERENCED = 1000.0
# The least number of float32 steps across a georeferenced cloud.
_MIN_STEPS = 15
UP_AXES: tuple[UpAxis, ...] = get_args(UpAxis)
SAMPLES: tuple[Sample, ...] = get_args(Sample)


@dataclass(frozen=True, slots=True)
class MediaLimits:
    """Limits that are checked before anything is allocated."""

    max_pixels: int = 40_000_000
    max_points: int = 2_000_000
    max_bytes: int = 32 * 1024 * 1024


DEFAULT_LIMITS = MediaLimits()


@dataclass(frozen=True, slots=True)
class PointCloud:
    """`xyz` [N, 3] float32 in metres, z up; `rgb` [N, 3] float32 0-255 or None.

    `xyz` + `origin` are the file's coordinates. `dropped` counts the points of the file that are
    not among the N because their coordinates are not finite. `up_axis` is that of the file.
    `surface` is set if the points were sampled from a mesh. `thinned` counts the points of a large
    file that were left out.
    """

    xyz: FloatArray
    rgb: FloatArray | None = None
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0)
    dropped: int = 0
    up_axis: UpAxis = "z"
    surface: Surface | None = None
    thinned: int = 0


@dataclass(frozen=True, slots=True)
class PreparedMedia:
    """One medium ready for its encoder.

    `array` is float32: [3, S, S] (normalised picture) or [N, 3 or 6] (sampled cloud). `digest` is
    the SHA-256 of the decoded content, its shape and the preprocessing, and the key of all caches.
    `info` is the JSON of the API's `media` block: original width and height, whether an EXIF
    orientation was applied, and the transform for pictures; points in, dropped and kept, seed,
    bounds, centre and shift for clouds.
    """

    modality: Modality
    digest: str
    array: FloatArray
    info: Mapping[str, Any]


def decode_image(
    data: bytes, limits: MediaLimits = DEFAULT_LIMITS
) -> tuple[Image.Image, dict[str, Any]]:
    """An upright RGB picture and information on the original.

    Transparent pixels lie on white. Of several frames or pages the first is taken. Colour profiles
    are not applied.

    Returns:
        The picture and `{"format", "width", "height", "exif_orientation_applied"}`. Width and
        height are in pixels, after the orientation in the file is applied.

    Raises:
        MediaTooLargeError: more bytes, or by the header more pixels, than the limits allow, or a
            side over 65,535 pixels.
        MediaFormatError: not one of `IMAGE_FORMATS`, or a variant of it that is not read.
        MediaDecodeError: corrupt or truncated.
    """
    _check_bytes(data, limits)
    return read_image(data, limits.max_pixels)


def decode_point_cloud(
    data: bytes,
    format: str,
    units: str = "m",
    up_axis: str | None = None,
    limits: MediaLimits = DEFAULT_LIMITS,
    *,
    columns: int | None = None,
    sample: Sample | None = None,
    camera: Camera | None = None,
) -> PointCloud:
    """A cloud in metres with z up, decoded from the bytes of a file.

    Points with a coordinate that is not finite are left out. A georeferenced cloud (its median is
    more than 1 km from the origin) is moved so that its lowest point has z = 0 and its bounding box
    is centred in x and y; `origin` has the difference.

    Args:
        data: the file.
        format: one of `POINT_CLOUD_FORMATS`.
        units: `m`, `cm` or `mm`, the unit of the file's coordinates.
        up_axis: `z`, or `y` (rotated by (x, y, z) -> (x, -z, y)); None is the format's own: `y` for
            glb and gltf, else `z`.
        limits: bytes and points allowed.
        columns: float32 values per point (3 to 6), for `bin` only. If omitted, it is 3 unless the
            size also fits 6, which is an error.
        sample: for meshes, whether the points are the `vertices` or are drawn from the `surface`.
            None is `vertices` for ply and `surface` for other meshes that have faces.
        camera: what took a `depth` picture.

    Raises:
        MediaFormatError: unknown format, units or up axis, `columns` is required, or `columns` or
            `sample` is not for the format, or a depth picture has no `camera`.
        MediaTooLargeError: more bytes, or more points by the header, than the limits allow.
        MediaDecodeError: corrupt, truncated, pickled, empty, without any finite point, or with
            points too far from one another.
    """
    if format not in POINT_CLOUD_FORMATS:
        known = ", ".join(POINT_CLOUD_FORMATS)
        raise MediaFormatError(f"format is {format[:32]!r}; expected one of {known}")
    if units not in METRES:
        raise MediaFormatError(f"units is {units[:32]!r}; expected one of {', '.join(METRES)}")
    given = FORMATS[format].up_axis if up_axis is None else up_axis
    axis = next((known for known in UP_AXES if known == given), None)
    if axis is None:
        known = ", ".join(UP_AXES)
        raise MediaFormatError(f"up_axis is {given[:32]!r}; expected one of {known}")
    _check_bytes(data, limits)
    check_fields(CloudFile(format, units, axis, columns, sample, camera))
    raw = read_point_cloud(
        data, format, CloudOptions(limits.max_points, columns, sample, camera, axis)
    )
    xyz = raw.xyz if units == "m" else raw.xyz * METRES[units]
    if axis == "y":
        xyz = np.stack([xyz[:, 0], -xyz[:, 2], xyz[:, 1]], axis=1)
    origin = _origin(xyz, raw.xyz, units)
    moved = xyz - origin if any(origin) else xyz
    return PointCloud(
        moved.astype(np.float32), raw.rgb, origin, raw.dropped, axis, raw.surface, raw.thinned
    )


def floor_centre(xyz: npt.NDArray[Any]) -> tuple[float, float, float]:
    """The middle of the bounding box of `xyz` [N, 3] in x and y, and its lowest z."""
    low, high = xyz.min(axis=0), xyz.max(axis=0)
    x, y = (low[:2].astype(np.float64) + high[:2]) / 2
    return float(x), float(y), float(low[2])


def _origin(
    xyz: npt.NDArray[np.float64], raw: npt.NDArray[np.float64], units: str
) -> tuple[float, float, float]:
    """What to subtract from `xyz` [N, 3], metres; `raw` has the same points as the file has them.

    The median tells where the cloud is even if a few points are far away.

    Raises:
        MediaDecodeError: a point, or the cloud, is too far away.
    """
    if max(-xyz.min(), xyz.max()) <= GEOREFERENCED:
        return 0.0, 0.0, 0.0  # as most clouds, without the cost of a median
    median = np.median(xyz, axis=0)
    with np.errstate(over="ignore"):
        far = np.abs(xyz - median) > MAX_COORDINATE
    if far.any():
        row = int(np.argmax(far.any(axis=1)))
        raise MediaDecodeError(
            f"the point {plain(raw[row])} {units} is more than {MAX_COORDINATE:g} m from the "
            f"median of the {len(xyz)} points, {plain(np.median(raw, axis=0))} {units}"
        )
    if np.abs(median).max() > MAX_OFFSET:
        raise MediaDecodeError(
            f"the cloud is at {plain(np.median(raw, axis=0))} {units}; "
            f"coordinates must lie within {MAX_OFFSET:g} m"
        )
    if np.abs(median).max() <= GEOREFERENCED:
        return 0.0, 0.0, 0.0
    _check_steps(raw, units)
    return floor_centre(xyz)


def _check_steps(raw: npt.NDArray[np.float64], units: str) -> None:
    """Refuses coordinates that float32 has made too coarse; `raw` [N, 3] is as the file has it."""
    largest, extent = np.abs(raw).max(), np.ptp(raw, axis=0).max()
    step = float(np.spacing(np.float32(largest)))
    if 0.0 < extent < _MIN_STEPS * step and np.array_equal(raw, raw.astype(np.float32)):
        raise MediaDecodeError(
            f"the coordinates are float32 of up to {largest:g} {units}, where float32 has steps of "
            f"{step:g} {units}, but the cloud is only {extent:g} {units} across; "
            "store double, or subtract an offset"
        )


def _check_bytes(data: bytes, limits: MediaLimits) -> None:
    if not data:
        raise MediaDecodeError("the medium has 0 bytes")
    if len(data) > limits.max_bytes:
        raise MediaTooLargeError(
            f"the medium has {len(data)} bytes; the limit is {limits.max_bytes}"
        )
