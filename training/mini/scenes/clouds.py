"""Point clouds for lamm-mini: single furniture meshes, and small rooms with two to four of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lamm_model.formats.mesh import draw_from_triangles, triangle_areas
from training.mini.sources import FURNITURE, Mesh

NUM_POINTS = 1024
# Metres along x, y and z, see `PointSpec`. Single objects are drawn within 0.5 m of the origin, and
# their meshes are not quite centred. Everything is on the floor; lower parts can be too thin to be
# sampled.
MAX_OFFSET = (0.75, 0.75, 0.1)
Float = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class PlacedObject:
    """One object of a cloud: class index, box centre [3] and size [3] in metres, axis-aligned."""

    label: int
    centre: tuple[float, float, float]
    size: tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class CloudScene:
    """`points` [NUM_POINTS, 3] float32 metres, z up; `owner` [NUM_POINTS] indexes `objects`."""

    points: Float
    owner: npt.NDArray[np.int64]
    objects: tuple[PlacedObject, ...]


class SurfacePool:
    """Dense surface samples of every mesh, from which scenes are drawn."""

    def __init__(self, meshes: Sequence[Mesh], seed: int, samples: int = 4096) -> None:
        rng = np.random.default_rng(seed)
        self.labels = np.array([FURNITURE.index(mesh.label) for mesh in meshes])
        self.names = [mesh.name for mesh in meshes]
        self.surfaces: list[Float] = [sample_surface(mesh, samples, rng) for mesh in meshes]
        self.by_label = [np.flatnonzero(self.labels == k) for k in range(len(FURNITURE))]

    def draw(self, rng: np.random.Generator) -> int:
        """Index of a mesh: a class drawn uniformly, then a mesh of that class."""
        classes = [k for k, members in enumerate(self.by_label) if len(members)]
        return int(rng.choice(self.by_label[int(rng.choice(classes))]))


def single(pool: SurfacePool, rng: np.random.Generator) -> CloudScene:
    """One object near the origin, rotated about the vertical, slightly rescaled, with noise."""
    points, placed = _place(pool, pool.draw(rng), NUM_POINTS, rng, rng.uniform(-0.5, 0.5, 2))
    return _finish(points, np.zeros(NUM_POINTS, np.int64), [placed], rng)


def room(pool: SurfacePool, rng: np.random.Generator) -> CloudScene:
    """Two to four objects side by side on one floor, whose boxes rarely overlap."""
    count = int(rng.integers(2, 5))
    share = rng.multinomial(NUM_POINTS - 128 * count, np.full(count, 1 / count)) + 128
    points, owner, objects = [], [], []
    angle = rng.uniform(0, 2 * np.pi)
    at = 0.0
    for number in range(count):
        cloud, placed = _place(pool, pool.draw(rng), int(share[number]), rng, np.zeros(2))
        reach = float(np.hypot(placed.size[0], placed.size[1])) / 2
        at += reach
        shift = at * np.array([np.cos(angle), np.sin(angle)]) + rng.normal(0, 0.15, 2)
        at += reach + rng.uniform(0.1, 0.5)
        points.append(cloud + np.array([*shift, 0.0], np.float32))
        centre = (placed.centre[0] + shift[0], placed.centre[1] + shift[1], placed.centre[2])
        objects.append(PlacedObject(placed.label, centre, placed.size))
        owner.append(np.full(len(cloud), number))
    cloud = np.concatenate(points)
    middle = np.array([*((cloud.min(0) + cloud.max(0))[:2] / 2), 0.0], np.float32)
    moved = [
        PlacedObject(
            o.label, (o.centre[0] - middle[0], o.centre[1] - middle[1], o.centre[2]), o.size
        )
        for o in objects
    ]
    return _finish(cloud - middle, np.concatenate(owner), moved, rng)


def _place(
    pool: SurfacePool,
    mesh: int,
    count: int,
    rng: np.random.Generator,
    shift: npt.NDArray[np.float64],
) -> tuple[Float, PlacedObject]:
    cloud = pool.surfaces[mesh][rng.choice(len(pool.surfaces[mesh]), count, replace=False)]
    angle = rng.uniform(0, 2 * np.pi)
    turn = np.array(
        [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]]
    )
    cloud = (cloud @ turn.T) * rng.uniform(0.88, 1.12, (1, 3))
    cloud = (cloud + np.array([*shift, 0.0])).astype(np.float32)
    low, high = cloud.min(0), cloud.max(0)
    centre, size = (low + high) / 2, high - low
    placed = PlacedObject(int(pool.labels[mesh]), _triple(centre), _triple(size))
    return cloud, placed


def _triple(values: Float) -> tuple[float, float, float]:
    x, y, z = map(float, values)
    return x, y, z


def _finish(
    points: Float,
    owner: npt.NDArray[np.int64],
    objects: list[PlacedObject],
    rng: np.random.Generator,
) -> CloudScene:
    order = rng.permutation(len(points))
    noise = rng.normal(0, rng.uniform(0, 0.008), points.shape)
    cloud = (points + noise).astype(np.float32)[order]
    return CloudScene(cloud, owner[order], tuple(objects))


def sample_surface(mesh: Mesh, count: int, rng: np.random.Generator) -> Float:
    """Points [count, 3] float32 drawn uniformly from a mesh's surface."""
    corners = mesh.vertices[mesh.faces]
    # By area: tiny parts (the screws of a lamp) can have most of the faces.
    triangle, u, v = draw_from_triangles(triangle_areas(corners), count, rng)
    chosen = corners[triangle]
    points = chosen[:, 0] + u * (chosen[:, 1] - chosen[:, 0]) + v * (chosen[:, 2] - chosen[:, 0])
    surface: Float = points.astype(np.float32)
    return surface
