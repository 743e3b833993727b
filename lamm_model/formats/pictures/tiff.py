"""Reader of the first page of TIFF files, through Pillow and libtiff.

The layout of the samples and the places of the pixels are checked before anything is decoded.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image, TiffImagePlugin

from lamm_model.formats.errors import MediaDecodeError, MediaFormatError, MediaTooLargeError
from lamm_model.formats.pictures.picture_size import check_pixels
from lamm_model.formats.pictures.tiff_header import (
    BITS,
    COMPRESSION,
    HEIGHT,
    NEW_SUBFILE_TYPE,
    ORIENTATION,
    PHOTOMETRIC,
    PLANES,
    SAMPLE_FORMAT,
    SAMPLES,
    STRIP_BYTES,
    STRIP_OFFSETS,
    TILE_BYTES,
    TILE_HEIGHT,
    TILE_OFFSETS,
    TILE_WIDTH,
    WIDTH,
    TiffDirectory,
    first_directory,
)

# Pillow's own reader of uncompressed files takes separate planes of 16 bits for planes of 8.
TiffImagePlugin.READ_LIBTIFF = True

_EXPECTED = (
    "expected bilevel, 8-bit grey or RGB (with or without alpha), CMYK, YCbCr, L*a*b* or palette, "
    "16-bit grey, RGB(A) or CMYK, or 32-bit float grey"
)
_RANGE = "expected 0 to 1, or 0 to 255"
_COMPRESSIONS = {
    1: "none", 2: "CCITT RLE", 3: "CCITT group 3", 4: "CCITT group 4", 5: "LZW", 7: "JPEG",
    8: "deflate", 32773: "PackBits", 32946: "deflate", 34925: "LZMA", 50000: "Zstandard",
}  # fmt: skip
_OPTIONAL = (34925, 50000)  # parts of libtiff that a build of Pillow may lack
_UNREAD_COMPRESSIONS = {
    6: "old-style JPEG", 33003: "JPEG 2000", 33004: "JPEG 2000", 33005: "JPEG 2000",
    34712: "JPEG 2000", 34887: "LERC", 50001: "WebP", 50002: "JPEG XL", 52546: "JPEG XL",
}  # fmt: skip
_COLOURS = {
    0: "grey", 1: "grey", 2: "RGB", 3: "palette", 4: "mask", 5: "CMYK", 6: "YCbCr", 8: "L*a*b*",
    9: "L*a*b*", 10: "L*a*b*", 32844: "LogL", 32845: "LogLuv",
}  # fmt: skip
_NUMBERS = {1: "unsigned", 2: "signed", 3: "float", 5: "complex", 6: "complex"}
_SIGNED, _FLOAT = 2, 3
_WHITE_IS_ZERO = 0
_REDUCED = 1
_SEPARATE = 2
# Strips or tiles of a page, more than the most rows; and pixels that any tile may have.
_MAX_PARTS = 1 << 18
_MIN_TILE_LIMIT = 1 << 20
_BYTE_MAX = 255.0
# Floats of up to 2 are a range of 0 to 1 that something has overshot, or a black picture.
_UNCLEAR = 2.0


def read_tiff(data: bytes, max_pixels: int) -> tuple[Image.Image, bool]:
    """The first page, upright, and whether its orientation tag asked for a turn.

    Grey of more than 8 bits is scaled to 8 by its range: the high byte of 16 bits. Float grey has
    values from 0 to 1, or from 0 to 255 if one is 2 or more.

    Raises:
        MediaTooLargeError: more than `max_pixels`, also in one tile, or too long a side.
        MediaFormatError: samples or a compression that are not read.
        MediaDecodeError: corrupt or truncated, or floats outside of these ranges.
    """
    page = first_directory(lambda at, count: data[at : at + count])
    if page is None or page.tag_bytes(len(data)) > len(data):
        raise MediaDecodeError("the TIFF picture is corrupt or truncated: its tags cannot be read")
    check_pixels(page.value(WIDTH), page.value(HEIGHT), max_pixels)
    _check_layout(page)
    _check_parts(page, len(data), max_pixels)
    try:
        image = _Page(io.BytesIO(data))
    except (SyntaxError, KeyError) as error:
        raise _unread(page) from error
    # 32-bit integers; and Pillow loses an alpha plane beside a grey one.
    if image.mode == "I" or (page.value(PLANES) == _SEPARATE and image.mode in ("LA", "La", "PA")):
        raise _unread(page)
    check_pixels(*image.size, max_pixels)
    try:
        image.load()
    except Image.DecompressionBombError as error:
        raise MediaTooLargeError(
            f"the TIFF picture is {image.width} x {image.height} pixels; its decoder takes fewer"
        ) from error
    except OSError as error:
        compression = page.value(COMPRESSION, 1)
        if compression not in _OPTIONAL:
            raise
        raise MediaDecodeError(
            "the TIFF picture is corrupt or truncated, or this server's libtiff is built without "
            f"its compression, {_COMPRESSIONS[compression]}"
        ) from error
    return _in_bytes(image, page), page.value(ORIENTATION) in range(2, 9)


class _Page(TiffImagePlugin.TiffImageFile):
    def load(self) -> Any:
        """Decodes the pixels."""
        if self.mode == "F":
            # libtiff brings floats into this machine's byte order; Pillow expects the file's.
            self.tile = [
                tile._replace(args=("F;32NF", *tile.args[1:]))
                for tile in self.tile
                if isinstance(tile.args, tuple)
            ]
        return super().load()

    def getexif(self) -> Image.Exif:
        """The orientation alone, by which Pillow turns the picture when it loads it.

        The rest is in other directories, which may be anywhere in the file.
        """
        exif = Image.Exif()
        if ORIENTATION in self.tag_v2:
            exif[ORIENTATION] = self.tag_v2[ORIENTATION]
        return exif


def _check_layout(page: TiffDirectory) -> None:
    if page.value(NEW_SUBFILE_TYPE) & _REDUCED:
        raise MediaFormatError(
            "the first page of the TIFF picture is a reduced copy of another; "
            "expected the picture itself on the first page"
        )
    if page.is_big and page.order == ">":
        raise MediaFormatError(
            "the TIFF picture is a big-endian BigTIFF file; expected a little-endian one"
        )
    compression = page.value(COMPRESSION, 1)
    if compression not in _COMPRESSIONS:
        name = _UNREAD_COMPRESSIONS.get(compression, f"number {compression}")
        known = ", ".join(dict.fromkeys(_COMPRESSIONS.values()))
        raise MediaFormatError(
            f"the TIFF picture has the compression {name}; expected one of {known}"
        )
    if _SIGNED in page.values(SAMPLE_FORMAT):
        raise _unread(page)


def _check_parts(page: TiffDirectory, file_size: int, max_pixels: int) -> None:
    """That tiles have a sane size, and that all strips or tiles end in the file.

    Missing ones would be filled with grey by some decoders, and reported by none.
    """
    tiled = TILE_OFFSETS in page.entries
    if tiled:
        width, height = page.value(TILE_WIDTH), page.value(TILE_HEIGHT)
        if width * height > max(max_pixels, _MIN_TILE_LIMIT):
            raise MediaTooLargeError(
                f"the TIFF picture has tiles of {width} x {height} pixels; "
                f"the limit is {max_pixels}"
            )
    tag, sizes_tag = (TILE_OFFSETS, TILE_BYTES) if tiled else (STRIP_OFFSETS, STRIP_BYTES)
    entry = page.entries.get(tag)
    if entry is None:
        raise MediaDecodeError("the TIFF picture has neither strips nor tiles of pixels")
    if entry.count > _MAX_PARTS:
        raise MediaTooLargeError(
            f"the TIFF picture has {entry.count} strips or tiles; the limit is {_MAX_PARTS}"
        )
    offsets, sizes = page.values(tag, _MAX_PARTS), page.values(sizes_tag, _MAX_PARTS)
    if len(offsets) < entry.count or not sizes:
        raise MediaDecodeError(
            "the TIFF picture is corrupt or truncated: it does not say where its pixels are"
        )
    end = max(at + size for at, size in zip(offsets, sizes, strict=False))
    if end > file_size:
        raise MediaDecodeError(
            f"the TIFF picture is truncated: its pixels end at byte {end}, "
            f"but the file has {file_size}"
        )


def _unread(page: TiffDirectory) -> MediaFormatError:
    """The refusal of samples that Pillow cannot decode."""
    bits = page.values(BITS) or (1,)
    number = _NUMBERS.get(page.value(SAMPLE_FORMAT, 1), "undefined")
    colour = _COLOURS.get(page.value(PHOTOMETRIC), "unknown colours")
    return MediaFormatError(
        f"the TIFF picture has {page.value(SAMPLES, 1)} x {bits[0]}-bit {number} samples "
        f"({colour}); {_EXPECTED}"
    )


def _in_bytes(image: Image.Image, page: TiffDirectory) -> Image.Image:
    """Grey of more than 8 bits in 8; other pictures as they are."""
    inverted = page.value(PHOTOMETRIC) == _WHITE_IS_ZERO
    if image.mode == "F":
        return Image.fromarray(_from_floats(image, inverted))
    if image.mode.startswith("I;16"):
        grey = (np.asarray(image) >> (page.value(BITS, 16) - 8)).astype(np.uint8)
        return Image.fromarray(~grey if inverted else grey)
    return image.convert("LA") if image.mode == "La" else image


def _from_floats(image: Image.Image, inverted: bool) -> np.ndarray:
    """[H, W] uint8."""
    values = np.asarray(image)
    if not np.isfinite(values).all():
        count = int(values.size - np.isfinite(values).sum())
        raise MediaDecodeError(
            f"the TIFF picture has {count} float samples that are not finite; {_RANGE}"
        )
    low, high = float(values.min()), float(values.max())
    if low < 0.0 or high > _BYTE_MAX or 1.0 < high < _UNCLEAR:
        raise MediaDecodeError(
            f"the TIFF picture has float samples from {low:.9g} to {high:.9g}; {_RANGE}"
        )
    scaled = np.rint(values * _BYTE_MAX if high <= 1.0 else values)
    return (_BYTE_MAX - scaled if inverted else scaled).astype(np.uint8)
