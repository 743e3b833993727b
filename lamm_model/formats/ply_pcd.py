"""PLY and PCD: headers checked here, binary bodies read by open3d, text bodies by numpy.

Torch-free; called by `point_cloud_files`. open3d parses natively and believes what a header says,
so no file reaches it whose header announces more points than the limit or more bytes than the body
has. Text bodies never reach it: where a line cannot be parsed it returns uninitialised memory as
coordinates. open3d is optional (`lamm[points]`), is imported on first use and takes only paths, so
the bytes pass through a temporary file.
"""

from __future__ import annotations

import io
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lamm_model.formats.errors import MediaDecodeError, MediaDependencyError, MediaTooLargeError

Array = npt.NDArray[Any]

_MAX_HEADER = 1 << 16
_MAX_DIGITS = 15
# The widest descriptors in use (VFH) have 308 values a point.
_MAX_FIELD_VALUES = 1024
_PLY_SIZES = {
    "char": 1, "uchar": 1, "int8": 1, "uint8": 1,
    "short": 2, "ushort": 2, "int16": 2, "uint16": 2,
    "int": 4, "uint": 4, "int32": 4, "uint32": 4, "float": 4, "float32": 4,
    "double": 8, "float64": 8,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Header:
    """`names` are the columns of one point; `needed` is the least size of the body in bytes."""

    points: int
    names: tuple[str, ...]
    text: bool
    body: int
    needed: int
    packed_float: bool = False


def read_ply_or_pcd(data: bytes, format: str, max_points: int) -> tuple[Array, Array | None]:
    """Coordinates [N, 3] float64 and colours [N, 3] 0-255 (or None).

    Raises:
        MediaTooLargeError: the header announces more than `max_points` points.
        MediaDecodeError: header and body disagree.
        MediaDependencyError: a binary body, and open3d or a library it needs is missing.
    """
    header = _ply_header(data) if format == "ply" else _pcd_header(data)
    if header.points < 1:
        raise MediaDecodeError("the cloud is empty: 0 points; at least 1 is needed")
    if header.points > max_points:
        raise MediaTooLargeError(f"the cloud has {header.points} points; the limit is {max_points}")
    missing = {"x", "y", "z"} - set(header.names)
    if missing:
        raise MediaDecodeError(f"the {format} points lack {', '.join(sorted(missing))}")
    found = len(data) - header.body
    if header.needed > found:
        raise MediaDecodeError(
            f"the {format} header announces at least {header.needed} bytes; the body has {found}"
        )
    if header.text:
        return _read_text(data, header)
    return _read_binary(data, format, header.points)


def load_open3d() -> Any:
    """The open3d module.

    Raises:
        MediaDependencyError: it, or a shared library that it needs, is not installed.
    """
    try:
        import open3d  # noqa: PLC0415 - optional, and a second to import
    except ModuleNotFoundError as error:
        raise MediaDependencyError(
            "binary ply and pcd files need the package open3d, which is not installed here "
            "(pip install 'lamm[points]'); npy, npz, xyz and bin are read without it"
        ) from error
    except (ImportError, OSError) as error:
        raise MediaDependencyError(
            "open3d, which reads binary ply and pcd files, lacks a system library here "
            "(Debian: apt-get install libegl1 libgl1 libgomp1 libusb-1.0-0 libx11-6); "
            "npy, npz, xyz and bin are read without it"
        ) from error
    return open3d


def _read_binary(data: bytes, format: str, points: int) -> tuple[Array, Array | None]:
    open3d = load_open3d()
    with tempfile.TemporaryDirectory(prefix="lamm-") as directory:
        path = Path(directory) / f"cloud.{format}"
        path.write_bytes(data)
        with open3d.utility.VerbosityContextManager(open3d.utility.VerbosityLevel.Error):
            cloud = open3d.io.read_point_cloud(str(path), format=format)
    xyz = np.array(cloud.points, dtype=np.float64).reshape(-1, 3)
    if len(xyz) != points:
        raise MediaDecodeError(
            f"the {format} header announces {points} points; {len(xyz)} were read"
        )
    if not cloud.has_colors():
        return xyz, None
    # open3d holds colours as fractions of 255; whole numbers again, so that 1 stays 1.
    return xyz, np.rint(np.array(cloud.colors) * 255.0).clip(0, 255).astype(np.uint8)


def _read_text(data: bytes, header: _Header) -> tuple[Array, Array | None]:
    table = np.loadtxt(
        io.BytesIO(data[header.body :]),
        dtype=np.float64,
        comments=None,
        ndmin=2,
        max_rows=header.points,
    )
    if table.shape != (header.points, len(header.names)):
        raise MediaDecodeError(
            f"the header announces {header.points} points of {len(header.names)} values; "
            f"the text has {table.shape[0]} of {table.shape[1]}"
        )
    columns = dict(zip(header.names, table.T, strict=True))
    xyz = np.stack([columns[name] for name in ("x", "y", "z")], axis=1)
    packed = columns.get("rgb", columns.get("rgba"))
    if packed is not None:
        # PCL packs 0x00RRGGBB in the bits of a float32, or in an unsigned integer.
        bits = packed.astype(np.float32).view(np.uint32) if header.packed_float else packed
        words = bits.astype(np.uint32)
        return xyz, np.stack([(words >> shift) & 0xFF for shift in (16, 8, 0)], axis=1)
    if {"red", "green", "blue"} <= columns.keys():
        return xyz, np.stack([columns[name] for name in ("red", "green", "blue")], axis=1)
    return xyz, None


def _header_lines(data: bytes, format: str, last: bytes) -> tuple[list[list[str]], int]:
    """Words of each line up to the one beginning with `last`, and the offset of the body."""
    lines: list[list[str]] = []
    start = 0
    while True:
        end = data.find(b"\n", start, _MAX_HEADER)
        if end < 0:
            raise MediaDecodeError(
                f"the {format} header has no line {last.decode()} in its first {_MAX_HEADER} bytes"
            )
        line = data[start:end].strip()
        lines.append(line.decode("ascii", errors="replace").split())
        start = end + 1
        if line.startswith(last):
            return lines, start


def _count(text: str, format: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > _MAX_DIGITS:
        raise MediaDecodeError(
            f"the {format} header has the count {text[:32]!r}; it must be a number"
        )
    return int(text)


def _ply_header(data: bytes) -> _Header:
    """Turk, "The PLY Polygon File Format" (1994). Vertices must be the first element."""
    if not data.startswith(b"ply"):
        raise MediaDecodeError("the file does not begin with `ply`")
    lines, body = _header_lines(data, "ply", b"end_header")
    encoding, points, record = "", 0, 0
    names: list[str] = []
    elements: list[str] = []
    for words in lines:
        match words:
            case ["format", encoding, *_]:
                pass
            case ["element", name, count]:
                elements.append(name)
                if elements == ["vertex"]:
                    points = _count(count, "ply")
            case ["property", kind, name] if elements == ["vertex"]:
                if kind not in _PLY_SIZES:
                    raise MediaDecodeError(f"the ply header has the property type {kind[:32]!r}")
                names.append(name)
                record += _PLY_SIZES[kind]
            case ["property", *_] if elements == ["vertex"]:
                raise MediaDecodeError("the ply vertices have a list property; points have none")
    if elements[:1] != ["vertex"]:
        raise MediaDecodeError("the ply header's first element is not `vertex`")
    if encoding not in ("ascii", "binary_little_endian", "binary_big_endian"):
        raise MediaDecodeError(f"the ply header has the format {encoding[:32]!r}")
    text = encoding == "ascii"
    needed = points * len(names) * 2 - 1 if text else points * record
    return _Header(points, tuple(names), text, body, needed)


def _pcd_header(data: bytes) -> _Header:
    """PCL, "The PCD (Point Cloud Data) file format", version 0.7."""
    lines, body = _header_lines(data, "pcd", b"DATA")
    fields = {words[0]: words[1:] for words in lines if words}
    needs = ("FIELDS", "SIZE", "TYPE", "WIDTH", "HEIGHT", "POINTS", "DATA")
    missing = [name for name in needs if not fields.get(name)]
    if missing:
        raise MediaDecodeError(f"the pcd header lacks {', '.join(missing)}")
    width, height, points = (_count(fields[n][0], "pcd") for n in ("WIDTH", "HEIGHT", "POINTS"))
    if width * height != points:
        raise MediaDecodeError(f"the pcd header has {width} x {height} points and {points} POINTS")
    names, kinds = fields["FIELDS"], fields["TYPE"]
    counts = [_count(text, "pcd") for text in fields.get("COUNT", ["1"] * len(names))]
    sizes = [_count(text, "pcd") for text in fields["SIZE"]]
    if not len(counts) == len(sizes) == len(names) == len(kinds):
        raise MediaDecodeError("the pcd header's FIELDS, SIZE, TYPE and COUNT differ in length")
    if not all(1 <= count <= _MAX_FIELD_VALUES for count in counts):
        raise MediaDecodeError(
            f"the pcd header has COUNT {max(counts)}; a field holds 1 to {_MAX_FIELD_VALUES} values"
        )
    record = sum(size * count for size, count in zip(sizes, counts, strict=True))
    # A field of several values is that many columns of text, all under its name.
    columns = tuple(name for name, count in zip(names, counts, strict=True) for _ in range(count))
    packed_float = any(n in ("rgb", "rgba") and k == "F" for n, k in zip(names, kinds, strict=True))
    encoding = fields["DATA"][0]
    if encoding == "ascii":
        return _Header(points, columns, True, body, points * len(columns) * 2 - 1, packed_float)
    if encoding == "binary":
        return _Header(points, columns, False, body, points * record)
    if encoding == "binary_compressed":
        sizes_word = data[body : body + 8].ljust(8, b"\0")
        packed, unpacked = np.frombuffer(sizes_word, dtype="<u4").tolist()
        if unpacked != points * record:
            raise MediaDecodeError(
                f"the pcd body unpacks to {unpacked} bytes; the header announces {points * record}"
            )
        return _Header(points, columns, False, body, packed + 8)
    raise MediaDecodeError(f"the pcd header has the DATA {encoding[:32]!r}")
