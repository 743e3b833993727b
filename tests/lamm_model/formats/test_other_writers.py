"""PLY and PCD files that other libraries have written; see `fixtures/README.md`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lamm_model.media import decode_point_cloud

FIXTURES = Path(__file__).parent / "fixtures"
POINT = np.arange(24)
XYZ = np.stack([POINT / 8 - 1.25, POINT * 7 % 13 / 16, -(POINT // 4) / 2], axis=1)
RGB = np.stack([POINT * 10 + 5, POINT * 37 % 256, (255 - POINT * POINT) % 256], axis=1)
FILES = sorted(path for path in FIXTURES.iterdir() if path.suffix in (".ply", ".pcd"))
CLOUDS = [path for path in FILES if path.stem != "trimesh_box"]


@pytest.mark.parametrize("path", CLOUDS, ids=lambda path: path.name)
def test_a_cloud_is_read_as_it_was_written(path: Path) -> None:
    cloud = decode_point_cloud(path.read_bytes(), path.suffix[1:])
    np.testing.assert_array_equal(cloud.xyz, XYZ)
    assert cloud.rgb is not None
    np.testing.assert_array_equal(cloud.rgb, RGB)


def test_a_mesh_is_read_by_its_vertices() -> None:
    cloud = decode_point_cloud((FIXTURES / "trimesh_box.ply").read_bytes(), "ply")
    assert {tuple(point) for point in np.abs(cloud.xyz)} == {(0.5, 0.5, 0.5)}
    assert len(np.unique(cloud.xyz, axis=0)) == 8


def test_every_writer_is_there() -> None:
    assert {path.stem.split("_")[0] for path in FILES} == {"open3d", "plyfile", "pypcd4", "trimesh"}
