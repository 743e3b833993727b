"""Point clouds from outside: formats, units, axes, and every way to be refused."""

from __future__ import annotations

import io
import zipfile
from typing import Any

import numpy as np
import pytest

from lamm_model.media import (
    MediaDecodeError,
    MediaError,
    MediaFormatError,
    MediaLimits,
    MediaTooLargeError,
    decode_point_cloud,
)

XYZ = np.random.default_rng(0).uniform(-2, 2, (50, 3)).astype(np.float32)
RGB = np.random.default_rng(1).integers(0, 256, (50, 3)).astype(np.float32)
BOTH = np.concatenate([XYZ, RGB], axis=1)


def npy(array: np.ndarray[Any, Any]) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=array.dtype.hasobject)
    return stream.getvalue()


def npz(**arrays: Any) -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)
    return stream.getvalue()


def ply(points: int = 50, *, text: bool = False, body: bytes | None = None) -> bytes:
    encoding = "ascii" if text else "binary_little_endian"
    header = f"ply\nformat {encoding} 1.0\ncomment made by a test\nelement vertex {points}\n"
    header += "".join(f"property float {axis}\n" for axis in "xyz")
    header += "".join(f"property uchar {colour}\n" for colour in ("red", "green", "blue"))
    header += "end_header\n"
    if body is None and text:
        rows = (f"{x} {y} {z} {r:.0f} {g:.0f} {b:.0f}\n" for x, y, z, r, g, b in BOTH.tolist())
        body = "".join(rows).encode()
    elif body is None:
        rows_ = zip(XYZ, RGB.astype(np.uint8), strict=True)
        body = b"".join(point.tobytes() + colour.tobytes() for point, colour in rows_)
    return header.encode() + body


def pcd(points: int = 50, *, kind: str = "binary", body: bytes | None = None) -> bytes:
    packed = (RGB.astype(np.uint32) << np.array([16, 8, 0], np.uint32)).sum(axis=1).astype("<u4")
    header = "# .PCD v0.7\nVERSION 0.7\nFIELDS x y z rgb\nSIZE 4 4 4 4\nTYPE F F F F\n"
    header += f"COUNT 1 1 1 1\nWIDTH {points}\nHEIGHT 1\nVIEWPOINT 0 0 0 1 0 0 0\n"
    header += f"POINTS {points}\nDATA {kind}\n"
    floats = packed.view("<f4")
    if body is None and kind == "ascii":
        rows = zip(XYZ, floats, strict=True)
        body = "".join(f"{x:.9g} {y:.9g} {z:.9g} {c:.9g}\n" for (x, y, z), c in rows).encode()
    elif body is None:
        body = np.concatenate([XYZ, floats[:, None]], axis=1).tobytes()
    return header.encode() + body


XYZ_TEXT = "\n".join(" ".join(map(repr, row)) for row in BOTH.tolist()).encode()

FILES = {
    "npy": ("npy", npy(BOTH)),
    "npy-double-fortran": ("npy", npy(np.asfortranarray(BOTH.astype(np.float64)))),
    "npz": ("npz", npz(xyz=XYZ, rgb=RGB)),
    "npz-one-array": ("npz", npz(anything=BOTH)),
    "ply": ("ply", ply()),
    "ply-text": ("ply", ply(text=True)),
    "pcd": ("pcd", pcd()),
    "pcd-text": ("pcd", pcd(kind="ascii")),
    "xyz": ("xyz", b"# x y z r g b\n" + XYZ_TEXT),
    "xyz-commas": ("xyz", XYZ_TEXT.replace(b" ", b",")),
}


@pytest.mark.parametrize("name", FILES)
def test_each_format_is_read(name: str) -> None:
    format, data = FILES[name]
    cloud = decode_point_cloud(data, format)
    assert cloud.xyz.dtype == np.float32
    assert cloud.rgb is not None
    assert cloud.rgb.dtype == np.float32
    np.testing.assert_allclose(cloud.xyz, XYZ, atol=1e-6)
    np.testing.assert_array_equal(cloud.rgb, RGB)


@pytest.mark.parametrize("columns", [3, 4, 5, 6])
def test_bin_columns_are_declared(columns: int) -> None:
    cloud = decode_point_cloud(BOTH[:, :columns].tobytes(), "bin", columns=columns)
    np.testing.assert_array_equal(cloud.xyz, XYZ)
    assert (cloud.rgb is not None) == (columns == 6)


