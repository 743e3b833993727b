"""The registry of point-cloud formats: every module of `formats.clouds` adds its own."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping

from lamm_model.formats import clouds
from lamm_model.formats.cloud import CloudOptions, RawCloud
from lamm_model.formats.cloud_format import CloudFile, CloudFormat
from lamm_model.formats.errors import MediaDecodeError, MediaError, MediaFormatError


def discover_formats() -> Mapping[str, CloudFormat]:
    """Formats by name, in alphabetical order."""
    formats: dict[str, CloudFormat] = {}
    for module in pkgutil.iter_modules(clouds.__path__, f"{clouds.__name__}."):
        formats |= importlib.import_module(module.name).FORMATS
    return dict(sorted(formats.items()))


FORMATS = discover_formats()
# Those of `CloudFile` that only some formats take.
OPTIONAL_FIELDS = ("columns", "sample", "camera")


def check_fields(file: CloudFile) -> None:
    """Refuses fields that the file's format (one of `FORMATS`) does not take, or needs.

    Raises:
        MediaFormatError: the message names the field, and the formats that take it.
    """
    known = FORMATS[file.format]
    for name in OPTIONAL_FIELDS:
        given = getattr(file, name) is not None
        if name in known.needs and not given:
            raise MediaFormatError(f"`{name}` is missing; the format {file.format} needs it")
        if given and name not in known.fields:
            takers = ", ".join(taker for taker, one in FORMATS.items() if name in one.fields)
            raise MediaFormatError(
                f"`{name}` is only for the format {takers}; the format is {file.format}"
            )
    if known.metric and file.units != "m":
        raise MediaFormatError(
            f"`units` is {file.units}, but coordinates of the format {file.format} are metres"
        )


def read_point_cloud(data: bytes, format: str, options: CloudOptions) -> RawCloud:
    """The cloud in a file's bytes, in the file's own units and axes.

    Args:
        data: the file.
        format: one of `FORMATS`.
        options: the limit on the points, and how to read the file.

    Raises:
        MediaTooLargeError: more points than the limit.
        MediaDecodeError: corrupt, truncated, pickled or empty.
        MediaFormatError: `columns` is required and cannot be inferred.
        MemoryError: the cloud needs more memory than the process may have.
    """
    try:
        return FORMATS[format].read(data, options)
    except (MediaError, MemoryError):
        raise
    except Exception as error:
        # zipfile, zlib, tokenize and NumPy raise their own errors for corrupt bytes.
        raise MediaDecodeError(f"the {format} file is corrupt or truncated") from error
