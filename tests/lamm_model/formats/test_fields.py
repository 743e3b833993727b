"""PLY and PCD: a file reads the same in every encoding, for every type and order of its fields."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamm_model.formats.cloud import Array, CloudOptions, RawCloud
from lamm_model.formats.errors import MediaDecodeError, MediaTooLargeError
from lamm_model.formats.point_cloud import read_point_cloud
from lamm_model.media import decode_point_cloud
from tests.lamm_model.formats.point_files import (
    PCD_ENCODINGS,
    PLY_ENCODINGS,
    PLY_TYPES,
    Column,
    lzf_literals,
    pcd,
    ply,
)

XYZ = np.random.default_rng(0).uniform(-2, 2, (20, 3))
RGB = np.random.default_rng(1).integers(0, 256, (20, 3)).astype(np.uint8)
RGB[0] = [255, 1, 0]
WORDS = (RGB.astype(np.uint32) << np.array([16, 8, 0], np.uint32)).sum(axis=1).astype(np.uint32)

Write = Callable[..., bytes]
FORMATS: list[tuple[str, str, Write]] = [
    *(("ply", encoding, ply) for encoding in PLY_ENCODINGS),
    *(("pcd", encoding, pcd) for encoding in PCD_ENCODINGS),
]


def read(data: bytes, format: str) -> RawCloud:
    return read_point_cloud(data, format, CloudOptions(1000))


def axes(type_: str = "f4", values: Array = XYZ) -> list[Column]:
    return [(name, values[:, index].astype(type_)) for index, name in enumerate("xyz")]


def channels(
    type_: str, values: Array = RGB, names: tuple[str, ...] = ("red", "green", "blue")
) -> list[Column]:
    return [(name, values[:, index].astype(type_)) for index, name in enumerate(names)]


def column_values(type_: str, points: int) -> st.SearchStrategy[Array]:
    """`points` values of a type, its extremes included; floats are finite."""
    dtype = np.dtype(type_)
    if dtype.kind == "f":
        limit = float(np.finfo(dtype).max)
        element: st.SearchStrategy[Any] = st.floats(-limit, limit, width=dtype.itemsize * 8)  # type: ignore[arg-type]
    else:
        limits = np.iinfo(dtype)
        element = st.integers(int(limits.min), int(limits.max))
    return st.lists(element, min_size=points, max_size=points).map(
        lambda values: np.array(values, dtype)
    )


@st.composite
def point_columns(draw: st.DrawFn, types: list[str]) -> list[Column]:
    """Coordinates of any types, perhaps colours, other fields, in any order."""
    points = draw(st.integers(1, 4))

    def column(name: str, type_: str | None = None) -> Column:
        type_ = type_ or draw(st.sampled_from(types))
        return name, draw(column_values(type_, points))

    columns = [column(name) for name in "xyz"]
    if draw(st.booleans()):
        columns += [column(name, "u1") for name in ("red", "green", "blue")]
    columns += [column(f"other{index}") for index in range(draw(st.integers(0, 3)))]
    return draw(st.permutations(columns))


@pytest.mark.parametrize(("format", "encoding", "write"), FORMATS)
def test_a_byte_order_mark_is_skipped(format: str, encoding: str, write: Write) -> None:
    data = write(axes("f8"), encoding)
    if format == "pcd":
        data = data[data.index(b"FIELDS") :]  # the first line counts
    np.testing.assert_array_equal(read(b"\xef\xbb\xbf" + data, format).xyz, XYZ)


def check_every_encoding(
    format: str, write: Write, encodings: tuple[str, ...], columns: list[Column], **more: Any
) -> None:
    by_name = dict(columns)
    xyz = np.stack([by_name[name].astype(np.float64) for name in "xyz"], axis=1)
    for encoding in encodings:
        cloud = read(write(columns, encoding, **more), format)
        np.testing.assert_array_equal(cloud.xyz, xyz, err_msg=encoding)
        assert (cloud.rgb is not None) == ("red" in by_name)
        if cloud.rgb is not None:
            rgb = np.stack([by_name[name] for name in ("red", "green", "blue")], axis=1)
            np.testing.assert_array_equal(cloud.rgb, rgb, err_msg=encoding)


@given(point_columns(sorted(PLY_TYPES)), st.sampled_from([0, 1]))
def test_ply_reads_the_same_in_every_encoding(columns: list[Column], alias: int) -> None:
    check_every_encoding("ply", ply, PLY_ENCODINGS, columns, alias=alias)


@given(point_columns([*sorted(PLY_TYPES), "i8", "u8"]))
def test_pcd_reads_the_same_in_every_encoding(columns: list[Column]) -> None:
    check_every_encoding("pcd", pcd, PCD_ENCODINGS, columns)


@pytest.mark.parametrize(("format", "encoding", "write"), FORMATS)
@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (channels("u1"), RGB),
        (channels("u2"), RGB),  # 8-bit colours in 16-bit fields
        (channels("u2", RGB * np.uint16(257)), RGB),
        (channels("i4"), RGB),
        (channels("f4", RGB / 255), RGB),
        (channels("f8", RGB / 255), RGB),
        (channels("f4"), RGB),  # a float of 0 to 255
        (channels("u1", RGB > 127), RGB > 127),  # whole numbers up to 1 are no fractions
        (channels("u1", names=("diffuse_red", "diffuse_green", "diffuse_blue")), RGB),
        (channels("u1", names=("r", "g", "b")), RGB),
        (channels("u1")[::-1], RGB),
        ([("rgb", WORDS)], RGB),
        ([("rgb", WORDS.view("i4"))], RGB),
        ([("rgb", WORDS.view("f4"))], RGB),
        ([("RGB", WORDS)], RGB),
        ([("rgba", WORDS | np.uint32(0x7F000000))], RGB),
        ([("red", RGB[:, 0]), ("green", RGB[:, 1])], None),
        ([("intensity", RGB[:, 0])], None),
    ],
)
def test_colours(
    format: str, encoding: str, write: Write, columns: list[Column], expected: Array | None
) -> None:
    cloud = decode_point_cloud(write(columns + axes(), encoding), format)
    np.testing.assert_allclose(cloud.xyz, XYZ, atol=1e-6)
    if expected is None:
        assert cloud.rgb is None
    else:
        assert cloud.rgb is not None
        np.testing.assert_allclose(cloud.rgb, expected, atol=1e-4)


@pytest.mark.parametrize(("format", "encoding", "write"), FORMATS)
@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (channels("i1", -RGB.astype("i2").clip(0, 100)), "colour value is -100; expected 0 to 255"),
        (channels("u4", RGB * np.uint32(1000)), "colour value is 255000; expected 0 to 255"),
        (channels("u1")[:2] + channels("f4")[2:], "types uint8, uint8, float32; expected one"),
        ([("rgb", WORDS.astype("f8"))], "rgb has type float64; a packed colour has 4 bytes"),
        ([("rgb", RGB[:, 0])], "rgb has type uint8; a packed colour has 4 bytes"),
        (channels("u1") + channels("u1")[:1], "red has 2 values per point; expected 1"),
        (axes()[1:2], "y has 2 values per point; expected 1"),
    ],
)
def test_unclear_fields_are_refused_by_name(
    format: str, encoding: str, write: Write, columns: list[Column], message: str
) -> None:
    with pytest.raises(MediaDecodeError, match=message):
        read(write(axes() + columns, encoding), format)


def test_pcd_fields_of_several_values_and_padding_are_skipped() -> None:
    padding = np.zeros((20, 3), np.uint8)
    histogram = np.random.default_rng(2).uniform(size=(20, 33)).astype("f4")
    columns = [("_", padding), *axes("f8"), ("_", padding), ("vfh", histogram), ("rgb", WORDS)]
    for encoding in PCD_ENCODINGS:
        cloud = read(pcd(columns, encoding), "pcd")
        np.testing.assert_array_equal(cloud.xyz, XYZ)
        assert cloud.rgb is not None
        np.testing.assert_array_equal(cloud.rgb, RGB)
    with pytest.raises(MediaDecodeError, match="x has 2 values per point"):
        read(pcd([("x", XYZ[:, :2]), *axes()[1:]]), "pcd")


FACES = "element face 3\nproperty uchar flag\nproperty list {0} int vertex_indices\n"
FACE_TEXT = b"0 3 0 1 2\n\n1 0\n1 4 0 1 2 3\n"


def faces(order: str, length: str = "uchar", width: str = "u1") -> tuple[str, bytes]:
    body = b""
    for flag, corners in ((0, [0, 1, 2]), (1, []), (1, [0, 1, 2, 3])):
        body += bytes([flag]) + np.array(len(corners), order + width).tobytes()
        body += np.array(corners, order + "i4").tobytes()
    return FACES.format(length), body


@pytest.mark.parametrize("length", [("uchar", "u1"), ("short", "i2"), ("uint", "u4")])
def test_ply_elements_around_the_vertices_are_skipped(length: tuple[str, str]) -> None:
    columns = axes("f8") + channels("u1")
    for encoding, order in zip(PLY_ENCODINGS, ("", "<", ">"), strict=True):
        if encoding == "ascii":
            element = FACES.format(length[0]), FACE_TEXT
        else:
            element = faces(order, *length)
        plain = "element camera 2\nproperty float at\n", b"1\n2\n" if not order else bytes(8)
        both = plain[0] + element[0], plain[1] + element[1]
        cloud = read(ply(columns, encoding, before=both, after=element), "ply")
        np.testing.assert_array_equal(cloud.xyz, XYZ, err_msg=encoding)


@pytest.mark.parametrize("alpha", [0, 0xFF000000])
@pytest.mark.parametrize("shown", ["u4", "i4"])
def test_a_packed_colour_may_be_a_whole_number_whatever_its_type(alpha: int, shown: str) -> None:
    words = (WORDS | np.uint32(alpha)).view(shown)
    data = pcd([*axes("f4"), ("rgba", words)], "ascii")
    told = b"TYPE F F F " + shown[0].upper().encode()
    assert told in data
    np.testing.assert_array_equal(read(data.replace(told, b"TYPE F F F F"), "pcd").rgb, RGB)


def ply_text(rows: str, kind: str = "int") -> bytes:
    head = "ply\nformat ascii 1.0\nelement vertex 2\n"
    head += "".join(f"property {kind} {axis}\n" for axis in "xyz")
    return f"{head}end_header\n{rows}".encode()


def before(element: str, body: bytes = b"") -> bytes:
    return ply(axes(), before=(element, body))


NAN_COLOUR = pcd([*axes(), ("rgb", np.full(20, np.nan, "f4"))], "ascii")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (before(*faces("<"))[:-260], "ends before its vertices"),
        (ply_text("").replace(b"element v", b"element a 2\nproperty int b\nelement v"),
         "text ends before its vertices"),
        (before(FACES.format("float")), "length has the type 'float'"),
        (before(FACES.format("char"), b"\0\xff"), "list of length -1"),
        (before("element vertex 1\nproperty int a\n"), "2 elements named vertex"),
        (before("element a -1\nproperty int a\n"), "count '-1'"),
        (before("element a 1\nproperty list int a\n"), "property 'list int a'"),
        (ply([*axes(), ("n", XYZ[:, 0])]).replace(b"double n", b"list uchar int n"),
         "vertex property 'n' is a list"),
        (ply(axes()).replace(b"float x", b"float16 x"), "property type 'float16'"),
        (ply_text("0 0 0\n1 1 0.5\n"), "z has type int32 and the value 0.5"),
        (ply_text("0 0 0\n1 256 0\n", "uchar"), "y has type uint8 and the value 256"),
        (ply_text("0 0 nan\n1 1 0\n", "short"), "z has type int16 and the value nan"),
        (ply_text("0 0 0 0\n1 1 0 0\n"), "line 8 .* is '0 0 0 0': it has 4 values; expected 3"),
        (ply_text("0 0 0\n1 1 0\n1 1 1\n"), "declares 2 points, but has more lines of points"),
        (ply_text("0 0 0\n1 1 0\n9\n"), "line 10 .* is '9': it has 1 values; expected 3"),
        (pcd(axes(), "ascii") + b"1 1 1\n", "declares 20 points, but has more lines of points"),
        (pcd(axes("i2")).replace(b"TYPE I", b"TYPE F"), "TYPE 'F' and SIZE '2'"),
        (pcd(axes()).replace(b"SIZE 4", b"SIZE 3"), "TYPE 'F' and SIZE '3'"),
        (pcd(axes()).replace(b"COUNT 1", b"COUNT 0"), "expected 1 to 1024"),
        (NAN_COLOUR, "packed colour is nan"),
        (pcd(axes(), "binary_compressed")[:-1], r"at least 256 bytes of points, but .* 255"),
    ],
)  # fmt: skip
def test_bad_bodies_are_refused(data: bytes, message: str) -> None:
    with pytest.raises(MediaDecodeError, match=message):
        read(data, "ply" if data.startswith(b"ply") else "pcd")


def compressed(points: int, declared: int, stream: bytes, fields: str = "x y z") -> bytes:
    count = len(fields.split())
    head = f"FIELDS {fields}\nSIZE {'8 ' * count}\nTYPE {'F ' * count}\nWIDTH {points}\nHEIGHT 1\n"
    head += f"POINTS {points}\nDATA binary_compressed\n"
    return head.encode() + struct.pack("<II", len(stream), declared) + stream


def test_a_compressed_body_is_checked_before_it_is_allocated() -> None:
    literals = lzf_literals(bytes(240))
    assert read(compressed(10, 240, literals), "pcd").xyz.shape == (10, 3)
    with pytest.raises(MediaDecodeError, match=r"decompresses to 241 bytes, but .* declares 240"):
        read(compressed(10, 241, literals), "pcd")
    with pytest.raises(MediaDecodeError, match="248 bytes of LZF cannot decompress to 24000 bytes"):
        read(compressed(1000, 24_000, literals), "pcd")
    with pytest.raises(MediaTooLargeError, match="the limit is 1000"):
        read(compressed(1001, 24_024, literals), "pcd")
    size = 40_000 * 8 * 1003
    data = compressed(40_000, size, literals, "x y z vfh").replace(
        b"WID", b"COUNT 1 1 1 1000\nWID", 1
    )
    with pytest.raises(MediaTooLargeError, match=f"decompresses to {size} bytes; the limit is"):
        read_point_cloud(data, "pcd", CloudOptions(100_000))


@pytest.mark.parametrize("type_", ["f4", "f8"])
def test_a_signalling_nan_is_read_as_any_other(type_: str) -> None:
    bits = {"f4": b"\1\0\x80\x7f", "f8": b"\1\0\0\0\0\0\xf0\x7f"}[type_]
    values = np.frombuffer(bits * 20, "<" + type_)
    with pytest.raises(MediaDecodeError, match="none of the 20 points has finite"):
        decode_point_cloud(ply([("x", values), *axes()[1:]]), "ply")
    with pytest.raises(MediaDecodeError, match="a colour value is nan"):
        decode_point_cloud(ply([*axes(), *((n, values) for n in ("red", "green", "blue"))]), "ply")


def test_rows_before_the_vertices_are_limited() -> None:
    with pytest.raises(MediaTooLargeError, match="'face' before the vertices has 1001 rows"):
        read(before("element face 1001\nproperty uchar a\n", bytes(1001)), "ply")
