"""A cloud answers the same however it is written: what the encoder sees is that of a plain twin.

The twin is a float64 npy file near the origin. The other file has the same points in another
format, with other types, in another order of fields, in another encoding, far away, and with points
that are not finite among them.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lamm_model.formats.cloud import Array
from lamm_model.media import PreparedMedia, decode_point_cloud
from lamm_model.preprocessing import prepare_point_cloud
from lamm_model.spec import PointSpec
from tests.lamm_model.formats.point_files import (
    PCD_ENCODINGS,
    PLY_ENCODINGS,
    Column,
    pcd,
    ply,
    text_rows,
)

SPEC = PointSpec(64, 4, use_color=True, seed=3, max_offset=(0.5, 0.5, 0.1))
POINTS = 40
# Multiples of 1/128 m near any of the offsets are exact in float64, and near the origin in float32.
STEP = 128
OFFSETS = [
    (0.0, 0.0, 0.0), (3.0, 0.0, 0.0), (0.0, -7.0, 3.0), (900.0, 20.0, -400.0),
    (600_000.0, 200_000.0, 450.0), (-4e6, 5e5, 4.9e6),
]  # fmt: skip
NAN, INF = float("nan"), float("inf")


@dataclass(frozen=True)
class Written:
    """How a cloud is written."""

    format: str
    encoding: str
    coordinates: str
    colours: str
    order: tuple[int, ...]
    offset: tuple[float, float, float]
    bad: tuple[int, ...]
    bad_value: float


WRITERS = [
    *(("ply", encoding) for encoding in PLY_ENCODINGS),
    *(("pcd", encoding) for encoding in PCD_ENCODINGS),
    *(("csv", separator) for separator in (",", ";")),
    ("npy", "C"), ("npy", "F"), ("npy", "records"), ("npz", "xyz"), ("npz", "pc"), ("xyz", " "),
]  # fmt: skip


@st.composite
def writings(draw: st.DrawFn) -> Written:
    offset = draw(st.sampled_from(OFFSETS))
    near = max(map(abs, offset)) <= 1000
    format, encoding = draw(st.sampled_from(WRITERS))
    return Written(
        format,
        encoding,
        draw(st.sampled_from(["f4", "f8"] if near else ["f8"])),
        draw(st.sampled_from(["u1", "u2", "f4", "f8"])),
        tuple(draw(st.permutations(range(6)))),
        offset,
        tuple(draw(st.lists(st.integers(0, POINTS), max_size=5))),
        draw(st.sampled_from([NAN, INF, -INF])),
    )


def scan(seed: int) -> tuple[Array, Array]:
    """Points on the floor and around the origin, and their colours; both whole numbers."""
    random = np.random.default_rng(seed)
    xyz = random.integers(-60, 60, (POINTS, 3)) + np.array([0, 0, 60])
    xyz[0] = [-64, -64, 0]
    xyz[1] = [64, 64, 100]
    return xyz, random.integers(0, 256, (POINTS, 3))


def written(xyz: Array, rgb: Array, how: Written) -> bytes:
    """The file; coordinates are in metres."""
    points = xyz / STEP + np.array(how.offset)
    for row in how.bad:
        points = np.insert(points, row, [0.0, how.bad_value, 1.0], axis=0)
        rgb = np.insert(rgb, row, [1, 2, 3], axis=0)
    scale = {"u2": 257, "f4": 1 / 255, "f8": 1 / 255}.get(how.colours, 1)
    columns: list[Column] = [
        *((name, points[:, i].astype(how.coordinates)) for i, name in enumerate("xyz")),
        *((n, (rgb[:, i] * scale).astype(how.colours)) for i, n in enumerate("rgb")),
    ]
    ordered = [columns[index] for index in how.order]
    if how.format == "ply":
        return ply(ordered, how.encoding)
    if how.format == "pcd":
        return pcd(ordered, how.encoding)
    if how.format == "csv":
        head = how.encoding.join(name for name, _ in ordered)
        return f"{head}\n".encode() + text_rows(ordered).replace(b" ", how.encoding.encode())
    if how.format == "xyz":
        return text_rows([*columns[:3], *channels(rgb)])
    return numpy_file(columns, ordered, rgb, how)


def channels(rgb: Array) -> list[Column]:
    return [(name, rgb[:, index]) for index, name in enumerate("rgb")]


def numpy_file(columns: list[Column], ordered: list[Column], rgb: Array, how: Written) -> bytes:
    stream = io.BytesIO()
    xyz = np.stack([values for _, values in columns[:3]], axis=1)
    if how.format == "npz":
        arrays: dict[str, Any] = {how.encoding: xyz, "rgb": rgb, "other": rgb[:2]}
        np.savez(stream, **arrays)
    elif how.encoding == "records":
        layout = [(name, values.dtype) for name, values in ordered]
        table = np.zeros(len(xyz), layout)
        for name, values in ordered:
            table[name] = values
        np.save(stream, table)
    else:
        np.save(stream, np.asarray(np.hstack([xyz, rgb]), order=how.encoding))  # type: ignore[call-overload]
    return stream.getvalue()


def seen(data: bytes, format: str) -> PreparedMedia:
    return prepare_point_cloud(decode_point_cloud(data, format), SPEC)


PLAIN = Written("npy", "C", "f8", "u1", (0, 1, 2, 3, 4, 5), (0.0, 0.0, 0.0), (), NAN)


@given(writings(), st.integers(0, 100))
def test_a_file_and_its_plain_twin_are_the_same_to_the_encoder(how: Written, seed: int) -> None:
    xyz, rgb = scan(seed)
    twin = seen(written(xyz, rgb, PLAIN), "npy")
    media = seen(written(xyz, rgb, how), how.format)
    np.testing.assert_allclose(media.array, twin.array, atol=2e-5)
    info = media.info
    assert (info["points_in"], info["points_dropped"]) == (POINTS + len(how.bad), len(how.bad))
    np.testing.assert_allclose(info["shift"], -np.array(how.offset), atol=1e-6)
    np.testing.assert_allclose(info["bounds"][0], xyz.min(axis=0) / STEP + how.offset, atol=1e-4)
    np.testing.assert_allclose(info["bounds"][1], xyz.max(axis=0) / STEP + how.offset, atol=1e-4)
