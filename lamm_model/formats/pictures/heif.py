"""Readers of HEIC pictures, through libheif, and of AVIF pictures, through Pillow's libavif."""

from __future__ import annotations

import io
from typing import Any

from PIL import AvifImagePlugin, Image

from lamm_model.formats.errors import MediaDecodeError, MediaError, MediaFormatError
from lamm_model.formats.pictures.heif_header import HeifHeader, read_heif_header
from lamm_model.formats.pictures.orientation import upright
from lamm_model.formats.pictures.picture_kind import EXPECTED
from lamm_model.formats.pictures.picture_size import check_pixels

# One thread, as for all other formats: several pictures are decoded side by side.
AvifImagePlugin.DEFAULT_MAX_THREADS = 1

_MAX_SIDE = 32_768  # pixels: the limit of libavif and libheif
_CODINGS = {
    b"av01": "AV1 without the brand of AVIF",
    b"avc1": "H.264", b"jpeg": "JPEG", b"j2k1": "JPEG 2000", b"unci": "no compression",
    b"vvc1": "H.266", b"evc1": "EVC",
}  # fmt: skip
_DERIVED = (b"iden", b"iovl", b"grid")  # made of other items, whose coding the decoder finds


def read_heic(data: bytes, max_pixels: int) -> tuple[Image.Image, bool]:
    """The primary picture, upright, and whether the file asked for a turn.

    libheif rotates and reflects by the `irot` and `imir` properties. The EXIF orientation, which
    repeats them, is not applied again. Depth maps, gain maps and thumbnails are not read.

    Raises:
        MediaTooLargeError: more than `max_pixels`, or too long a side.
        MediaFormatError: the decoder is not installed, or the coding is not read.
        MediaDecodeError: corrupt or truncated, or no still picture.
    """
    header = _header(data, max_pixels)
    coding = b"hvc1" if header is None else header.coding
    if coding not in (b"hvc1", *_DERIVED):
        name = _CODINGS.get(coding, "unknown")
        raise MediaFormatError(f"the coding of the HEIF picture is {name}; expected HEVC")
    libheif = _libheif()
    try:
        image = _primary(libheif, data, max_pixels)
    except MediaError:
        raise
    except (ValueError, EOFError, SyntaxError, RuntimeError, OSError) as error:
        raise _broken("HEIC") from error
    return image, header is not None and header.is_turned


def read_avif(data: bytes, max_pixels: int) -> tuple[Image.Image, bool]:
    """As `read_heic`; of a sequence the first picture."""
    _header(data, max_pixels)
    if not AvifImagePlugin.SUPPORTED:
        raise MediaFormatError(
            "the picture is an AVIF file, and this server's Pillow is built without libavif; "
            f"{EXPECTED}"
        )
    try:
        image = AvifImagePlugin.AvifImageFile(io.BytesIO(data))
        check_pixels(*image.size, max_pixels, _MAX_SIDE)
        image.load()
    except MediaError:
        raise
    except (ValueError, EOFError, SyntaxError, RuntimeError, OSError) as error:
        raise _broken("AVIF") from error
    # Pillow gives `irot` and `imir` as the EXIF orientation, in place of the one in the file.
    return upright(image)


def _header(data: bytes, max_pixels: int) -> HeifHeader | None:
    """Checks the size that the file declares, before a decoder opens it."""
    header = read_heif_header(lambda at, count: data[at : at + count])
    if header is not None:
        check_pixels(header.width, header.height, max_pixels, _MAX_SIDE)
        if header.end > len(data):
            # libheif would leave missing tiles grey.
            raise MediaDecodeError(
                f"the picture is truncated: its data end at byte {header.end}, "
                f"but the file has {len(data)}"
            )
    return header


def _broken(name: str) -> MediaDecodeError:
    return MediaDecodeError(
        f"the {name} picture is corrupt or truncated, or has no still picture; "
        "if a viewer shows it, save it as JPEG or PNG"
    )


def _primary(libheif: Any, data: bytes, max_pixels: int) -> Image.Image:
    # In 8 bits, red first, without padding, with libheif's own limits; and one thread, as above.
    images = libheif.load_file(data, 1, True, False, True, True, "", False)
    primary = next((one for one in images if one is not None and one.primary), None)
    if primary is None:
        raise _broken("HEIC")
    (width, height), _ = primary.size_mode
    check_pixels(width, height, max_pixels, _MAX_SIDE)
    pixels = primary.data
    # Decoding may change the size.
    (width, height), mode = primary.size_mode
    check_pixels(width, height, max_pixels, _MAX_SIDE)
    return Image.frombytes(mode, (width, height), pixels, "raw", mode, primary.stride)


def _libheif() -> Any:
    """pi-heif's extension module.

    Its Python classes also read the metadata of each picture, which a malformed type crashes.

    Raises:
        MediaFormatError: pi-heif is not installed.
    """
    try:
        import _pi_heif  # noqa: PLC0415 - an extra
    except ImportError:
        raise MediaFormatError(
            f"the picture is a HEIC file, which needs the `heif` extra of this package; {EXPECTED}"
        ) from None
    return _pi_heif
