"""Sizes are read from headers as the decoders read them, and no header can do harm."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lamm_model.conversation import Modality
from service.media.headers import (
    Base64Bytes,
    FileBytes,
    WholeBytes,
    announced_size,
    kind_of_bytes,
)

BEGINNINGS = [
    b"\x89PNG\r\n\x1a\n",
    b"\xff\xd8\xff",
    b"GIF89a",
    b"BM",
    b"RIFF0123WEBP",
    b"\x93NUMPY",
]


def picture(format: str, width: int = 7, height: int = 5, **options: object) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (width, height), "red").save(stream, format, **options)
    return stream.getvalue()


def array(shape: tuple[int, ...]) -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.zeros(shape, np.float32))
    return stream.getvalue()


PICTURES = {
    "png": picture("PNG"),
    "jpeg": picture("JPEG"),
    "progressive jpeg": picture("JPEG", progressive=True),
    "jpeg after a long comment": picture("JPEG", comment=bytes(60_000)),
    "gif": picture("GIF"),
    "bmp": picture("BMP"),
    "lossy webp": picture("WEBP"),
    "lossless webp": picture("WEBP", lossless=True),
    "webp with extras": picture("WEBP", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0"),
}
PLY = b"ply\nformat ascii 1.0\ncomment element vertex 9\nelement vertex 12\nend_header\n"
PCD = b"# .PCD v0.7\nVERSION 0.7\nWIDTH 12\nHEIGHT 1\nPOINTS 12\nDATA ascii\n"


@pytest.mark.parametrize("content", PICTURES.values(), ids=PICTURES)
def test_pictures(content: bytes, tmp_path: Path) -> None:
    text = base64.b64encode(content).decode()
    path = tmp_path / "medium"
    path.write_bytes(content)
    with path.open("rb") as stream:
        for medium in (
            WholeBytes(content), Base64Bytes(text), FileBytes(stream, len(content))
        ):  # fmt: skip
            assert announced_size(medium, Modality.IMAGE) == 35
            assert medium.size == len(content)


@pytest.mark.parametrize(
    ("content", "format", "columns", "points"),
    [
        (array((12, 3)), "npy", None, 12),
        (array((12, 6)), "npy", None, 12),
        (PLY, "ply", None, 12),
        (PLY.replace(b"\n", b"\r\n"), "ply", None, 12),
        (PCD, "pcd", None, 12),
        (bytes(12 * 3 * 5), "bin", None, 15),
        (bytes(12 * 4 * 6), "bin", 6, 12),
        (bytes(24 * 5), "bin", None, None),
        (b"1 2 3\n" * 12, "xyz", None, None),
        (b"PK\3\4", "npz", None, None),
        (b"", "obj", None, None),
    ],
)
def test_clouds(content: bytes, format: str, columns: int | None, points: int | None) -> None:
    text = base64.b64encode(content).decode()
    for medium in (WholeBytes(content), Base64Bytes(text)):
        assert announced_size(medium, Modality.POINT_CLOUD, format, columns) == points


@given(st.sampled_from(BEGINNINGS), st.binary(max_size=200), st.sampled_from(["npy", "ply", "bin"]))
def test_bytes_of_any_kind_are_only_read(beginning: bytes, rest: bytes, format: str) -> None:
    content = beginning + rest
    for modality in Modality:
        size = announced_size(WholeBytes(content), modality, format)
        assert size is None or size >= 0
        text = base64.b64encode(content).decode()
        assert announced_size(Base64Bytes(text), modality, format) == size


@pytest.mark.parametrize("text", ["", "=", "ab", "\u00e9" * 40, "iVBORw0KGgo\u00e9" * 9, "####"])
def test_text_that_is_no_base64_announces_nothing(text: str) -> None:
    assert announced_size(Base64Bytes(text), Modality.IMAGE) is None


def test_a_jpeg_of_fill_bytes_or_endless_segments_ends() -> None:
    for content in (b"\xff\xd8" + b"\xff" * 100_000, b"\xff\xd8" + b"\xff\xe0\0\0" * 100_000):
        assert announced_size(WholeBytes(content), Modality.IMAGE) is None


@pytest.mark.parametrize(
    ("content", "suffix", "kind"),
    [
        (PLY, "bin", (Modality.POINT_CLOUD, "ply")),
        (array((12, 3)), "bin", (Modality.POINT_CLOUD, "npy")),
        (b"\x89PNG\r\n\x1a\n", "bin", (Modality.IMAGE, "")),
        (b"BM\x80\x3f" + bytes(8), "bmp", (Modality.IMAGE, "")),
        (b"BM\x80\x3f" + bytes(8), "bin", None),
        (b"\xff\xd8\xff\x3f" + bytes(8), "bin", None),
    ],
)
def test_raw_floats_may_begin_like_a_picture(
    content: bytes, suffix: str, kind: tuple[Modality, str] | None
) -> None:
    """1.0024 and 1.9988 begin as BMP and JPEG do; no coordinate begins as a longer signature."""
    assert kind_of_bytes(WholeBytes(content), suffix) == kind
