"""Where a decoded cloud is: near the origin, or moved to it and with its origin beside it."""

from __future__ import annotations

import numpy as np
import pytest

from lamm_model.media import MediaDecodeError, decode_point_cloud
from tests.service.chat_requests import npy

XYZ = np.random.default_rng(0).uniform(-2, 2, (50, 3)).astype(np.float32)


@pytest.mark.parametrize("offset", [(6e5, 2e5, 450.0), (0, 0, 1500.0), (-4e6, 5e5, 4.9e6)])
def test_a_georeferenced_cloud_is_moved_to_the_origin(offset: tuple[float, ...]) -> None:
    cloud = decode_point_cloud(npy(XYZ.astype(np.float64) + offset), "npy")
    low, high = cloud.xyz.min(axis=0), cloud.xyz.max(axis=0)
    np.testing.assert_allclose((low + high)[:2], 0, atol=1e-6)
    assert low[2] == 0
    np.testing.assert_allclose(cloud.xyz + np.array(cloud.origin) - offset, XYZ, atol=1e-6)
    turned = decode_point_cloud(npy((XYZ[:, [0, 2, 1]] + offset) * 1000), "npy", "mm", "y")
    np.testing.assert_allclose(turned.origin, np.array(offset)[[0, 2, 1]] * (1, -1, 1), atol=5)
    assert turned.xyz.min(axis=0)[2] == 0


def test_a_cloud_near_the_origin_is_not_moved() -> None:
    cloud = decode_point_cloud(npy(XYZ + np.float32(900)), "npy")
    np.testing.assert_array_equal(cloud.xyz, XYZ + np.float32(900))
    assert cloud.origin == (0.0, 0.0, 0.0)
    wide = np.array([[0, 0, 0], [1, 1, 1], [2, 0, 0], [90_000, 0, 0]], np.float32)
    np.testing.assert_array_equal(decode_point_cloud(npy(wide), "npy").xyz, wide)


def test_float32_that_is_too_coarse_is_refused() -> None:
    far = XYZ.astype(np.float64) + np.array([6e5, 5.3e6, 0])
    assert decode_point_cloud(npy(far), "npy").origin[0] == pytest.approx(6e5, abs=2)
    with pytest.raises(MediaDecodeError, match=r"float32 of up to 5.3e\+06 m.* steps of 0.5 m"):
        decode_point_cloud(npy(far.astype(np.float32)), "npy")
    city = (XYZ * 1000 + (6e5, 5.3e6, 0)).astype(np.float32)
    assert decode_point_cloud(npy(city), "npy").xyz.shape == (50, 3)
