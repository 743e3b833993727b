"""Files as content parts: each picture with the media type of its suffix."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from service.terminal.attachments import ChatError, image_part


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.png", "image/png"),
        ("a.JPG", "image/jpeg"),
        ("IMG_0001.HEIC", "image/heic"),
        ("scan.tif", "image/tiff"),
        ("a.avif", "image/avif"),
        ("raw.nef", "application/octet-stream"),
        ("none", "application/octet-stream"),
    ],
)
def test_a_picture_has_the_type_of_its_suffix(tmp_path: Path, name: str, kind: str) -> None:
    (tmp_path / name).write_bytes(b"content")
    text = base64.b64encode(b"content").decode()
    expected = {"type": "image_url", "image_url": {"url": f"data:{kind};base64,{text}"}}
    assert image_part(tmp_path / name) == expected


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ChatError, match=r"lost\.heic: No such file"):
        image_part(tmp_path / "lost.heic")
