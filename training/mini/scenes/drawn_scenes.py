"""Drawings as scenes: faces, people and land, with the parts that questions ask about.

No source package has pictures of these, so all are drawn.
"""

from __future__ import annotations

import numpy as np

from lamm_model.tasks.label_sets import JOINTS
from training.mini.scenes import drawings, pictures
from training.mini.scenes.pictures import SIZE, Part, PictureScene, ProductPool, WordPool, middle

SMILES = ("a smile", "no smile")
HAIRS = tuple(drawings.HAIR)
LANDS = tuple(drawings.LAND)
PARTS = (*SMILES, *(f"{hair} hair" for hair in HAIRS), *JOINTS, *LANDS)
_FIRST_HAIR = len(SMILES)
_FIRST_JOINT = _FIRST_HAIR + len(HAIRS)
_FIRST_LAND = _FIRST_JOINT + len(JOINTS)
# Half a patch on each side, so that joints that share a patch can own a neighbour.
_JOINT_REACH = 4.0


def face(rng: np.random.Generator) -> PictureScene:
    """A face; its parts are the mouth and the hair."""
    smile, hair = int(rng.integers(len(SMILES))), int(rng.integers(len(HAIRS)))
    picture, lips, crown = drawings.face(rng, smile == 0, HAIRS[hair])
    return PictureScene(picture, parts=(Part(smile, lips), Part(_FIRST_HAIR + hair, crown)))


def body(rng: np.random.Generator) -> PictureScene:
    """A person; the parts are the 14 joints, in order."""
    picture, points = drawings.body(rng)
    parts = tuple(
        Part(
            _FIRST_JOINT + number,
            (x - _JOINT_REACH, y - _JOINT_REACH, x + _JOINT_REACH, y + _JOINT_REACH),
        )
        for number, (x, y) in enumerate(points)
    )
    return PictureScene(picture, parts=parts)


def land(rng: np.random.Generator) -> PictureScene:
    """Land from above; its one part is the whole picture."""
    kind = int(rng.integers(len(LANDS)))
    whole = (0.0, 0.0, float(SIZE), float(SIZE))
    picture = drawings.land(rng, LANDS[kind])
    return PictureScene(picture, parts=(Part(_FIRST_LAND + kind, whole),))


def draw(rng: np.random.Generator) -> PictureScene:
    """A face, a person or land; half are people, whose joints are hard to find."""
    kind = rng.random()
    if kind < 0.5:
        return body(rng)
    return face(rng) if kind < 0.8 else land(rng)


def any_picture(
    products: ProductPool, words: WordPool, rng: np.random.Generator, alone: float, scenes: float
) -> PictureScene:
    """One product below the share `alone`, several below `scenes`, then a word or a drawing."""
    kind = rng.random()
    if kind < alone:
        return pictures.alone(products, rng)
    if kind < scenes:
        return pictures.scene(products, rng)
    return pictures.word(words, rng) if kind < 0.88 else draw(rng)


def shows_face(scene: PictureScene) -> bool:
    return bool(scene.parts) and scene.parts[0].kind < _FIRST_HAIR


def shows_body(scene: PictureScene) -> bool:
    return bool(scene.parts) and _FIRST_JOINT <= scene.parts[0].kind < _FIRST_LAND


def joint_point(scene: PictureScene, joint: str) -> tuple[float, float]:
    """A joint of a drawn person, as fractions of the picture's width and height."""
    x, y = middle(scene.parts[JOINTS.index(joint)].box)
    return x / SIZE, y / SIZE