def test_bin_columns_are_inferred_only_where_it_is_certain() -> None:
    assert decode_point_cloud(XYZ[:49].tobytes(), "bin").xyz.shape == (49, 3)
    with pytest.raises(MediaFormatError, match="fit 3 and 6 float32"):
        decode_point_cloud(XYZ.tobytes(), "bin")
    with pytest.raises(MediaFormatError, match="fit neither 3 nor 6"):
        decode_point_cloud(b"\0" * 16, "bin")
    with pytest.raises(MediaDecodeError, match="not a whole number of 5-column"):
        decode_point_cloud(b"\0" * 16, "bin", columns=5)


def test_units_and_axes_become_metres_with_z_up() -> None:
    cloud = decode_point_cloud(npy(np.array([[100.0, 200.0, 300.0]])), "npy", "cm", "y")
    np.testing.assert_allclose(cloud.xyz, [[1.0, -3.0, 2.0]], rtol=1e-6)
    cloud = decode_point_cloud(npy(np.array([[1, 2, 3]])), "npy", units="mm")
    np.testing.assert_allclose(cloud.xyz, [[0.001, 0.002, 0.003]], rtol=1e-6)


def test_points_that_are_not_finite_are_dropped_with_their_colours() -> None:
    bad = np.insert(
        BOTH, [0, 20, 50], [[np.nan] * 6, [0, np.inf, 0, 300, -1, np.nan], [-np.inf] * 6], 0
    )
    cloud = decode_point_cloud(npy(bad), "npy")
    np.testing.assert_array_equal(cloud.xyz, XYZ)
    np.testing.assert_array_equal(cloud.rgb, RGB)
    assert cloud.dropped == 3
    assert decode_point_cloud(npy(BOTH), "npy").dropped == 0


def test_colour_fractions_become_0_to_255() -> None:
    cloud = decode_point_cloud(npy(np.array([[0, 0, 0, 0.0, 0.5, 1.0]])), "npy")
    assert cloud.rgb is not None
    np.testing.assert_allclose(cloud.rgb, [[0.0, 127.5, 255.0]])


def test_whole_numbered_dark_colours_stay_dark() -> None:
    cloud = decode_point_cloud(npy(np.array([[0, 0, 0, 0, 1, 1]])), "npy")
    assert cloud.rgb is not None
    np.testing.assert_array_equal(cloud.rgb, [[0, 1, 1]])


HUGE = npy(np.zeros((1, 3), np.float32)).replace(b"(1, 3)", b"(10000000, 3)", 1)


