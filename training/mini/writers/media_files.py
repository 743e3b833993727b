"""Encoding of pictures and clouds, and atomic writes."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image


def png_bytes(picture: npt.NDArray[np.uint8]) -> bytes:
    """Encodes a picture [H, W, 3] as PNG."""
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "PNG")
    return stream.getvalue()


def npy_bytes(points: npt.NDArray[np.float32]) -> bytes:
    """Encodes a cloud [N, 3] as npy."""
    stream = io.BytesIO()
    np.save(stream, points, allow_pickle=False)
    return stream.getvalue()


def write_atomic(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_bytes(content)
    os.replace(temporary, path)


def ply_bytes(points: npt.NDArray[np.float32]) -> bytes:
    """Encodes points [N, 3] in metres as ASCII PLY with millimetre precision."""
    header = f"ply\nformat ascii 1.0\nelement vertex {len(points)}\n"
    header += "".join(f"property float {axis}\n" for axis in "xyz") + "end_header\n"
    return (header + "".join(f"{x:.3f} {y:.3f} {z:.3f}\n" for x, y, z in points)).encode()
