"""The content of every patch of a picture and every token of a cloud, as a vector of facts.

The base language model is trained without encoders. A temporary linear layer embeds these facts in
the positions where LAMM's projector later puts features. The projector then starts from a
regression of the encoder's features onto those embeddings. A linear map can read all facts from the
encoders' features, which were trained on `dense_targets`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from training.mini.scenes.clouds import CloudScene
from training.mini.scenes.dense_targets import (
    MAX_LETTERS,
    NUM_CLASSES,
    patch_targets,
    token_targets,
)
from training.mini.scenes.pictures import COLOURS, PictureScene
from training.mini.sources import FURNITURE

Float = npt.NDArray[np.float32]

GRID = 8
NUM_MEDIA_TOKENS = GRID * GRID
# A coordinate and two sine waves of it: precise to tenths, smooth enough to regress.
_WAVES = (1.0, 2.0)
_PER_COORDINATE = 1 + 2 * len(_WAVES)
# Furniture measures up to three metres or so; rooms of it a few more. Metres are told as themselves
# and in waves of 8, 4, 2 and 1 m, the last of which gives the hundredths.
_METRES = 2.0
_METRE_WAVES = (1 / 8, 1 / 4, 1 / 2, 1.0)
_PER_METRE = 1 + 2 * len(_METRE_WAVES)
PICTURE_FACTS = NUM_CLASSES + 1 + len(COLOURS) + MAX_LETTERS + 6 * _PER_COORDINATE
SHAPE_FACTS = 9 * _PER_METRE
CLOUD_FACTS = len(FURNITURE) + SHAPE_FACTS


def picture_facts(scene: PictureScene) -> Float:
    """[64, PICTURE_FACTS]: class, centre here, colour, place in the word, box, own position."""
    targets = patch_targets(scene, GRID)
    covered = (targets.label > 0)[:, None]
    across, down = np.meshgrid((np.arange(GRID) + 0.5) / GRID, (np.arange(GRID) + 0.5) / GRID)
    own = np.stack([across.ravel(), down.ravel()], axis=1)
    centre, half = own + targets.box[:, :2], targets.box[:, 2:] / 2
    box = np.concatenate([centre - half, centre + half], axis=1)
    return np.concatenate(
        [
            _one_hot(targets.label, NUM_CLASSES),
            targets.centre[:, None],
            _one_hot(targets.colour, len(COLOURS)),
            _one_hot(targets.place, MAX_LETTERS),
            _waves(box) * covered,
            _waves(own),
        ],
        axis=1,
        dtype=np.float32,
    )


def cloud_facts(scene: CloudScene, positions: Float) -> Float:
    """[T, CLOUD_FACTS]: class, then `shape_facts`, for tokens at [T, 3] metres."""
    label, shape = token_targets(scene, positions)
    return np.concatenate(
        [_one_hot(label, len(FURNITURE)), shape_facts(positions, shape)], axis=1, dtype=np.float32
    )


def shape_facts(positions: Float, shape: Float) -> Float:
    """[T, SHAPE_FACTS]: own position, its object's centre and size, each in waves.

    `shape` [T, 6] is the offset to the centre and the size, metres (`token_targets`).
    """
    metres = np.concatenate([positions, shape[:, :3] + positions, shape[:, 3:]], axis=1)
    angles = [2 * np.pi * rate * metres for rate in _METRE_WAVES]
    parts = [metres / _METRES, *(np.sin(a) for a in angles), *(np.cos(a) for a in angles)]
    return np.concatenate(parts, axis=1, dtype=np.float32)


def _one_hot(index: npt.NDArray[np.int64], size: int) -> Float:
    """One-hot rows; all zeros where the index is negative (not applicable)."""
    table: Float = (index[:, None] == np.arange(size)).astype(np.float32)
    return table


def _waves(values: npt.NDArray[np.floating]) -> Float:
    """Coordinates [N, C] from 0 to 1 as [N, C * _PER_COORDINATE]."""
    angles = [2 * np.pi * rate * values for rate in _WAVES]
    parts = [2 * values - 1, *(np.sin(a) for a in angles), *(np.cos(a) for a in angles)]
    return np.concatenate(parts, axis=1).astype(np.float32)
