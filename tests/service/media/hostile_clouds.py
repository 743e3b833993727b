"""Point clouds that mean harm, or are merely odd: each with what must come of it."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from lamm_model.conversation import Modality
from lamm_model.formats.cloud_format import CloudFile
from service.media.process import MediaJob
from tests.lamm_model.formats import point_files
from tests.service.chat_requests import npy
from tests.service.media.hostile_case import TRUNCATIONS, Case

Array = npt.NDArray[Any]
_XYZ = np.linspace(-1.0, 1.0, 120, dtype=np.float32).reshape(40, 3)


def cloud_cases() -> Iterator[Case]:
    """All of them."""
    for part in (_truncated, _numbers, _values, _lies, _arrays, _zips, _texts):
        yield from part()


def npz(compress: bool = True, **arrays: Any) -> bytes:
    """An npz file."""
    stream = io.BytesIO()
    (np.savez_compressed if compress else np.savez)(stream, **arrays)
    return stream.getvalue()


def ply(xyz: Array, *, points: int | None = None, text: bool = False) -> bytes:
    """A PLY file that announces `points`."""
    count = len(xyz) if points is None else points
    kind = "ascii" if text else "binary_little_endian"
    head = f"ply\nformat {kind} 1.0\nelement vertex {count}\n"
    head += "".join(f"property float {axis}\n" for axis in "xyz") + "end_header\n"
    return head.encode() + (_rows(xyz) if text else xyz.astype("<f4").tobytes())


def pcd(
    xyz: Array, *, points: int | None = None, text: bool = False, width: int | None = None
) -> bytes:
    """A PCD file that announces `points` and `width`."""
    count = len(xyz) if points is None else points
    head = "VERSION 0.7\nFIELDS x y z\nSIZE 4 4 4\nTYPE F F F\nCOUNT 1 1 1\n"
    head += f"WIDTH {count if width is None else width}\nHEIGHT 1\nVIEWPOINT 0 0 0 1 0 0 0\n"
    head += f"POINTS {count}\nDATA {'ascii' if text else 'binary'}\n"
    return head.encode() + (_rows(xyz) if text else xyz.astype("<f4").tobytes())


def _rows(xyz: Array) -> bytes:
    return "".join(" ".join(f"{value:.6g}" for value in row) + "\n" for row in xyz).encode()


def _columns(xyz: Array) -> list[point_files.Column]:
    return list(zip("xyz", xyz.T.astype("f8"), strict=True))


_WRITERS: dict[str, tuple[str, Callable[[Array], bytes]]] = {
    "npy": ("npy", npy),
    "npz": ("npz", lambda xyz: npz(xyz=xyz)),
    "ply": ("ply", ply),
    "ply text": ("ply", lambda xyz: ply(xyz, text=True)),
    "pcd": ("pcd", pcd),
    "pcd text": ("pcd", lambda xyz: pcd(xyz, text=True)),
    "ply big-endian": (
        "ply",
        lambda xyz: point_files.ply(_columns(xyz), "binary_big_endian"),
    ),
    "pcd compressed": (
        "pcd",
        lambda xyz: point_files.pcd(_columns(xyz), "binary_compressed"),
    ),
    "xyz": ("xyz", _rows),
    "bin": ("bin", lambda xyz: xyz.astype("<f4").tobytes()),
}


def _case(
    name: str,
    format: str,
    data: bytes,
    points: int | None,
    *,
    sure: bool = True,
    dropped: int = 0,
    **more: Any,
) -> Case:
    """`points` and `dropped` are the answer's; None where the cloud must be refused."""
    columns = 3 if format == "bin" else None
    job = MediaJob(Modality.POINT_CLOUD, data, CloudFile(format, **{"columns": columns, **more}))
    info = {} if points is None else {"points_in": points, "points_dropped": dropped}
    return Case(f"cloud: {name}", job, points is None if sure else None, info)


