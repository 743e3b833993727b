"""The registry of point-cloud readers: every module of `formats.clouds` adds its suffixes."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping

from lamm_model.formats import clouds
from lamm_model.formats.cloud import CloudOptions, CloudReader, RawCloud
from lamm_model.formats.errors import MediaDecodeError, MediaError


def discover_readers() -> Mapping[str, CloudReader]:
    """Readers by file suffix, in alphabetical order."""
    readers: dict[str, CloudReader] = {}
    for module in pkgutil.iter_modules(clouds.__path__, f"{clouds.__name__}."):
        readers |= importlib.import_module(module.name).READERS
    return dict(sorted(readers.items()))


_READERS = discover_readers()
FORMATS = tuple(_READERS)


def read_point_cloud(data: bytes, format: str, options: CloudOptions) -> RawCloud:
    """The cloud in a file's bytes, in the file's own units and axes.

    Args:
        data: the file.
        format: one of `FORMATS`.
        options: the limit on the points, and `columns` of a file without a header.

    Raises:
        MediaTooLargeError: more points than the limit.
        MediaDecodeError: corrupt, truncated, pickled or empty.
        MediaFormatError: `columns` is required and cannot be inferred.
        MemoryError: the cloud needs more memory than the process may have.
    """
    try:
        return _READERS[format](data, options)
    except (MediaError, MemoryError):
        raise
    except Exception as error:
        # zipfile, zlib, tokenize and NumPy raise their own errors for corrupt bytes.
        raise MediaDecodeError(f"the {format} file is corrupt or truncated") from error
