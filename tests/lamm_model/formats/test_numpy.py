"""npy and npz files as other programs write them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lamm_model.media import MediaDecodeError, decode_point_cloud
from tests.service.chat_requests import npy
from tests.service.media.hostile_clouds import npz

XYZ = np.random.default_rng(0).uniform(-2, 2, (50, 3)).astype(np.float32)
RGB = np.random.default_rng(1).integers(0, 256, (50, 3)).astype(np.float32)
BOTH = np.concatenate([XYZ, RGB], axis=1)


@pytest.mark.parametrize("key", ["xyz", "points", "pc", "pcd", "coords", "arr_0", "PC"])
def test_npz_arrays_are_found_by_name(key: str) -> None:
    arrays: dict[str, Any] = {key: XYZ, "bbox": np.zeros((2, 8)), "colors": RGB}
    cloud = decode_point_cloud(npz(**arrays), "npz")
    np.testing.assert_array_equal(cloud.xyz, XYZ)
    np.testing.assert_array_equal(cloud.rgb, RGB)


def test_numpy_images_and_records_are_clouds() -> None:
    np.testing.assert_array_equal(decode_point_cloud(npy(XYZ.reshape(5, 10, 3)), "npy").xyz, XYZ)
    names = [("f0", "<f4"), ("f1", "<f4"), ("f2", "<f4")]  # librealsense's vertices
    vertices = np.zeros(50, names)
    aligned = np.zeros(
        50, np.dtype([("I", "u1"), ("Z", "f8"), ("X", "f8"), ("Y", "f8")], align=True)
    )
    for axis in range(3):
        vertices[f"f{axis}"] = XYZ[:, axis]
        aligned["XYZ"[axis]] = XYZ[:, axis]
    for array in (vertices, vertices.reshape(5, 10), aligned):
        np.testing.assert_array_equal(decode_point_cloud(npy(array), "npy").xyz, XYZ)
    with pytest.raises(MediaDecodeError, match="npy points have no field x, y, z"):
        decode_point_cloud(npy(np.zeros(3, [("a", "f4")])), "npy")
    with pytest.raises(MediaDecodeError, match="records of"):
        decode_point_cloud(npy(np.zeros(3, [("x", "S4")])), "npy")


def test_more_columns_are_not_used() -> None:
    label = np.zeros((50, 1), np.float32)
    normals = XYZ / np.linalg.norm(XYZ, axis=1, keepdims=True)
    for table in (np.hstack([BOTH, label]), np.hstack([XYZ, normals, RGB, label])):
        cloud = decode_point_cloud(npy(table), "npy")
        np.testing.assert_array_equal(cloud.rgb, RGB)
    assert decode_point_cloud(npy(np.hstack([XYZ, normals])), "npy").rgb is None
