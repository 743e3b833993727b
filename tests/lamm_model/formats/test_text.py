"""Text clouds as other programs write them: read right, or refused with the line."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest

from lamm_model.formats.cloud import Array
from lamm_model.formats.errors import MediaDecodeError
from lamm_model.media import PointCloud, decode_point_cloud

RANDOM = np.random.default_rng(0)
XYZ = RANDOM.uniform(-2, 2, (20, 3)).round(4)
RGB = RANDOM.integers(0, 256, (20, 3)).astype(float)
ORDER = np.arange(20.0)[:, None]
PACKED = RGB @ [[65536.0], [256.0], [1.0]]
NORMALS = RANDOM.normal(size=(20, 3))
NORMALS = (NORMALS / np.linalg.norm(NORMALS, axis=1, keepdims=True)).round(4)
SCALAR = RANDOM.uniform(0, 9, (20, 1)).round(3)


def rows(*columns: Array, sep: str = " ", end: str = "\n") -> str:
    return "".join(sep.join(f"{v:.9g}" for v in row) + end for row in np.hstack(columns))


def read(text: str | bytes, format: str = "xyz") -> PointCloud:
    return decode_point_cloud(text if isinstance(text, bytes) else text.encode(), format)


def check(cloud: PointCloud, rgb: Array | None = None) -> None:
    np.testing.assert_allclose(cloud.xyz, XYZ, atol=1e-6)
    assert (cloud.rgb is None) == (rgb is None)
    if rgb is not None and cloud.rgb is not None:
        np.testing.assert_allclose(cloud.rgb, rgb, atol=1e-3)


def with_decimal_comma(text: str) -> str:
    return text.replace(".", ",")


@pytest.mark.parametrize("format", ["asc", "csv", "pts", "txt", "xyz"])
@pytest.mark.parametrize(
    "text",
    [
        rows(XYZ),
        rows(XYZ, sep="\t"),
        rows(XYZ, sep=","),
        rows(XYZ, sep=", "),
        rows(XYZ, sep=";"),
        rows(XYZ, sep=",", end=",\n"),
        rows(XYZ, end="\r\n"),
        rows(XYZ, end="\r"),
        rows(XYZ).rstrip(),
        with_decimal_comma(rows(XYZ, sep=";")),
        with_decimal_comma(rows(XYZ, sep="\t")),
        with_decimal_comma(rows(XYZ)),
        "\ufeff" + rows(XYZ),
        f"20\n{rows(XYZ)}",
        f"//X Y Z\n20\n{rows(XYZ)}",
        f"# made by hand\n\n{rows(XYZ[:5])}\n// more\n{rows(XYZ[5:])}",
        rows(XYZ, end=" # a point\n"),
        f"x,y,z\n{rows(XYZ, sep=',')}",
        f'"X [m]";"Y [m]";"Z (m)"\n{rows(XYZ, sep=";")}',
        f"z y x\n{rows(XYZ[:, ::-1])}",
        f",x,y,z\n{rows(SCALAR, XYZ, sep=',')}",
        f"//X;Y;Z;Scalar field #2\n{rows(XYZ, SCALAR, sep=';')}",
        f"# x of all, y of all, z\n{rows(XYZ)}",
        rows(XYZ, SCALAR),
        rows(XYZ, SCALAR, SCALAR),
        rows(XYZ, NORMALS, sep=","),
        rows(XYZ, NORMALS, SCALAR, SCALAR),
        rows(XYZ, np.tile([0.0, 0.0, 1.0], (20, 1))),
        f"x,y,z,nx,ny,nz\n{rows(XYZ, NORMALS, sep=',')}",
    ],
)  # fmt: skip
def test_coordinates(text: str, format: str) -> None:
    check(read(text, format))


@pytest.mark.parametrize(
    ("text", "format"),
    [
        (rows(XYZ, RGB), "xyz"),
        (rows(XYZ, RGB / 255), "xyzrgb"),
        (rows(XYZ, RGB, sep=","), "csv"),
        (rows(XYZ, RGB, SCALAR), "txt"),
        (rows(XYZ, RGB, NORMALS), "txt"),
        (rows(XYZ, NORMALS, RGB), "txt"),
        (f"20\n{rows(XYZ, SCALAR * 200 - 500, RGB)}", "pts"),
        (f"r g b x y z\n{rows(RGB, XYZ)}", "txt"),
        (f"//X Y Z Rf Gf Bf\n{rows(XYZ, RGB / 255)}", "asc"),
        (f"x,y,z,red,green,blue\n{rows(XYZ, RGB * 257, sep=',')}", "csv"),
        (f"x,y,z,intensity,red,green,blue\n{rows(XYZ, SCALAR, RGB, sep=',')}", "csv"),
        (f"x,y,z,RGB\n{rows(XYZ, PACKED, sep=',')}", "csv"),
        (f"rgba x y z\n{rows(PACKED - 2**24, XYZ)}", "txt"),
    ],
)
def test_colours(text: str, format: str) -> None:
    check(read(text, format), RGB)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            rows(XYZ, SCALAR / 10, RGB),
            r"fractions up to 0\.\d+ beside whole numbers up to 2.*intensity r",
        ),
        (
            rows(np.arange(20.0)[:, None], XYZ, sep=","),
            "the first of 4 columns numbers the points from 0",
        ),
        (
            rows(np.arange(1.0, 21.0)[:, None], XYZ, RGB),
            "the first of 7 columns numbers the points from 1",
        ),
    ],
)
def test_columns_that_are_plainly_others_need_names(text: str, message: str) -> None:
    with pytest.raises(MediaDecodeError, match=message):
        read(text)


def test_points_that_are_not_finite_are_dropped() -> None:
    text = f"nan nan nan 0 0 0\n{rows(XYZ[:9], RGB[:9])}-nan(ind) 0 0 999 0 0\ninf 0 0 1 1 1\n"
    cloud = read(text + rows(XYZ[9:], RGB[9:]))
    check(cloud, RGB)
    assert cloud.dropped == 3


@pytest.mark.parametrize("sign", [",", ";"])
def test_empty_values_are_not_numbers(sign: str) -> None:
    """As pandas writes them."""
    scan, head = rows(XYZ, SCALAR, sep=sign), sign.join(("x", "y", "z", "label")) + "\n"
    holes = "1,,3,4\n,2,3,4\n1,2, ,4\r\n".replace(",", sign)
    for text in (scan + holes, head + scan + holes):
        cloud = read(text)
        check(cloud)
        assert cloud.dropped == 3
    unlabelled = rows(XYZ[:5], sep=sign, end=f"{sign}\n") + rows(XYZ[5:], SCALAR[5:], sep=sign)
    check(read(head + unlabelled))


def lines(bad: str, before: Iterable[str] = (), sep: str = " ") -> str:
    return "".join(f"{one}\n" for one in before) + rows(XYZ[:4], sep=sep) + f"{bad}\n" + rows(XYZ)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (lines("1 2"), "line 5 of the text file is '1 2': it has 2 values; expected 3"),
        (lines("1 2 3 4", ["# c", "", "24"]), "line 8 .* '1 2 3 4': it has 4 values; expected 3"),
        (lines("1 2 abc", ["x y z"]), "line 6 of the text file is '1 2 abc': 'abc' is not a numb"),
        (lines("1 2 b", ["-nan(ind) 0 0"]), "line 6 .* '1 2 b'"),
        (lines("1 2 0x3"), "line 5 .* '0x3' is not a number"),
        (lines("1,,3,4", sep=","), "line 5 .* is '1,,3,4': it has 4 values; expected 3"),
        (lines("1.5;2;3,5", sep=";"), "line 5 .* '1.5;2;3,5': '3,5' is not a number"),
        ("points of a chair\n" + rows(XYZ), "line 1 .* is 'points of a chair'; expected a point"),
        ("lon,lat,alt\n" + rows(XYZ, sep=","), "line 1 .* is 'lon,lat,alt'; .* with x, y and z"),
        ("x,y,z\n" + rows(XYZ, SCALAR, sep=","), "line 1 .* names 3 columns, but line 2 has 4"),
        ("x,y,z,x\n" + rows(XYZ, SCALAR, sep=","), "line 1 .* names the column x twice"),
        ("21\n" + rows(XYZ), "line 1 declares 21 points, but 20 follow"),
        (rows(XYZ, NORMALS * 3), "a colour value is -"),
        (rows(XYZ).encode("utf-16"), "UTF-16"),
        (rows(XYZ).encode("utf-16-le"), "UTF-16"),
        (rows(XYZ).encode("utf-16-be"), "UTF-16"),
        ("# x y z\n", "0 points"),
        ("x y z\n20\n", "0 points"),
        ("x y z r g b\n" + rows(XYZ, RGB * 1.5), "a colour value is 3"),
        ("x y z r g b\n" + rows(XYZ, RGB * 1000), "a colour value is 2"),
        (rows(np.tile(XYZ, 6)), "line 1 of the text file has more than 16 values"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_line(text: str | bytes, message: str) -> None:
    with pytest.raises(MediaDecodeError, match=message):
        read(text)


def test_a_long_line_is_quoted_in_part() -> None:
    with pytest.raises(MediaDecodeError, match=r"x{80}\.\.\.") as caught:
        read("x" * 100_000)
    assert len(str(caught.value)) < 300


REALSENSE = (
    "ply\nformat ascii 1.0\ncomment pointcloud saved from Realsense Viewer\n"
    "element vertex 20\nproperty float32 x\nproperty float32 y\nproperty float32 z\n"
    "property uchar red\nproperty uchar green\nproperty uchar blue\n"
    "element face 1\nproperty list uchar int vertex_indices\nend_header\n"
)


def split_vertices() -> list[str]:
    pairs = zip(rows(XYZ, end=" \n").splitlines(), rows(RGB, end=" \n").splitlines(), strict=True)
    return [line for pair in pairs for line in pair]


def test_a_vertex_may_have_several_lines() -> None:
    body = split_vertices()
    check(read(REALSENSE + "\n".join(body) + "\n3 0 1 2\n", "ply"), RGB)
    body[9] = "1 2"
    with pytest.raises(MediaDecodeError, match=r"line 22 of the ply file is .* expected 6"):
        read(REALSENSE + "\n".join(body) + "\n", "ply")
