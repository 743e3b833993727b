"""Camera raw files begin as TIFF files do, and are never read as their thumbnails."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import tifffile

from lamm_model.media import IMAGE_FORMATS, MediaFormatError, decode_image

THUMBNAIL = np.zeros((12, 16, 3), np.uint8)
SENSOR = np.zeros((120, 160), np.uint16)


def raw(make: str, *tags: tuple[Any, ...], nested: int = 1, **options: Any) -> bytes:
    """A thumbnail, with the sensor's values in a SubIFD, as most cameras write it."""
    stream = io.BytesIO()
    with tifffile.TiffWriter(stream) as writer:
        writer.write(
            THUMBNAIL, photometric="rgb", subfiletype=1, subifds=nested, metadata=None,
            extratags=[(271, "s", 0, make, True), *tags],
        )  # fmt: skip
        for _ in range(nested):
            writer.write(SENSOR, metadata=None, **options)
    return stream.getvalue()


FILES = {
    "DNG (camera raw)": raw("Apple", (50706, "B", 4, (1, 4, 0, 0), True), photometric="cfa"),
    "NEF (Nikon camera raw)": raw("NIKON CORPORATION", photometric="cfa"),
    "ARW (Sony camera raw)": raw("SONY", photometric="cfa", nested=2),
    # The sensor's values are not declared as such, but the first page is a thumbnail of another.
    "SRW (Samsung camera raw)": raw("SAMSUNG", photometric="minisblack"),
    "camera raw": raw("Nobody", photometric="cfa"),
}


@pytest.mark.parametrize("name", FILES)
def test_it_is_named(name: str) -> None:
    with pytest.raises(MediaFormatError) as refused:
        decode_image(FILES[name])
    assert str(refused.value) == (
        f"the picture is a {name} file; expected one of {', '.join(IMAGE_FORMATS)}"
    )


def test_a_picture_with_a_reduced_copy_is_read() -> None:
    stream = io.BytesIO()
    with tifffile.TiffWriter(stream) as writer:
        writer.write(THUMBNAIL + 9, photometric="rgb", subifds=1, metadata=None)
        writer.write(THUMBNAIL[::2, ::2], photometric="rgb", subfiletype=1, metadata=None)
    assert np.array_equal(np.asarray(decode_image(stream.getvalue())[0]), THUMBNAIL + 9)
