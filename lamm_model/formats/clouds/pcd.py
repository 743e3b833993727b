"""PCD: text, binary and LZF-compressed (PCL, "The PCD (Point Cloud Data) file format", 0.7)."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import accumulate

import numpy as np

from lamm_model.formats.cloud import CloudOptions, RawCloud, check_count
from lamm_model.formats.cloud_format import CloudFormat, header_number
from lamm_model.formats.errors import MediaDecodeError, MediaTooLargeError
from lamm_model.formats.fields import Field, PointFields, check_body, header_count, header_lines
from lamm_model.formats.lzf import MAX_RATIO, lzf_decompress
from lamm_model.formats.text_table import BOM


def read_pcd(data: bytes, options: CloudOptions) -> RawCloud:
    """See `CloudReader`."""
    data = data.removeprefix(BOM)
    lines, body = header_lines(data, "pcd", b"DATA")
    header = {words[0]: words[1:] for words in lines if words}
    missing = [name for name in _REQUIRED if not header.get(name)]
    if missing:
        raise MediaDecodeError(f"the pcd header has no {', '.join(missing)}")
    points = _points(header)
    check_count(points, options.max_points)
    fields = PointFields(_fields(header), "pcd")
    found, size = len(data) - body, points * fields.record.itemsize
    encoding = header["DATA"][0]
    if encoding == "ascii":
        check_body(points * fields.columns * 2 - 1, found, "pcd")
        return fields.from_text(data[body:], points, 1 + data.count(b"\n", 0, body))
    if encoding == "binary":
        check_body(size, found, "pcd")
        return fields.from_binary(data, body, points)
    if encoding == "binary_compressed":
        return _from_blocks(_decompressed(data, body, size), fields, points)
    raise MediaDecodeError(
        f"the pcd header has DATA {encoding[:32]!r}; expected ascii, binary or binary_compressed"
    )


FORMATS: Mapping[str, CloudFormat] = {
    "pcd": CloudFormat(read_pcd, (b"# .PCD",), header_number(rb"^POINTS[ \t]+(\d{1,18})[ \t\r]*$"))
}

_REQUIRED = ("FIELDS", "SIZE", "TYPE", "WIDTH", "HEIGHT", "POINTS", "DATA")
# The widest descriptors in use (VFH) have 308 values per point.
_MAX_FIELD_VALUES = 1024
_MAX_DECOMPRESSED = 256 * 1024 * 1024
_LENGTHS = 8
_TYPES = frozenset({"I1", "I2", "I4", "I8", "U1", "U2", "U4", "U8", "F4", "F8"})


def _points(header: Mapping[str, list[str]]) -> int:
    width, height, points = (
        header_count(header[name][0], "pcd") for name in ("WIDTH", "HEIGHT", "POINTS")
    )
    if width * height != points:
        raise MediaDecodeError(
            f"the pcd header has POINTS {points}, but WIDTH x HEIGHT is {width} x {height}"
        )
    return points


def _fields(header: Mapping[str, list[str]]) -> list[Field]:
    names, sizes, kinds = header["FIELDS"], header["SIZE"], header["TYPE"]
    counts = [header_count(text, "pcd") for text in header.get("COUNT", ["1"] * len(names))]
    if not len(counts) == len(sizes) == len(kinds) == len(names):
        raise MediaDecodeError("the pcd header's FIELDS, SIZE, TYPE and COUNT differ in length")
    if not all(1 <= count <= _MAX_FIELD_VALUES for count in counts):
        raise MediaDecodeError(
            f"the pcd header has COUNT {max(counts)}; expected 1 to {_MAX_FIELD_VALUES}"
        )
    types = [kind.upper() + size for kind, size in zip(kinds, sizes, strict=True)]
    unknown = next((type_ for type_ in types if type_ not in _TYPES), None)
    if unknown is not None:
        raise MediaDecodeError(
            f"the pcd header has a field of TYPE {unknown[:1]!r} and SIZE {unknown[1:][:32]!r}; "
            f"expected one of {', '.join(sorted(_TYPES))}"
        )
    return [
        Field(name, np.dtype(f"<{type_.lower()}"), count)
        for name, type_, count in zip(names, types, counts, strict=True)
    ]


def _decompressed(data: bytes, body: int, size: int) -> bytes:
    check_body(_LENGTHS, len(data) - body, "pcd")
    packed, declared = np.frombuffer(data, "<u4", count=2, offset=body).tolist()
    if declared != size:
        raise MediaDecodeError(
            f"the pcd body decompresses to {declared} bytes, but the header declares {size}"
        )
    if size > _MAX_DECOMPRESSED:
        raise MediaTooLargeError(
            f"the pcd body decompresses to {size} bytes; the limit is {_MAX_DECOMPRESSED}"
        )
    check_body(packed + _LENGTHS, len(data) - body, "pcd")
    if size > packed * MAX_RATIO:
        raise MediaDecodeError(f"{packed} bytes of LZF cannot decompress to {size} bytes")
    start = body + _LENGTHS
    return lzf_decompress(data[start : start + packed], size)


def _from_blocks(body: bytes, fields: PointFields, points: int) -> RawCloud:
    """The cloud of a body that has all points' values of the first field, then of the next."""
    sizes = (points * field.count * field.type.itemsize for field in fields.fields)
    starts = list(accumulate(sizes, initial=0))
    return fields.cloud(
        lambda index: np.frombuffer(
            body, fields.fields[index].type, count=points, offset=starts[index]
        )
    )
