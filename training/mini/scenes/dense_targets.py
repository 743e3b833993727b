"""Targets per patch and per point token, for the encoders' pre-training.

A global objective loses positions; dense targets keep boxes, counts and letters in the frozen
features, where the LAMM stage needs them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from training.mini.scenes.clouds import CloudScene
from training.mini.scenes.drawn_scenes import PARTS
from training.mini.scenes.pictures import SIZE, Box, PictureScene

IGNORE = -100
MAX_LETTERS = 6
NUM_CLASSES = 1 + 10 + 26 + len(PARTS)
_COVERED = 0.2


@dataclass(frozen=True, slots=True)
class PatchTargets:
    """Targets of the G x G patches of a picture, row by row (P = G * G).

    `label` [P]: 0 background, 1-10 products, 11-36 letters, then the parts of drawings.
    `centre` [P]: whether an object's centre is in the patch. `box` [P, 4]: offset to its centre,
    width and height as fractions of the picture's side, where `label` is not 0. `colour`, `place`
    [P]: -100 where not applicable. `slots` [6]: letters of the word, 26 for none.
    """

    label: npt.NDArray[np.int64]
    centre: npt.NDArray[np.float32]
    box: npt.NDArray[np.float32]
    colour: npt.NDArray[np.int64]
    place: npt.NDArray[np.int64]
    slots: npt.NDArray[np.int64]


def patch_targets(scene: PictureScene, grid: int) -> PatchTargets:
    items: list[tuple[Box, int, int, int]] = [
        (p.box, 1 + p.label, p.colour, IGNORE) for p in scene.products
    ]
    items += [(c.box, 11 + c.letter, IGNORE, c.place) for c in scene.letters]
    items += [(p.box, 37 + p.kind, IGNORE, IGNORE) for p in scene.parts]
    cells = grid * grid
    best = np.full(cells, _COVERED)
    label, box = np.zeros(cells, np.int64), np.zeros((cells, 4), np.float32)
    colour, place = np.full(cells, IGNORE), np.full(cells, IGNORE)
    centre = np.zeros(cells, np.float32)
    side = SIZE / grid
    middle = (np.arange(grid) + 0.5) * side
    for (x1, y1, x2, y2), number, tint, where in items:
        # A letter narrower than a patch still owns the patch at its centre.
        area = np.outer(_overlap(y1, y2, grid), _overlap(x1, x2, grid)).ravel() / side**2
        at = _cell(y1, y2, grid) * grid + _cell(x1, x2, grid)
        area[at] += 1.0
        mine = area > best
        best[mine] = area[mine]
        label[mine], colour[mine], place[mine] = number, tint, where
        offset = (
            np.stack(
                [
                    np.tile((x1 + x2) / 2 - middle, grid),
                    np.repeat((y1 + y2) / 2 - middle, grid),
                    np.full(cells, x2 - x1),
                    np.full(cells, y2 - y1),
                ],
                axis=1,
            )
            / SIZE
        )
        box[mine] = offset[mine]
        centre[at] = 1.0
    slots = np.full(MAX_LETTERS, 26)
    slots[: len(scene.letters)] = [c.letter for c in scene.letters]
    return PatchTargets(label, centre, box, colour, place, slots)


def token_targets(
    scene: CloudScene, positions: npt.NDArray[np.float32]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Class [T] of each token's nearest object; offset to its centre and size [T, 6] in metres."""
    owner = token_owners(scene, positions)
    label = np.array([o.label for o in scene.objects])[owner]
    centre = np.array([o.centre for o in scene.objects], np.float32)[owner]
    size = np.array([o.size for o in scene.objects], np.float32)[owner]
    return label, np.concatenate([centre - positions, size], axis=1).astype(np.float32)


def token_owners(scene: CloudScene, positions: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    """Index [T] of the scene's object nearest to each position [T, 3]."""
    distance = np.square(positions[:, None] - scene.points[None]).sum(-1)
    owner: npt.NDArray[np.int64] = scene.owner[distance.argmin(1)]
    return owner


def _overlap(low: float, high: float, grid: int) -> npt.NDArray[np.float64]:
    edges = np.arange(grid + 1) * (SIZE / grid)
    covered: npt.NDArray[np.float64] = np.minimum(high, edges[1:]) - np.maximum(low, edges[:-1])
    return covered.clip(0)


def _cell(low: float, high: float, grid: int) -> int:
    return int(np.clip((low + high) / 2 * grid / SIZE, 0, grid - 1))
