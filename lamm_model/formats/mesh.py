"""Meshes as point clouds: their vertices, or points drawn evenly from their surface.

Shapes: V vertices, F faces (triangles), N points.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lamm_model.formats.cloud import CloudOptions, FloatArray, RawCloud, Sample, Surface, raw_cloud
from lamm_model.formats.errors import MediaDecodeError, MediaTooLargeError

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

# More than any checkpoint's input has, so that no encoder sees a point twice.
SURFACE_POINTS = 65_536
_SEED = 0


@dataclass(frozen=True, slots=True)
class Mesh:
    """`vertices` [V, 3] in the file's units, not always finite; `faces` [F, 3] index them from 0.

    `vertex_rgb` [V, 3] and `face_rgb` [F, 3] are float32, 0-255, or None; those of vertices go
    first. `dropped` counts the file's faces that are not among the F since they have fewer than
    three corners.
    """

    vertices: Floats
    faces: Integers
    vertex_rgb: FloatArray | None = None
    face_rgb: FloatArray | None = None
    dropped: int = 0


def check_mesh_size(count: int, what: str, format: str, max_points: int) -> None:
    """Refuses a mesh with more than `max_points` of `what`, vertices or faces."""
    if count > max_points:
        raise MediaTooLargeError(f"the {format} mesh has {count} {what}; the limit is {max_points}")


def check_faces(faces: Integers, vertices: int, format: str) -> None:
    """Refuses faces [F, 3] that refer to a vertex that is not there."""
    if len(faces) and not 0 <= faces.min() <= faces.max() < vertices:
        row, corner = np.argwhere((faces < 0) | (faces >= vertices))[0]
        raise MediaDecodeError(
            f"a face of the {format} file refers to vertex {faces[row, corner]} (from 0) of "
            f"{vertices}"
        )


def mesh_cloud(mesh: Mesh, format: str, options: CloudOptions, default: Sample) -> RawCloud:
    """The cloud of a mesh; `default` applies if the options do not say what to sample.

    The surface becomes `SURFACE_POINTS` points, or `max_points` if that is less. They are drawn
    with a fixed seed and evenly by area; colours are interpolated between vertices. A mesh without
    faces is its vertices.

    Raises:
        MediaTooLargeError: more faces, or vertices that become points, than `max_points`.
        MediaDecodeError: a face refers to a vertex that is not there, the mesh has no vertices, or
            the surface is asked for and there is none.
    """
    vertices, faces = mesh.vertices, mesh.faces
    check_mesh_size(len(faces), "faces", format, options.max_points)
    if not len(vertices):
        raise MediaDecodeError(f"the {format} file has 0 vertices; at least 1 is required")
    check_faces(faces, len(vertices), format)
    if not len(faces) and options.sample == "surface":
        raise MediaDecodeError(f"the {format} file has 0 faces, so it has no surface to sample")
    if not len(faces) or (options.sample or default) == "vertices":
        check_mesh_size(len(vertices), "vertices", format, options.max_points)
        return raw_cloud(vertices, mesh.vertex_rgb, lambda rgb: rgb)
    return _surface_cloud(mesh, format, min(SURFACE_POINTS, options.max_points))


def triangles(
    corners: Integers, sizes: Integers, format: str, max_faces: int
) -> tuple[Integers, Integers]:
    """Polygons as fans of triangles.

    Args:
        corners: the vertex indices of all polygons, one after the other.
        sizes: [P], the number of corners of each polygon.
        format: names the file in errors.
        max_faces: the limit on F.

    Returns:
        The faces [F, 3], and [F] the polygon of each. Polygons of fewer than three corners have
        none.

    Raises:
        MediaTooLargeError: more than `max_faces`.
    """
    parts = np.maximum(sizes - 2, 0)
    check_mesh_size(int(parts.sum()), "faces", format, max_faces)
    polygon = np.repeat(np.arange(len(sizes)), parts)
    first = (np.cumsum(sizes) - sizes)[polygon]
    second = first + 1 + np.arange(len(polygon)) - (np.cumsum(parts) - parts)[polygon]
    return corners[np.stack([first, second, second + 1], axis=1)], polygon


def draw_from_triangles(
    areas: Floats, count: int, rng: np.random.Generator
) -> tuple[Integers, Floats, Floats]:
    """Evenly drawn points: the triangle [N] and the weights u, v [N, 1] of each.

    The point is a + u (b - a) + v (c - a). `areas` [F] are finite, and one is above 0.
    """
    chosen = rng.choice(len(areas), count, p=areas / areas.sum())
    u, v = rng.random((2, count, 1))
    flip = u + v > 1
    return chosen, np.where(flip, 1 - u, u), np.where(flip, 1 - v, v)


def triangle_areas(corners: npt.NDArray[np.floating]) -> Floats:
    """[F] of corners [F, 3, 3]."""
    sides = corners[:, 1:] - corners[:, :1]
    areas: Floats = np.linalg.norm(np.cross(sides[:, 0], sides[:, 1]), axis=1) / 2
    return areas


def _surface_cloud(mesh: Mesh, format: str, count: int) -> RawCloud:
    # Corners that are not finite, or so far apart that their area is not.
    with np.errstate(over="ignore", invalid="ignore"):
        areas = triangle_areas(mesh.vertices[mesh.faces])
    good = np.isfinite(areas) & (areas > 0.0)
    surface = Surface(len(good) + mesh.dropped, len(good) + mesh.dropped - int(good.sum()))
    faces, areas = mesh.faces[good], areas[good]
    total = areas.sum()
    if not len(faces) or not np.isfinite(total):
        raise MediaDecodeError(
            f"the {format} mesh has {len(good)} faces with a total area of {total:g}; "
            "there is no surface to sample"
        )
    chosen, u, v = draw_from_triangles(areas, count, np.random.default_rng(_SEED))
    corners = faces[chosen]
    rgb: FloatArray | None = None
    if mesh.vertex_rgb is not None:
        rgb = _between(mesh.vertex_rgb.astype(np.float64), corners, u, v).astype(np.float32)
    elif mesh.face_rgb is not None:
        rgb = mesh.face_rgb[good][chosen]
    return RawCloud(_between(mesh.vertices, corners, u, v), rgb, 0, surface)


def _between(values: Floats, corners: Integers, u: Floats, v: Floats) -> Floats:
    """[N, 3]: values [V, 3] at the weights u, v of the corners [N, 3]."""
    a, b, c = (values[corners[:, index]] for index in range(3))
    return np.asarray(a + u * (b - a) + v * (c - a))