@pytest.mark.parametrize(
    ("format", "data", "message"),
    [
        ("npy", npy(np.array([[1, "a", None]], dtype=object)), "pickled"),
        ("npy", npy(np.zeros((0, 3))), "0 points"),
        ("npy", npy(np.zeros((5, 2))), "2 columns"),
        ("npy", npy(np.zeros(5)), "shape"),
        ("npy", npy(np.zeros((5, 3), complex)), "<c16"),
        ("npy", npy(XYZ)[:-1], "declares 600 bytes, but the body has 599"),
        ("npy", npy(XYZ) + b"x", "declares 600 bytes, but the body has 601"),
        ("npy", npy(np.array([[0, np.nan, 0], [np.inf, 0, 0]])), "none of the 2 points .* nan, 0"),
        ("npy", npy(np.array([[0, 0, 1e300]])), "cloud is at .* must lie within 1e.08 m"),
        ("npy", npy(np.array([[0, 0, 0], [0, 1, 0], [0, 0, 1e300]])), "point .0, 0, 1e.300. m is"),
        ("npy", npy(np.array([[0, 0, 0, 0, 0, 256.0]])), "colour value is 256"),
        ("npy", b"not an array", "corrupt"),
        ("npy", b"\x93NUMPY\x01\x00\xff\xff{}", "corrupt"),
        ("npz", b"PK\x03\x04", "corrupt"),
        ("npz", npz(a=XYZ, b=XYZ), "no array named xyz, .*; its arrays are a, b"),
        ("npz", npz(xyz=XYZ, rgb=RGB[:3]), "50 points, but colours of shape \\(3, 3\\)"),
        ("npz", npz(xyz=np.array([[None, 1, 2]], dtype=object)), "pickled"),
        ("xyz", b"", "0 bytes"),
        ("xyz", b"# nothing\n", "0 points"),
        ("xyz", b"1 2\n", "2 columns"),
        ("xyz", b"1 2 three\n", "line 1 of the text file is '1 2 three': 'three' is not a number"),
        ("xyz", b"1 2 3\n1 2\n", "line 2 of the text file is '1 2': it has 2 values; expected 3"),
        ("xyz", "1 2 ٣".encode(), "line 1 .* is not a number"),
        ("ply", b"plx", "does not begin"),
        ("ply", b"ply\nformat ascii 1.0\n", "no line end_header"),
        ("ply", ply(0), "0 points"),
        ("ply", ply(51), "declares at least 765 bytes of points, but the body has 750"),
        ("ply", ply(51, text=True), "declares 51 points, but has 50 lines"),
        ("ply", ply(2, text=True, body=b"0 0 0 1 2 3\n0 0 x 1 2 3\n"), "line 13 .*'x' is not a"),
        ("ply", ply(1, text=True, body=b"0 0 nan 1 2 3\n"), "none of the 1 points has finite"),
        ("ply", ply().replace(b"float x", b"float w"), "have no field x"),
        ("ply", ply().replace(b"float x", b"list uchar int x"), "'x' is a list"),
        ("ply", ply().replace(b"vertex 50", b"vertex -1"), "count '-1'"),
        ("ply", ply().replace(b"binary_little", b"binary_middle"), "format 'binary_middle"),
        ("ply", ply().replace(b"vertex", b"corner"), "0 elements named vertex"),
        ("pcd", pcd()[:-1], "declares at least 800 bytes of points, but the body has 799"),
        ("pcd", pcd().replace(b"POINTS 50", b"POINTS 40"), "POINTS 40, but WIDTH x HEIGHT is 50"),
        ("pcd", pcd().replace(b"FIELDS x", b"FIELDS w"), "have no field x"),
        ("pcd", pcd().replace(b"SIZE 4 4 4 4", b"SIZE 4 4"), "differ in length"),
        ("pcd", pcd().replace(b"WIDTH 50\n", b""), "has no WIDTH"),
        ("pcd", pcd(kind="zipped"), "DATA 'zipped'"),
        ("pcd", pcd(kind="binary_compressed"), "decompresses to"),
    ],
)  # fmt: skip
def test_bad_clouds_are_refused(format: str, data: bytes, message: str) -> None:
    with pytest.raises(MediaDecodeError, match=message):
        decode_point_cloud(data, format)


@pytest.mark.parametrize(
    ("format", "data"),
    [
        ("npy", HUGE),
        ("ply", ply(10_000_000)),
        ("pcd", pcd(10_000_000)),
        ("bin", b"\0" * 4 * 3 * 1001),
        ("xyz", b"0 0 0\n" * 2001),
        ("npz", npz(xyz=np.zeros((10_000, 3)))),
    ],
)
def test_points_are_counted_before_they_are_read(format: str, data: bytes) -> None:
    with pytest.raises(MediaTooLargeError, match="the limit is"):
        decode_point_cloud(data, format, limits=MediaLimits(max_points=1000))


def test_an_npz_that_lies_about_its_size_is_refused() -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xyz.npy", npy(np.zeros((100_000, 3))))
    size = len(npy(np.zeros((100_000, 3)))).to_bytes(4, "little")
    assert stream.getvalue().count(size) == 2
    lying = stream.getvalue().replace(size, (700).to_bytes(4, "little"))
    with pytest.raises(MediaError):
        decode_point_cloud(lying, "npz", limits=MediaLimits(max_points=100))


def test_unknown_words_are_refused() -> None:
    data = npy(XYZ)
    with pytest.raises(MediaFormatError, match=r"format is 'dae'; .* asc, bin, csv, depth, e57"):
        decode_point_cloud(data, "dae")
    with pytest.raises(MediaFormatError, match="units is 'ft'"):
        decode_point_cloud(data, "npy", units="ft")
    with pytest.raises(MediaFormatError, match="up_axis is 'x'"):
        decode_point_cloud(data, "npy", up_axis="x")
