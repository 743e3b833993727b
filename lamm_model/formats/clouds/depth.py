"""Depth pictures: a 16-bit grey PNG and the camera that took it.

Without a pose the camera is taken to be level: its right is the cloud's x axis, and what is above
it in the picture is up. With a pose the cloud is in the pose's world.
"""

from __future__ import annotations

import io
from collections.abc import Mapping

import numpy as np
from PIL import PngImagePlugin

from lamm_model.formats.camera import Camera
from lamm_model.formats.cloud import Array, CloudOptions, RawCloud
from lamm_model.formats.cloud_format import CloudFormat, MediumBytes
from lamm_model.formats.errors import MediaDecodeError, MediaFormatError, MediaTooLargeError
from lamm_model.formats.pictures.png_metadata import without_large_metadata
from lamm_model.formats.thinning import MAX_FACTOR, Thinning


def read_depth(data: bytes, options: CloudOptions) -> RawCloud:
    """See `CloudReader`. Coordinates are metres; pixels of depth 0 are dropped.

    A picture of more than `max_points` pixels with a depth is thinned.

    Raises:
        MediaFormatError: not a 16-bit grey PNG, or its size is not the camera's.
    """
    camera = options.camera
    if camera is None:
        raise MediaFormatError("a depth picture needs `camera` with fx, fy, cx and cy")
    depth = _pixels(data, camera, options.max_points)
    metres = depth / camera.depth_scale
    seen = depth > 0
    if camera.max_depth is not None:
        seen &= metres <= camera.max_depth
    found = np.flatnonzero(seen)
    dropped = depth.size - len(found)
    if not len(found):
        raise MediaDecodeError(
            f"none of the {depth.size} pixels has a depth"
            + (f" up to max_depth {camera.max_depth:g} m" if camera.max_depth else "")
        )
    thinning = Thinning(len(found), options.max_points)
    found = found[thinning.of(0, len(found))[1]]
    v, u = np.divmod(found, depth.shape[1])
    z = metres.ravel()[found]
    xyz = np.stack([(u - camera.cx) * z / camera.fx, (v - camera.cy) * z / camera.fy, z], axis=1)
    cloud = _in_frame(xyz, camera, options.up_axis)
    return RawCloud(cloud, None, dropped, thinned=thinning.left_out)


def count_pixels(content: MediumBytes, _: int | None) -> int | None:
    """See `PointCounter`."""
    size = _size(content.read(0, _HEADER))
    return None if size is None else size[0] * size[1]


_CAMERA = frozenset({"camera"})
FORMATS: Mapping[str, CloudFormat] = {
    "depth": CloudFormat(
        read_depth, count=count_pixels, fields=_CAMERA, needs=_CAMERA, metric=True, is_picture=True
    )
}

_HEADER = 26
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GREY = 0


def _size(head: bytes) -> tuple[int, int] | None:
    """Width and height; None if the header is not that of a PNG."""
    if len(head) < _HEADER or not head.startswith(_SIGNATURE) or head[12:16] != b"IHDR":
        return None
    return int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big")


def _pixels(data: bytes, camera: Camera, max_points: int) -> Array:
    """[height, width] uint16."""
    size = _size(data[:_HEADER])
    if size is None:
        raise MediaFormatError("a depth picture must be a PNG file")
    width, height = size
    bits, kind = data[24:26]
    if (bits, kind) != (16, _GREY):
        raise MediaFormatError(
            f"the depth picture has {bits} bits and colour type {kind}; expected 16-bit grey (0)"
        )
    if width * height > MAX_FACTOR * max_points:
        raise MediaTooLargeError(
            f"the depth picture has {width} x {height} = {width * height} pixels; "
            f"the limit is {MAX_FACTOR * max_points}"
        )
    wanted = (camera.width or width, camera.height or height)
    if wanted != size:
        raise MediaFormatError(
            f"the depth picture is {width} x {height} pixels, but the camera's intrinsics are for "
            f"{wanted[0]} x {wanted[1]}"
        )
    image = PngImagePlugin.PngImageFile(io.BytesIO(without_large_metadata(data)))
    image.load()
    pixels: Array = np.asarray(image)
    if pixels.shape != (height, width) or pixels.dtype.kind not in "iu":
        raise MediaDecodeError("the depth picture is corrupt or truncated")
    return pixels


def _in_frame(xyz: Array, camera: Camera, up_axis: str) -> Array:
    """From the camera's axes (right, down, forward) to the world's, or to those of `up_axis`."""
    if camera.pose is not None:
        pose = np.array(camera.pose)
        return np.asarray(xyz @ pose[:3, :3].T + pose[:3, 3])
    right, down, forward = xyz.T
    if up_axis == "y":
        return np.stack([right, -down, -forward], axis=1)
    return np.stack([right, forward, -down], axis=1)
