"""E57 files: what a scan declares, what scans are together, and damage that reaches the library."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamm_model.conversation import Modality
from lamm_model.formats.cloud import Array
from lamm_model.formats.clouds import e57 as e57_module
from lamm_model.formats.errors import MediaDecodeError, MediaFormatError, MediaTooLargeError
from lamm_model.media import MediaLimits, decode_point_cloud
from service.media.headers import WholeBytes, announced_size, kind_of_bytes
from tests.lamm_model.formats.e57_files import Scan, e57, resealed, with_xml

pytest.importorskip("pye57")
POINTS = 60
CARTESIAN = ("cartesianX", "cartesianY", "cartesianZ")
SPHERICAL = ("sphericalRange", "sphericalAzimuth", "sphericalElevation")
CHANNELS = ("colorRed", "colorGreen", "colorBlue")
FIXTURE = Path(__file__).parent / "fixtures" / "pye57_two_scans.e57"


def columns(names: tuple[str, ...], table: Array) -> dict[str, Array]:
    return dict(zip(names, table.T, strict=True))


def points(seed: int = 0) -> Array:
    """Multiples of 1/128, which scaled integers of that step and float32 have exactly."""
    return np.random.default_rng(seed).integers(-500, 500, (POINTS, 3)) / 128


def spherical(xyz: Array) -> Array:
    reach = np.linalg.norm(xyz, axis=1)
    azimuth = np.arctan2(xyz[:, 1], xyz[:, 0])
    return np.stack([reach, azimuth, np.arcsin(xyz[:, 2] / reach)], axis=1)


def turned(xyz: Array, w: float, axis: Array) -> Array:
    """By the unit quaternion."""
    return np.asarray(xyz + 2 * np.cross(axis, np.cross(axis, xyz) + w * xyz))


@st.composite
def scans(draw: st.DrawFn) -> tuple[Scan, Array, Array | None, Array]:
    """A scan, its points and colours in the file's frame, and which of them are valid."""
    seed = draw(st.integers(0, 1000))
    random = np.random.default_rng(seed)
    xyz, valid = points(seed), np.ones(POINTS, bool)
    kinds: dict[str, str] = {}
    if draw(st.booleans()):
        table = columns(SPHERICAL, spherical(xyz))
        state = "sphericalInvalidState"
    else:
        table = columns(CARTESIAN, xyz)
        kinds = dict.fromkeys(CARTESIAN, draw(st.sampled_from(["float", "double", "scaled"])))
        state = "cartesianInvalidState"
    if draw(st.booleans()):
        table[state] = random.integers(0, 3, POINTS)
        kinds[state] = "integer"
        valid = table[state] == 0
    scan, rgb = Scan(table, kinds), None
    if draw(st.booleans()):
        rgb = random.integers(0, 256, (POINTS, 3))
        scan.limits, kind = draw(
            st.sampled_from([((0, 255), "integer"), ((0, 65535), "integer"), ((0, 1), "float")])
        )
        table |= columns(CHANNELS, rgb / 255 * scan.limits[1])
        kinds |= dict.fromkeys(CHANNELS, kind)
    if draw(st.booleans()):
        axis = random.normal(size=4)
        axis /= np.linalg.norm(axis)
        far = draw(st.sampled_from([1.0, 1e6]))
        move = (random.integers(-5, 5, 3) * far).tolist()
        scan.rotation, scan.translation = (axis * draw(st.sampled_from([1, 1.7]))).tolist(), move
        xyz = turned(xyz, axis[0], axis[1:]) + np.array(move)
    return scan, xyz, rgb, valid


@given(scans())
def test_a_scan_is_read_as_it_declares(written: tuple[Scan, Array, Array | None, Array]) -> None:
    scan, xyz, rgb, valid = written
    data = e57([scan])
    if not valid.any():
        return
    cloud = decode_point_cloud(data, "e57")
    np.testing.assert_allclose(cloud.xyz + np.array(cloud.origin), xyz[valid], atol=1e-5)
    assert cloud.dropped == POINTS - valid.sum()
    assert (cloud.rgb is None) == (rgb is None)
    if cloud.rgb is not None and rgb is not None:
        np.testing.assert_allclose(cloud.rgb, rgb[valid], atol=1e-3)
    assert announced_size(WholeBytes(data), Modality.POINT_CLOUD, "e57") == POINTS
    assert kind_of_bytes(WholeBytes(data), "") == (Modality.POINT_CLOUD, "e57")


def colourful(seed: int, **more: Any) -> Scan:
    rgb = np.random.default_rng(seed).integers(0, 256, (POINTS, 3))
    table = columns(CARTESIAN, points(seed)) | columns(CHANNELS, rgb)
    return Scan(table, dict.fromkeys(CHANNELS, "integer"), limits=(0, 255), **more)


def test_scans_are_one_cloud() -> None:
    data = e57([colourful(1), colourful(2, translation=(10, 0, 0))])
    cloud = decode_point_cloud(data, "e57")
    np.testing.assert_allclose(
        cloud.xyz, np.vstack([points(1), points(2) + np.array([10, 0, 0])]), atol=1e-6
    )
    assert cloud.rgb is not None
    plain = e57([colourful(1), Scan(columns(CARTESIAN, points(2)))])
    assert decode_point_cloud(plain, "e57").rgb is None
    assert announced_size(WholeBytes(data), Modality.POINT_CLOUD, "e57") == 2 * POINTS


