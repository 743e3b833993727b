"""A module in `formats.clouds` is all that a new format takes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lamm_model.formats import clouds, point_cloud
from lamm_model.formats.cloud import CloudOptions
from lamm_model.media import POINT_CLOUD_FORMATS

MODULE = """
import numpy as np

from lamm_model.formats.cloud import RawCloud
from lamm_model.formats.cloud_format import CloudFormat

FORMATS = {"one": CloudFormat(lambda data, options: RawCloud(np.full((1, 3), float(data))))}
"""


def test_the_formats_are_those_of_the_modules() -> None:
    assert POINT_CLOUD_FORMATS == (
        "asc", "bin", "csv", "depth", "e57", "glb", "gltf", "las", "laz", "npy", "npz", "obj",
        "off", "pcd", "ply", "pts", "stl", "txt", "xyz", "xyzn", "xyzrgb",
    )  # fmt: skip


def test_a_new_module_is_a_new_format(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "one.py").write_text(MODULE)
    monkeypatch.setattr(clouds, "__path__", [*clouds.__path__, str(tmp_path)])
    formats = point_cloud.discover_formats()
    assert set(formats) == {*POINT_CLOUD_FORMATS, "one"}
    cloud = formats["one"].read(b"7", CloudOptions(1))
    np.testing.assert_array_equal(cloud.xyz, [[7.0, 7.0, 7.0]])
