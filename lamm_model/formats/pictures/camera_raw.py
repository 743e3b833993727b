"""Tells camera raw files, most of which begin as a TIFF file does.

Their first directory describes a thumbnail, which must not be taken for the picture.
"""

from __future__ import annotations

from lamm_model.formats.pictures.tiff_header import (
    DNG_VERSION,
    MAKE,
    NEW_SUBFILE_TYPE,
    PHOTOMETRIC,
    SUB_DIRECTORIES,
    Read,
    first_directory,
)

# Colour filter array (TIFF/EP) and linear raw (DNG), values of PhotometricInterpretation.
_SENSOR = (32803, 34892)
_REDUCED = 1
_BY_MAKE = {
    "canon": "CR2 (Canon camera raw)",
    "nikon": "NEF (Nikon camera raw)",
    "sony": "ARW (Sony camera raw)",
    "pentax": "PEF (Pentax camera raw)",
    "samsung": "SRW (Samsung camera raw)",
    "hasselblad": "3FR (Hasselblad camera raw)",
    "phase one": "IIQ (Phase One camera raw)",
    "kodak": "DCR (Kodak camera raw)",
    "epson": "ERF (Epson camera raw)",
}


def camera_raw_name(read: Read) -> str | None:
    """What to call a camera raw file with the signature of TIFF; None for any other TIFF file."""
    if read(8, 2) == b"CR":
        return _BY_MAKE["canon"]
    directory = first_directory(read)
    if directory is None:
        return None
    if DNG_VERSION in directory.entries:
        return "DNG (camera raw)"
    nested = directory.nested()
    if all(one.value(PHOTOMETRIC) not in _SENSOR for one in (directory, *nested)):
        # Without a readable SubIFD: a thumbnail that has some is no page of a document either.
        is_thumbnail = directory.value(NEW_SUBFILE_TYPE) & _REDUCED
        if not (is_thumbnail and SUB_DIRECTORIES in directory.entries):
            return None
    make = directory.text(MAKE).lower()
    return next((name for word, name in _BY_MAKE.items() if word in make), "camera raw")
