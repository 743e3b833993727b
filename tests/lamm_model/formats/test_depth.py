"""Depth pictures: pixels and a camera become points in metres, with z up."""

from __future__ import annotations

import dataclasses
import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lamm_model.conversation import Modality
from lamm_model.formats.camera import Camera
from lamm_model.formats.cloud import Array
from lamm_model.formats.errors import MediaError, MediaFormatError, MediaTooLargeError
from lamm_model.media import MediaLimits, PointCloud, decode_point_cloud
from service.media.headers import WholeBytes, announced_size, kind_of_bytes

CAMERA = Camera(fx=60.0, fy=50.0, cx=31.5, cy=23.5)


def png(depth: Array) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(depth).save(stream, "PNG")
    return stream.getvalue()


def flat(millimetres: int = 2000) -> Array:
    return np.full((48, 64), millimetres, np.uint16)


def read(depth: Array, camera: Camera = CAMERA, **more: Any) -> PointCloud:
    return decode_point_cloud(png(depth), "depth", camera=camera, **more)


def test_a_wall_in_front_of_a_level_camera() -> None:
    cloud = read(flat())
    assert len(cloud.xyz) == 48 * 64
    x, y, z = cloud.xyz.T
    np.testing.assert_array_equal(y, np.float32(2.0))  # ahead
    np.testing.assert_allclose([x.min(), x.max()], [-31.5 / 30, 31.5 / 30], atol=1e-6)
    np.testing.assert_allclose([z.min(), z.max()], [-23.5 / 25, 23.5 / 25], atol=1e-6)
    first = cloud.xyz[0]  # the pixel at the top left
    assert first[0] == x.min()
    assert first[2] == z.max()


def test_the_axis_that_points_up_changes_no_point() -> None:
    depth = np.random.default_rng(0).integers(500, 4000, (48, 64)).astype(np.uint16)
    up_z, up_y = read(depth), read(depth, up_axis="y")
    np.testing.assert_array_equal(up_y.xyz, up_z.xyz)
    assert (up_z.up_axis, up_y.up_axis) == ("z", "y")


@given(
    st.integers(0, 10_000),
    st.sampled_from([1000.0, 5000.0, 4000.0]),
    st.floats(0.1, 3.0),
)
def test_points_project_back_to_their_pixels(seed: int, scale: float, turn: float) -> None:
    random = np.random.default_rng(seed)
    depth = (random.random((9, 13)) * 4 * scale).astype(np.uint16)
    depth[random.random((9, 13)) < 0.3] = 0
    depth[4, 4] = 1000
    axis = random.normal(size=3)
    axis /= np.linalg.norm(axis)
    cross = np.cross(np.eye(3), axis)
    rotation = np.eye(3) + np.sin(turn) * cross + (1 - np.cos(turn)) * cross @ cross
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = rotation, random.normal(size=3)
    rows = tuple(tuple(row) for row in pose.tolist())
    camera = Camera(20, 21, 6.2, 4.1, 13, 9, scale, pose=rows)  # type: ignore[arg-type]
    cloud = read(depth, camera)
    seen = (cloud.xyz - pose[:3, 3]) @ rotation  # the inverse of the pose
    u = seen[:, 0] / seen[:, 2] * 20 + 6.2
    v = seen[:, 1] / seen[:, 2] * 21 + 4.1
    rows_, columns = np.nonzero(depth)
    np.testing.assert_allclose(
        np.stack([u, v], axis=1), np.stack([columns, rows_], axis=1), atol=0.02
    )
    np.testing.assert_allclose(seen[:, 2] * scale, depth[rows_, columns], atol=0.05)
    assert cloud.dropped == depth.size - len(rows_)


def test_pixels_without_depth_or_too_far_are_left_out_and_counted() -> None:
    depth = flat()
    depth[0], depth[1] = 0, 5000
    assert read(depth).dropped == 64
    near = read(depth, dataclasses.replace(CAMERA, max_depth=4.0))
    assert (near.dropped, len(near.xyz)) == (128, 46 * 64)
    with pytest.raises(MediaError, match="none of the 3072 pixels has a depth"):
        read(np.zeros_like(depth))
    with pytest.raises(MediaError, match=r"up to max_depth 1 m"):
        read(depth, dataclasses.replace(CAMERA, max_depth=1.0))


def test_a_large_picture_is_thinned() -> None:
    cloud = read(flat(), limits=MediaLimits(max_points=1000))
    assert (len(cloud.xyz), cloud.thinned) == (1000, 48 * 64 - 1000)
    with pytest.raises(MediaTooLargeError, match="64 x 48 = 3072 pixels; the limit is 3000"):
        read(flat(), limits=MediaLimits(max_points=300))
    assert announced_size(WholeBytes(png(flat())), Modality.POINT_CLOUD, "depth") == 3072
    assert kind_of_bytes(WholeBytes(png(flat())), "depth") == (Modality.IMAGE, "")


def test_what_is_not_a_depth_picture_is_refused_by_name() -> None:
    grey8 = png(np.zeros((4, 4), np.uint8))
    stream = io.BytesIO()
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(stream, "JPEG")
    for data, words in (
        (grey8, "8 bits and colour type 0; expected 16-bit grey"),
        (png(np.zeros((4, 4, 3), np.uint8)), "8 bits and colour type 2"),
        (stream.getvalue(), "must be a PNG file"),
    ):
        with pytest.raises(MediaFormatError, match=words):
            decode_point_cloud(data, "depth", camera=CAMERA)
    other = dataclasses.replace(CAMERA, width=640, height=480)
    with pytest.raises(MediaFormatError, match=r"64 x 48 pixels, .* for 640 x 480"):
        read(flat(), other)
    with pytest.raises(MediaFormatError, match="`camera` is missing"):
        decode_point_cloud(png(flat()), "depth")
    with pytest.raises(MediaFormatError, match="`camera` is only for the format depth"):
        decode_point_cloud(b"0 0 0", "xyz", camera=CAMERA)
    with pytest.raises(MediaFormatError, match="`units` is mm"):
        read(flat(), units="mm")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"fx": 0.0}, "fx is 0; it must be above 0"),
        ({"fy": float("nan")}, "fy is nan"),
        ({"cx": float("inf")}, "cx is inf"),
        ({"depth_scale": -1.0}, "depth_scale is -1"),
        ({"width": 0}, "width is 0"),
        ({"pose": ((1, 0, 0, 0),) * 4}, "pose must be a rotation"),
        ({"pose": np.diag([-1, 1, 1, 1]).tolist()}, "pose must be a rotation"),
        ({"pose": np.full((4, 4), -np.inf).tolist()}, "finite"),
        ({"pose": ((1, 0, 0, 0),) * 3}, "4 rows of 4"),
    ],
)
def test_cameras_that_cannot_be_are_refused(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        dataclasses.replace(CAMERA, **fields)


def test_damaged_pictures_are_read_or_refused() -> None:
    random = np.random.default_rng(0)
    depth = random.integers(0, 4000, (48, 64)).astype(np.uint16)
    refused = 0
    for round_ in range(300):
        data = bytearray(png(depth))
        for _ in range(random.integers(1, 4)):
            data[random.integers(len(data))] = random.integers(256)
        if round_ % 3 == 0:
            del data[random.integers(len(data)) :]
        try:
            decode_point_cloud(bytes(data), "depth", camera=CAMERA)
        except MediaError:
            refused += 1
    assert refused > 100