def _truncated() -> Iterator[Case]:
    for name, (format, write) in _WRITERS.items():
        data = write(_XYZ)
        for percent in TRUNCATIONS:
            cut = data[: len(data) * percent // 100]
            points: int | None = None
            sure = True
            if format == "bin" and len(cut) % 12 == 0:
                points = len(cut) // 12  # it is a smaller cloud
            if format == "xyz":
                points, sure = len(cut.splitlines()), False
            yield _case(f"{name} cut at {percent} %", format, cut, points, sure=sure)


def _numbers() -> Iterator[Case]:
    for name, (format, write) in _WRITERS.items():
        yield _case(f"{name} of no points", format, write(_XYZ[:0]), None)
        yield _case(f"{name} of one point", format, write(_XYZ[:1]), 1)
        yield _case(f"{name} of the same point", format, write(np.ones((50, 3), "f4")), 50)


def _values() -> Iterator[Case]:
    for name, (format, write) in _WRITERS.items():
        for value in (np.nan, np.inf, -np.inf, 3e38, -2e6):
            bad = _XYZ.copy()
            bad[7, 1] = value
            points = None if np.isfinite(value) else len(bad)
            yield _case(f"{name} with {value}", format, write(bad), points, dropped=1)
        nowhere = np.full((40, 3), np.nan, np.float32)
        yield _case(f"{name} of nan alone", format, write(nowhere), None)


def _lies() -> Iterator[Case]:
    many = 10_000_000
    head = npy(_XYZ)
    for shape in (
        b"(41, 3)", b"(39, 3)", b"(10000000, 3)", b"(40, -3)", b"(-40, 3)", b"(40, 3, 1)",
        b"(40,)", b"(40, 0)", b"()", b"(99999999999999999999, 3)", b"(True, 3)",
    ):  # fmt: skip
        padded = b"'shape': " + shape
        at = head.index(b"'shape'")
        end = head.index(b"\n", at)
        text = (head[:at] + padded + b", }").ljust(end)[:end] + head[end:]
        yield _case(f"npy of shape {shape.decode()}", "npy", text, None)
    for points in (41, 39, 0, -1, many, 10**18):
        for text_ in (False, True):
            kind = " text" if text_ else ""
            yield _case(f"ply{kind} of {points}", "ply", ply(_XYZ, points=points, text=text_), None,
                        sure=points != 39)  # fmt: skip
            yield _case(f"pcd{kind} of {points}", "pcd", pcd(_XYZ, points=points, text=text_), None,
                        sure=points != 39)  # fmt: skip
    yield _case("pcd of another width", "pcd", pcd(_XYZ, width=7), None)
    yield _case("pcd of a huge width", "pcd", pcd(_XYZ, width=2**63), None)
    yield _case("bin of 10^7 points", "bin", bytes(many * 3), None, sure=False)
    yield _case("xyz of very many lines", "xyz", b"0 0 0\n" * 4_100_000, None)


def _arrays() -> Iterator[Case]:
    good = {
        "float64": _XYZ.astype("f8"), "float16": _XYZ.astype("f2"),
        "big-endian": _XYZ.astype(">f4"),
        "int8": np.ones((40, 3), "i1"), "uint64": np.ones((40, 3), "u8"),
        "Fortran order": np.asfortranarray(_XYZ), "6 columns": np.ones((40, 6), "f4"),
        "7 columns": np.ones((40, 7), "f4"), "3 dimensions": _XYZ.reshape(5, 8, 3),
        "1 plane": _XYZ[None],
    }  # fmt: skip
    for name, array in good.items():
        yield _case(f"npy of {name}", "npy", npy(array), 40)
    bad = {
        "bool": np.ones((40, 3), "?"), "complex": np.ones((40, 3), "c8"),
        "text": np.full((40, 3), "x"), "bytes": np.full((40, 3), b"x"),
        "dates": np.zeros((40, 3), "M8[s]"), "records": np.zeros((40, 3), [("x", "f4")]),
        "1 dimension": _XYZ[:, 0], "4 dimensions": _XYZ[None, None], "2 columns": _XYZ[:, :2],
        "17 columns": np.ones((40, 17), "f4"), "colours below 0": np.full((40, 6), -1.0),
        "colours above 255": np.full((40, 6), 256.0), "empty": np.zeros((0, 3)),
    }  # fmt: skip
    for name, array in bad.items():
        yield _case(f"npy of {name}", "npy", npy(array), None)
    stream = io.BytesIO()
    np.save(stream, np.array([[{"x": 1}] * 3], dtype=object), allow_pickle=True)
    yield _case("npy of a pickle", "npy", stream.getvalue(), None)
    pickle = b"cos\nsystem\n(S'touch /tmp/harm'\ntR."
    for format in ("npy", "npz", "ply", "pcd", "xyz"):
        yield _case(f"pickle as {format}", format, pickle, None)
    for version in ((3, 0), (9, 9), (0, 0)):
        data = npy(_XYZ)
        yield _case(f"npy of version {version}", "npy", data[:6] + bytes(version) + data[8:], None)
    yield _case("npy with a header of 64 KiB", "npy",
                b"\x93NUMPY\x01\x00\xff\xff" + b"(" * 65_535, None)  # fmt: skip
    yield _case("npy that calls", "npy", npy(_XYZ).replace(b"'<f4'", b"exit()", 1), None)


def _zips() -> Iterator[Case]:
    zeros = np.zeros((10_000_000, 3), np.float32)
    yield _case("npz bomb of 10^7 points", "npz", npz(xyz=zeros), None)
    yield _case("npz of three arrays, one used", "npz", npz(a=zeros[:9], b=zeros[:9], c=zeros[:9]),
                None)  # fmt: skip
    yield _case("npz of colours that do not fit", "npz", npz(xyz=_XYZ, rgb=_XYZ[:5]), None)
    yield _case("npz of a pickle", "npz", npz(xyz=np.array([[{}] * 3], dtype=object)), None)
    yield _case("npz of text", "npz", npz(xyz=np.full((4, 3), "x")), None)
    for size in (0, 1, 10_000, 2**31):
        data = bytearray(npz(compress=False, xyz=_XYZ))
        at = data.rindex(b"PK\x01\x02")
        data[at + 24 : at + 28] = struct.pack("<I", size)
        yield _case(f"npz that announces {size} bytes", "npz", bytes(data), None, sure=False)
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for number in range(100):
            archive.writestr(f"{number}.npy", npy(_XYZ))
    yield _case("npz of a hundred arrays", "npz", stream.getvalue(), None)
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("../../etc/passwd.npy", npy(_XYZ))
    yield _case("npz with a path for a name", "npz", stream.getvalue(), 40)
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xyz.npy", zlib.compress(bytes(10_000_000), 9) * 20)
    yield _case("npz of a zip in a zip", "npz", stream.getvalue(), None)
    yield _case("npz that is empty", "npz", b"PK\x05\x06" + bytes(18), None)


def _texts() -> Iterator[Case]:
    for name, data in {
        "words": b"a b c\n", "two columns": b"1 2\n" * 9, "17 columns": b"1 " * 17 + b"\n",
        "ragged lines": b"1 2 3\n1 2\n", "one endless line": b"1 " * 1_000_000,
        "a huge number": b"9" * 100_000 + b" 0 0\n", "hex": b"0x1 0x2 0x3\n",
        "comments alone": b"# x\n" * 1000, "NUL bytes": bytes(1000),
        "UTF-16": "1 2 3\n".encode("utf-16"),
    }.items():  # fmt: skip
        yield _case(f"xyz of {name}", "xyz", data, None)
    yield _case("xyz with commas", "xyz", b"1,2,3\n" * 9, 9)
    yield _case("bin of 7 bytes", "bin", bytes(7), None)
    yield _case("bin of unknown columns", "bin", bytes(72), None, columns=None)
    yield _case("unknown format", "dwg", b"v 0 0 0\n", None)
    yield _case("obj of a point", "obj", b"v 0 0 0\n", 1)
    yield _case("ply of a list", "ply", ply(_XYZ).replace(b"float x", b"list uchar int x", 1), None)
    yield _case("ply of faces first", "ply", ply(_XYZ).replace(b"vertex", b"face", 1), None)
    yield _case("ply of unknown bytes", "ply", ply(_XYZ).replace(b"little", b"middle", 1), None)
    yield _case("ply with an endless header", "ply", b"ply\n" + b"comment x\n" * 200_000, None)
    yield _case(
        "pcd of huge fields", "pcd", pcd(_XYZ).replace(b"COUNT 1", b"COUNT 99999999", 1), None
    )
    yield _case("pcd that is compressed", "pcd",
                pcd(_XYZ).replace(b"DATA binary", b"DATA binary_compressed", 1), None)  # fmt: skip