def test_colours_without_known_limits_are_not_read() -> None:
    scan = colourful(1)
    scan.limits, scan.kinds = None, dict.fromkeys(CHANNELS, "float")
    assert decode_point_cloud(e57([scan]), "e57").rgb is None


def test_a_file_that_pye57_has_written() -> None:
    cloud = decode_point_cloud(FIXTURE.read_bytes(), "e57")
    assert (len(cloud.xyz), cloud.dropped) == (45, 5)
    np.testing.assert_allclose(cloud.xyz[:25, 2], np.arange(25) / 8, atol=1e-6)
    # The second scan is turned by 90 degrees about z and moved by (1, 2, 3).
    np.testing.assert_allclose(cloud.xyz[25:, 0], 1, atol=1e-6)
    np.testing.assert_allclose(cloud.xyz[25:, 1], 2 + np.arange(5, 25) / 8, atol=1e-6)
    assert cloud.rgb is not None
    np.testing.assert_array_equal(cloud.rgb[25], [5, 10, 15])


def test_a_file_of_more_points_than_are_held_is_thinned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(e57_module, "_CHUNK", 7)
    data = e57([colourful(1), colourful(2), colourful(3)])
    whole = decode_point_cloud(data, "e57")
    cloud = decode_point_cloud(data, "e57", limits=MediaLimits(max_points=50))
    assert (len(cloud.xyz), cloud.thinned) == (50, 3 * POINTS - 50)
    assert whole.rgb is not None
    assert cloud.rgb is not None
    table = np.hstack([whole.xyz, whole.rgb]).tolist()
    found = [table.index(row) for row in np.hstack([cloud.xyz, cloud.rgb]).tolist()]
    assert found == sorted(found)
    assert (min(found) < 4, max(found) > 175) == (True, True)
    with pytest.raises(MediaTooLargeError, match="180 points; the limit is 170"):
        decode_point_cloud(data, "e57", limits=MediaLimits(max_points=17))


DEEP = b'<a type="Structure">' * 1000 + b"</a>" * 1000
WIDE = b'<a type="Structure">' + b"".join(b"<b%d/>" % n for n in range(5000)) + b"</a>"
ENTITY = b'<!DOCTYPE a [<!ENTITY e SYSTEM "file:///etc/passwd">]><e57Root'


@pytest.mark.parametrize(
    ("old", "new", "kind", "words"),
    [
        (b"<e57Root", ENTITY, MediaDecodeError, "document type"),
        (b'"UTF-8"', b'"UTF-7"', MediaDecodeError, "encoding 'UTF-7'"),
        (b"<data3D", DEEP + b"<data3D", MediaDecodeError, "more than 64 levels"),
        (b"<data3D", WIDE + b"<data3D", MediaDecodeError, "more than 1000 fields"),
        (b"<data3D", b"<data3D<", MediaDecodeError, "malformed in line"),
        (b'"60"', b'"3000000000"', MediaTooLargeError, "3000000000 points; the limit"),
        (b'"60"', b'"1000000"', MediaDecodeError, "declares 1000000 points, but has 60"),
        (b'"60"', b'"0"', MediaDecodeError, "0 points"),
        (b"cartesianX", b"cartesianQ", MediaDecodeError, "fields cartesianQ"),
    ],
)
def test_hostile_xml_is_refused(old: bytes, new: bytes, kind: type[Exception], words: str) -> None:
    data = e57([Scan(columns(CARTESIAN, points()))])
    with pytest.raises(kind, match=words):
        decode_point_cloud(with_xml(data, (old, new)), "e57")


def test_bad_files_are_refused() -> None:
    data = e57([Scan(columns(CARTESIAN, points()))])
    for cut in (8, 40, 1000, 2048, len(data) - 1):
        with pytest.raises(MediaDecodeError, match="e57"):
            decode_point_cloud(data[:cut], "e57")
    with pytest.raises(MediaDecodeError, match="does not begin with `ASTM-E57`"):
        decode_point_cloud(b"ply\n" * 100, "e57")
    table = columns(("sphericalRange", "cartesianY", "cartesianZ"), points())
    with pytest.raises(MediaDecodeError, match="expected cartesianX, cartesianY, cartesianZ or"):
        decode_point_cloud(e57([Scan(table)]), "e57")
    with pytest.raises(MediaDecodeError, match="0 points"):
        decode_point_cloud(e57([]), "e57")
    flat = Scan(columns(CARTESIAN, points()), rotation=(0, 0, 0, 0))
    with pytest.raises(MediaDecodeError, match="rotation 0 0 0 0"):
        decode_point_cloud(e57([flat]), "e57")


def test_without_pye57_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pye57", None)
    with pytest.raises(MediaFormatError, match="`e57` extra"):
        decode_point_cloud(b"ASTM-E57", "e57")


def damaged_files(count: int) -> list[bytes]:
    """Damage behind right checksums, so that the library sees it."""
    random = np.random.default_rng(0)
    whole = e57([colourful(1, rotation=(1, 0, 0, 0), translation=(1, 2, 3)), colourful(2)])
    files = []
    for index in range(count):
        data = bytearray(whole)
        for _ in range(random.integers(1, 5)):
            data[random.integers(8, len(data))] = random.integers(256)
        if index % 5 == 0:
            del data[random.integers(len(data)) :]
        files.append(resealed(bytes(data)) if index % 4 else bytes(data))
    return files
