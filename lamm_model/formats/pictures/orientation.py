"""Turns a picture upright by the orientation in its EXIF data."""

from __future__ import annotations

from PIL import Image

_EXIF_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def upright(image: Image.Image) -> tuple[Image.Image, bool]:
    """The loaded picture as viewers show it, and whether it had to be turned."""
    turn = _UPRIGHT.get(_orientation(image))
    return (image, False) if turn is None else (image.transpose(turn), True)


def _orientation(image: Image.Image) -> int:
    try:
        value = image.getexif().get(_EXIF_ORIENTATION, 1)
    except Exception:
        # Broken EXIF data does not affect the pixels.
        return 1
    return value if isinstance(value, int) else 1
