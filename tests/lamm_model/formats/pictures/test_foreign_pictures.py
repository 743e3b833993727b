"""Pictures that other tools have written are read as they hold them; see fixtures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from lamm_model.conversation import Modality
from lamm_model.media import decode_image
from service.media.headers import WholeBytes, announced_size, kind_of_bytes

Array = npt.NDArray[Any]
ROOT = Path(__file__).resolve().parents[4]
FOLDER = Path(__file__).parent / "fixtures"
FILES = sorted(path for path in FOLDER.iterdir() if path.suffix in (".tif", ".heic", ".avif"))
GREY = ("grey", "float32")
# Largest mean difference of a sample; those that are not named are lossless.
TOLERANCE = {
    "imagemagick_jpeg.tif": 2.0,
    "imagemagick_palette.tif": 5.0,
    "imagemagick_ycbcr.tif": 2.0,
    "imagemagick_lab.tif": 2.0,
    "imagemagick_cmyk.tif": 0.1,
    "imagemagick_group4.tif": 0.5,
}
TURNED = {
    "exiftool_orientation6.tif", "exiftool_orientation7.tif", "avifenc_irot1.avif",
    "avifenc_imir1.avif", "pillow_heif_orientation2.heic", "pillow_heif_orientation6.heic",
}  # fmt: skip


def expected(path: Path) -> Array:
    """[H, W, 3], float."""
    source = FOLDER / "small.png" if path.suffix == ".tif" else ROOT / "examples/coat.png"
    with Image.open(source) as opened:
        image = opened.convert("L").convert("RGB") if is_grey(path) else opened.convert("RGB")
    pixels = np.asarray(image).astype(float)
    if path.stem.endswith("alpha"):
        corner = 1 if path.suffix == ".tif" else 4
        pixels[:corner, :corner] = 255.0
    if path.stem.endswith("group4"):
        pixels = np.where(pixels > 0.3 * 255, 255.0, 0.0)
    return pixels


def is_grey(path: Path) -> bool:
    return any(word in path.stem for word in (*GREY, "group4"))


@pytest.mark.parametrize("path", FILES, ids=[path.name for path in FILES])
def test_the_pixels_are_those_of_the_source(path: Path) -> None:
    image, info = decode_image(path.read_bytes())
    wanted = expected(path)
    found = np.asarray(image).astype(float)
    assert found.shape == wanted.shape
    difference = np.abs(found - wanted)
    lossy = 2.0 if path.suffix != ".tif" else 1.5 if is_grey(path) else 0.0
    assert difference.mean() <= TOLERANCE.get(path.name, lossy)
    assert np.all(found[0, 0] > 200) or not path.stem.endswith("alpha")
    assert info["format"] == {".tif": "TIFF", ".heic": "HEIC", ".avif": "AVIF"}[path.suffix]
    assert info["exif_orientation_applied"] is (path.name in TURNED)


@pytest.mark.parametrize("path", FILES, ids=[path.name for path in FILES])
def test_the_header_announces_the_size(path: Path) -> None:
    content = WholeBytes(path.read_bytes())
    assert announced_size(content, Modality.IMAGE) == (64 if path.suffix == ".tif" else 256) ** 2
    assert kind_of_bytes(content, "") == (Modality.IMAGE, "")


def test_there_are_files_of_each_kind() -> None:
    kinds = [path.suffix for path in FILES]
    assert (kinds.count(".tif"), kinds.count(".heic"), kinds.count(".avif")) == (22, 8, 6)
    assert all(path.stat().st_size <= 20_000 for path in FILES)
