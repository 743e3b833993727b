"""E57, the exchange format of laser scanners (ASTM E2807), through pye57 and libE57Format.

All scans of a file are one cloud: each is moved by its pose. Intensities and pictures are not read.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lamm_model.formats.cloud import CloudOptions, FloatArray, RawCloud, raw_cloud
from lamm_model.formats.cloud_format import CloudFormat
from lamm_model.formats.e57_xml import SIGNATURE, check_xml, count_points
from lamm_model.formats.errors import MediaDecodeError, MediaFormatError
from lamm_model.formats.thinning import Thinning

Floats = npt.NDArray[np.float64]


def read_e57(data: bytes, options: CloudOptions) -> RawCloud:
    """See `CloudReader`. Points whose state is invalid are dropped.

    Colours are read if all scans have them, with limits. A file of more than `max_points` is
    thinned.

    Raises:
        MediaFormatError: pye57 is not installed.
    """
    try:
        from pye57 import libe57  # noqa: PLC0415 - an extra
    except ImportError:
        raise MediaFormatError("e57 files need the `e57` extra of this package") from None
    check_xml(data)
    # The library opens nothing but paths.
    memory = os.memfd_create("e57")
    try:
        with os.fdopen(memory, "wb", closefd=False) as stream:
            stream.write(data)
        image = libe57.ImageFile(f"/proc/self/fd/{memory}", "r")
        try:
            return _read(libe57, image, options)
        finally:
            image.close()
    finally:
        os.close(memory)


FORMATS: Mapping[str, CloudFormat] = {"e57": CloudFormat(read_e57, (SIGNATURE,), count_points)}

_CHUNK = 100_000
_LARGEST_COLOUR = 2.0**32
_CARTESIAN = ("cartesianX", "cartesianY", "cartesianZ")
_SPHERICAL = ("sphericalRange", "sphericalAzimuth", "sphericalElevation")
_CHANNELS = ("colorRed", "colorGreen", "colorBlue")


def _read(libe57: Any, image: Any, options: CloudOptions) -> RawCloud:
    root = image.root()
    nodes = root["data3D"] if root.isDefined("data3D") else ()
    scans = [_Scan(libe57, image, node) for node in nodes]
    thinning = Thinning(sum(scan.points for scan in scans), options.max_points)
    xyz = np.empty((thinning.kept, 3))
    has_rgb = all(scan.limits is not None for scan in scans)
    rgb = np.empty((thinning.kept, 3), np.float32) if has_rgb else None
    at = 0
    for scan in scans:
        first = at
        for points, colours in scan.chunks():
            held, rows = thinning.of(at, len(points))
            xyz[held] = points[rows]
            if rgb is not None:
                rgb[held] = colours[rows]
            at += len(points)
        if at - first != scan.points:
            raise MediaDecodeError(
                f"an e57 scan declares {scan.points} points, but has {at - first}"
            )
    return raw_cloud(xyz, rgb, lambda found: found, thinning.left_out)


class _Scan:
    """One scan; `limits` are its least and largest colour, or None if it has no known colours.

    Raises:
        MediaDecodeError: it has neither kind of coordinates, or its pose has no rotation.
    """

    def __init__(self, libe57: Any, image: Any, node: Any) -> None:
        self._libe57, self._image, self._points = libe57, image, node["points"]
        self.points: int = self._points.childCount()
        prototype = libe57.StructureNode(self._points.prototype())
        names = [prototype.get(index).elementName() for index in range(prototype.childCount())]
        self._axes = next((axes for axes in (_CARTESIAN, _SPHERICAL) if {*axes} <= {*names}), None)
        if self._axes is None:
            raise MediaDecodeError(
                f"an e57 scan has the fields {', '.join(names)[:200]}; expected "
                f"{', '.join(_CARTESIAN)} or {', '.join(_SPHERICAL)}"
            )
        kind = "cartesian" if self._axes == _CARTESIAN else "spherical"
        state = f"{kind}InvalidState"
        self._state = state if state in names else None
        self._turn, self._move = _pose(node)
        self.limits = _limits(node, prototype) if {*_CHANNELS} <= {*names} else None

    def chunks(self) -> Iterator[tuple[Floats, FloatArray]]:
        """Points [n, 3] in the file's frame, and colours [n, 3], 0-255; zeros if there are none."""
        assert self._axes is not None  # the constructor raises
        names = [*self._axes, *(_CHANNELS if self.limits else ()), *filter(None, [self._state])]
        size = max(1, min(_CHUNK, self.points))
        columns = {name: np.empty(size) for name in names}
        buffers = self._libe57.VectorSourceDestBuffer()
        for name, column in columns.items():
            buffers.append(
                self._libe57.SourceDestBuffer(self._image, name, column, size, True, True)
            )
        reader = self._points.reader(buffers)
        try:
            while found := reader.read():
                yield self._chunk({name: column[:found] for name, column in columns.items()})
        finally:
            reader.close()

    def _chunk(self, columns: Mapping[str, Floats]) -> tuple[Floats, FloatArray]:
        assert self._axes is not None
        first, second, third = (columns[name] for name in self._axes)
        if self._axes == _SPHERICAL:
            # Range, azimuth from the x axis, and elevation from the xy plane.
            flat = first * np.cos(third)
            first, second, third = (
                flat * np.cos(second), flat * np.sin(second), first * np.sin(third)
            )  # fmt: skip
        xyz = np.stack([first, second, third], axis=1) @ self._turn.T + self._move
        if self._state is not None:
            xyz[columns[self._state] != 0] = np.nan
        if self.limits is None:
            return xyz, np.zeros(xyz.shape, np.float32)
        low, high = self.limits
        shares = (np.stack([columns[name] for name in _CHANNELS], axis=1) - low) / (high - low)
        return xyz, (255.0 * shares.clip(0.0, 1.0)).astype(np.float32)


def _pose(node: Any) -> tuple[Floats, Floats]:
    """Rotation [3, 3] and translation [3] from the scan's frame to the file's."""
    turn, move = np.eye(3), np.zeros(3)
    if node.isDefined("pose/rotation"):
        w, x, y, z = _numbers(node["pose"]["rotation"], ("w", "x", "y", "z"))
        length = w * w + x * x + y * y + z * z
        if not (np.isfinite(length) and length > 0.0):
            raise MediaDecodeError(f"an e57 scan has the rotation {w:g} {x:g} {y:g} {z:g}")
        cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
        turn = np.eye(3) + 2.0 / length * (w * cross + cross @ cross)
    if node.isDefined("pose/translation"):
        move = np.array(_numbers(node["pose"]["translation"], ("x", "y", "z")))
    return turn, move


def _limits(node: Any, prototype: Any) -> tuple[Floats, Floats] | None:
    """Least and largest colours [3] that the scan or its fields declare; None if neither does."""
    if node.isDefined("colorLimits"):
        limits = node["colorLimits"]
        low, high = (
            np.array(_numbers(limits, [f"{name}{end}" for name in _CHANNELS]))
            for end in ("Minimum", "Maximum")
        )
    else:
        fields = [prototype[name] for name in _CHANNELS]
        low = np.array([float(field.minimum()) for field in fields])
        high = np.array([float(field.maximum()) for field in fields])
    # Floats without limits may have any value that their type has.
    with np.errstate(over="ignore", invalid="ignore"):
        known = (high > low) & (high - low <= _LARGEST_COLOUR)
    return (low, high) if known.all() else None


def _numbers(node: Any, names: Sequence[str]) -> list[float]:
    found = (node[name] for name in names)
    return [
        float(one.scaledValue() if hasattr(one, "scaledValue") else one.value()) for one in found
    ]
