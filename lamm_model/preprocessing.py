"""Preprocessing of decoded media into encoder inputs, with NumPy and Pillow, without torch.

Training and serving share it, so a checkpoint sees the same numbers in both.

Shapes: S picture side in pixels, P sampled points, N points of the file.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from lamm_model.conversation import Modality
from lamm_model.formats.errors import MediaTooLargeError
from lamm_model.media import (
    DEFAULT_LIMITS,
    FloatArray,
    MediaLimits,
    PointCloud,
    PreparedMedia,
    decode_image,
    floor_centre,
)
from lamm_model.spec import IMAGE_PRESETS, ImageSpec, PointSpec

# Mean and scale of ScanNet colours in EPCL's training (from upstream's dataset code).
COLOUR_MEAN = (109.8, 97.2, 83.8)
COLOUR_SCALE = 256.0


def prepare_image(
    picture: bytes | Image.Image, spec: ImageSpec, limits: MediaLimits = DEFAULT_LIMITS
) -> PreparedMedia:
    """The picture resized to S x S (bicubic), scaled to 0-1 and normalised: [3, S, S] float32.

    `lamm-squash` resizes the whole picture and ignores its aspect ratio, as LAMM's training did.
    `upstream-bench-centercrop` follows upstream's 2D benchmark: the shortest side is resized to S
    and the central S x S is kept. Coordinates in answers then refer to the crop.

    Args:
        picture: the bytes of a file, or a decoded picture (converted to RGB).
        spec: size, mean, standard deviation and preset.
        limits: applied to the bytes, and to the resized picture before it is cropped.

    Raises:
        MediaError: the bytes are not a picture within the limits.
        ValueError: the preset is unknown.
    """
    if spec.preset not in IMAGE_PRESETS:
        known = ", ".join(IMAGE_PRESETS)
        raise ValueError(f"image preset is {spec.preset!r}; expected one of {known}")
    if isinstance(picture, bytes):
        rgb, original = decode_image(picture, limits)
    else:
        rgb = picture.convert("RGB")
        original = {"width": rgb.width, "height": rgb.height, "exif_orientation_applied": False}
    digest = _digest(
        Modality.IMAGE, f"{spec.preset}/{spec.size}/{spec.mean}/{spec.std}", np.asarray(rgb)
    )
    resized = _squash if spec.preset == "lamm-squash" else _crop
    small, transform = resized(rgb, spec.size, limits)
    fractions = np.asarray(small, dtype=np.float32) / np.float32(255.0)
    mean, std = np.array(spec.mean, np.float32), np.array(spec.std, np.float32)
    array: FloatArray = ((fractions - mean) / std).transpose(2, 0, 1)
    info = {**original, "transform": transform}
    return PreparedMedia(Modality.IMAGE, digest, np.ascontiguousarray(array), info)


def prepare_point_cloud(cloud: PointCloud, spec: PointSpec) -> PreparedMedia:
    """P sampled points in metres, not scaled: [P, 3] or [P, 6] float32.

    The cloud is moved only as `spec.max_offset` says; `info["shift"]` is what that and
    `decode_point_cloud` have added to the file's coordinates. The sample depends only on
    `spec.seed` and N. If N >= P, no point is repeated; otherwise all points are kept and the rest
    are drawn with replacement. With `spec.use_color`, columns 3-5 are (rgb - mean) / 256, or 0 for
    a cloud without colours.

    Raises:
        ValueError: the cloud is empty.
    """
    points_in = len(cloud.xyz)
    if points_in < 1:
        raise ValueError("the cloud has 0 points; at least 1 is required")
    columns = cloud.xyz if cloud.rgb is None else np.concatenate([cloud.xyz, cloud.rgb], axis=1)
    preset = f"{spec.num_points}/{spec.use_color}/{spec.seed}"
    if spec.max_offset is not None:
        preset += f"/{tuple(spec.max_offset)}"
    digest = _digest(Modality.POINT_CLOUD, preset, columns)
    chosen = sample_indices(points_in, spec.num_points, spec.seed)
    excess = _excess(cloud, spec)
    array = (cloud.xyz[chosen] - excess).astype(np.float32)
    origin = np.array(cloud.origin)
    if spec.use_color:
        array = np.concatenate([array, _normalised_colour(cloud, chosen)], axis=1)
    info = {
        "points_in": points_in + cloud.dropped + cloud.thinned,
        "points_thinned": cloud.thinned,
        "points_dropped": cloud.dropped,
        "points_kept": min(points_in, spec.num_points),
        "points_sampled": spec.num_points,
        "seed": spec.seed,
        "has_color": cloud.rgb is not None,
        "bounds": [_row(cloud.xyz.min(axis=0) + origin), _row(cloud.xyz.max(axis=0) + origin)],
        "center": _row(cloud.xyz.mean(axis=0, dtype=np.float64) + origin),
        "shift": _row(-(origin + excess)),
        "scale": 1.0,
        "up_axis": cloud.up_axis,
        "surface": None if cloud.surface is None else asdict(cloud.surface),
    }
    return PreparedMedia(
        Modality.POINT_CLOUD, digest, np.ascontiguousarray(array, dtype=np.float32), info
    )


def sample_indices(points_in: int, num_points: int, seed: int) -> npt.NDArray[np.int64]:
    """`num_points` indices below `points_in`; deterministic for the same arguments."""
    generator = np.random.default_rng(seed)
    if points_in >= num_points:
        return generator.permutation(points_in)[:num_points]
    extra = generator.integers(0, points_in, size=num_points - points_in)
    return np.concatenate([np.arange(points_in), extra])


def _squash(picture: Image.Image, size: int, _: MediaLimits) -> tuple[Image.Image, dict[str, Any]]:
    small = picture.resize((size, size), Image.Resampling.BICUBIC)
    scale = [size / picture.width, size / picture.height]
    return small, {"kind": "squash", "size": [size, size], "scale": scale}


def _crop(
    picture: Image.Image, size: int, limits: MediaLimits
) -> tuple[Image.Image, dict[str, Any]]:
    """Sizes and offsets are rounded as in torchvision's Resize and CenterCrop.

    Pixel (x, y) of the picture is at (x, y) * scale - offset in the crop.
    """
    shortest = min(picture.size)
    width, height = (size * side // shortest for side in picture.size)
    if width * height > limits.max_pixels:
        # A small but very long picture becomes huge.
        raise MediaTooLargeError(
            f"the picture is {picture.width} x {picture.height} pixels, "
            f"and {width} x {height} after resizing; the limit is {limits.max_pixels} pixels"
        )
    left, top = round((width - size) / 2), round((height - size) / 2)
    whole = picture.resize((width, height), Image.Resampling.BICUBIC)
    scale = [width / picture.width, height / picture.height]
    transform = {
        "kind": "centercrop", "size": [size, size], "scale": scale, "offset": [left, top]
    }  # fmt: skip
    return whole.crop((left, top, left + size, top + size)), transform


def _excess(cloud: PointCloud, spec: PointSpec) -> npt.NDArray[np.float64]:
    """[3] metres to subtract from a cloud that is farther away than the training data."""
    if spec.max_offset is None:
        return np.zeros(3)
    place = np.array(floor_centre(cloud.xyz))
    return np.where(np.abs(place) > np.array(spec.max_offset), place, 0.0)


def _normalised_colour(cloud: PointCloud, chosen: npt.NDArray[np.int64]) -> FloatArray:
    if cloud.rgb is None:
        return np.zeros((len(chosen), 3), np.float32)
    mean = np.array(COLOUR_MEAN, np.float32)
    return (cloud.rgb[chosen] - mean) / np.float32(COLOUR_SCALE)


def _digest(modality: Modality, preset: str, array: npt.NDArray[Any]) -> str:
    """SHA-256 of the content, its type and shape, and the preprocessing."""
    array = np.ascontiguousarray(array)
    digest = hashlib.sha256(f"{modality}|{preset}|{array.dtype.str}|{array.shape}|".encode())
    digest.update(array.data)
    return digest.hexdigest()


def _row(values: npt.NDArray[Any]) -> list[float]:
    return [round(float(value), 6) + 0.0 for value in values]  # no -0.0
