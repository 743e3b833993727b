"""LAS and LAZ files as laspy writes them."""

from __future__ import annotations

import io
import sys
from typing import Any

import numpy as np
import pytest

from lamm_model.conversation import Modality
from lamm_model.formats.cloud import Array
from lamm_model.formats.clouds import las as las_module
from lamm_model.formats.errors import MediaDecodeError, MediaFormatError, MediaTooLargeError
from lamm_model.media import MediaLimits, PointCloud, decode_point_cloud
from service.media.headers import WholeBytes, announced_size

XYZ = np.random.default_rng(0).integers(-2000, 2000, (300, 3)) / 1000
RGB = np.random.default_rng(1).integers(0, 256, (300, 3))
FAR = (600_000.0, 5_300_000.0, 450.0)


def las(format: str, rgb: Array | None, *, point_format: int = 7, version: str = "1.4") -> bytes:
    laspy: Any = pytest.importorskip("laspy")
    header = laspy.LasHeader(point_format=point_format, version=version)
    header.scales, header.offsets = [0.001] * 3, FAR
    file = laspy.LasData(header)
    file.x, file.y, file.z = (XYZ + np.array(FAR)).T
    if rgb is not None:
        file.red, file.green, file.blue = rgb.T
    stream = io.BytesIO()
    file.write(stream, do_compress=format == "laz")
    return stream.getvalue()


@pytest.mark.parametrize("format", ["las", "laz"])
@pytest.mark.parametrize(
    ("point_format", "version", "written", "read"),
    [
        (7, "1.4", RGB * 257, RGB),
        (2, "1.2", RGB * 257, RGB),
        (3, "1.2", RGB, RGB),  # 8-bit colours in 16-bit fields
        (7, "1.4", None, None),  # all 0
        (6, "1.4", None, None),
        (0, "1.2", None, None),
    ],
)
def test_a_scan_is_read(
    format: str, point_format: int, version: str, written: Array | None, read: Array | None
) -> None:
    data = las(format, written, point_format=point_format, version=version)
    cloud = decode_point_cloud(data, format)
    np.testing.assert_allclose(cloud.xyz + np.array(cloud.origin) - FAR, XYZ, atol=1e-6)
    assert (cloud.rgb is None) == (read is None)
    if read is not None and cloud.rgb is not None:
        np.testing.assert_allclose(cloud.rgb, read, atol=1e-4)
    assert announced_size(WholeBytes(data), Modality.POINT_CLOUD, format) == 300


@pytest.mark.parametrize("format", ["las", "laz"])
def test_bad_scans_are_refused(format: str) -> None:
    data = las(format, RGB)
    for cut in (3, 100, 300, len(data) - 200):
        with pytest.raises(MediaDecodeError, match=r"(?i)la[sz]"):
            decode_point_cloud(data[:cut], format)
    with pytest.raises(MediaDecodeError, match="`LASF`"):
        decode_point_cloud(b"ply\n" * 100, format)
    with pytest.raises(MediaTooLargeError, match="300 points; the limit is 290"):
        decode_point_cloud(data, format, limits=MediaLimits(max_points=29))


@pytest.mark.parametrize("format", ["las", "laz"])
@pytest.mark.parametrize("max_points", [299, 150, 31])
def test_a_scan_of_more_points_than_are_held_is_thinned(
    format: str, max_points: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(las_module, "_CHUNK", 77)
    data, limits = las(format, RGB * 257), MediaLimits(max_points=max_points)
    cloud = decode_point_cloud(data, format, limits=limits)
    assert (len(cloud.xyz), cloud.thinned, cloud.dropped) == (max_points, 300 - max_points, 0)
    row_of = {row: index for index, row in enumerate(rows(decode_point_cloud(data, format)))}
    found = [row_of[row] for row in rows(cloud)]
    # One of every run of rows, in the file's order.
    ends = np.arange(1, max_points + 1) * 300 // max_points
    np.testing.assert_array_equal(np.searchsorted(ends, found, "right"), np.arange(max_points))
    again = decode_point_cloud(data, format, limits=limits)
    np.testing.assert_array_equal(again.xyz, cloud.xyz)


def rows(cloud: PointCloud) -> list[tuple[float, ...]]:
    """Coordinates as in the file, in millimetres, and colours."""
    assert cloud.rgb is not None
    table = np.hstack([(cloud.xyz + np.array(cloud.origin)) * 1000, cloud.rgb])
    return [tuple(row) for row in np.round(table).tolist()]


def damaged_files(count: int) -> list[bytes]:
    """LAZ files with damage behind their headers, and some that are cut off."""
    random, whole = np.random.default_rng(0), las("laz", RGB)
    files = []
    for index in range(count):
        data = bytearray(whole)
        for _ in range(random.integers(1, 4)):
            data[random.integers(96, len(data))] = random.integers(256)
        if index % 5 == 0:
            del data[random.integers(len(data)) :]
        files.append(bytes(data))
    return files


def test_without_laspy_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "laspy", None)
    with pytest.raises(MediaFormatError, match="`las` extra"):
        decode_point_cloud(b"LASF", "las")
