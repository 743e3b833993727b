"""Conversations of lamm-mini's training split, and pictures and clouds written out as words.

The base language model reads these: where LAMM puts 64 visual vectors, it sees 64 words saying
what each patch or point token shows. So it learns, from text alone, to answer from what stands
between the tags, and LoRA and the projector later have a grammar to bend.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lamm_model.conversation import Modality, Turn
from training.mini import clouds, language, pictures, sources
from training.mini.dense_targets import patch_targets
from training.mini.language import Exchange
from training.mini.pictures import COLOUR_NAMES
from training.mini.sources import FURNITURE, Split

SYSTEM = (
    "A chat between a person and LAMM-mini, an assistant that looks at pictures and point clouds."
)
GRID = 8
NUM_MEDIA_TOKENS = GRID * GRID
_NOTHING = "."
# One word a product class, each a single piece of the tokenizer.
_PRODUCT_WORDS = (
    "T-shirt",
    "trousers",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "boot",
)


@dataclass(frozen=True, slots=True)
class Pools:
    """Everything scenes are made from, of one split."""

    products: pictures.ProductPool
    words: pictures.WordPool
    surfaces: clouds.SurfacePool

    @classmethod
    def load(cls, root: Path, split: Split) -> Pools:
        """Reads the unpacked source packages under `root`."""
        return cls(
            pictures.ProductPool(*sources.products(root, split)),
            pictures.WordPool(sources.words(root, split), sources.fonts(root, split)),
            clouds.SurfacePool(sources.furniture(root, split), seed=0 if split == "train" else 1),
        )


@dataclass(frozen=True, slots=True)
class Conversation:
    """One scene (or none) and several exchanges about it."""

    exchanges: tuple[Exchange, ...]
    picture: pictures.PictureScene | None = None
    cloud: clouds.CloudScene | None = None

    @property
    def modality(self) -> Modality | None:
        """What stands before the first question."""
        if self.picture is not None:
            return Modality.IMAGE
        return None if self.cloud is None else Modality.POINT_CLOUD

    def turns(self) -> list[Turn]:
        """The exchanges as prompt turns; the medium precedes the first."""
        media = () if self.modality is None else (self.modality,)
        return [
            Turn(e.question, e.answer, media if k == 0 else ())
            for k, e in enumerate(self.exchanges)
        ]


def draw(pools: Pools, rng: np.random.Generator) -> Conversation:
    """A conversation of the training mixture: pictures, clouds, small talk."""
    kind = rng.random()
    if kind < 0.08:
        return Conversation(tuple(language.small_talk(rng)))
    if kind < 0.34:
        cloud = (
            clouds.single(pools.surfaces, rng)
            if rng.random() < 0.65
            else clouds.room(pools.surfaces, rng)
        )
        return Conversation(tuple(language.cloud_turns(cloud, rng)), cloud=cloud)
    if kind < 0.50:
        picture = pictures.alone(pools.products, rng)
    elif kind < 0.84:
        picture = pictures.scene(pools.products, rng)
    else:
        picture = pictures.word(pools.words, rng)
    return Conversation(tuple(language.picture_turns(picture, rng)), picture=picture)


def medium_words(conversation: Conversation, rng: np.random.Generator) -> list[str]:
    """64 words for the conversation's picture (row by row) or cloud; none without a medium."""
    if conversation.picture is not None:
        return picture_words(conversation.picture)
    if conversation.cloud is not None:
        return cloud_words(
            conversation.cloud, rng.choice(len(conversation.cloud.owner), NUM_MEDIA_TOKENS)
        )
    return []


def picture_words(scene: pictures.PictureScene) -> list[str]:
    """A product's class word stands at its centre, its colour elsewhere in it; letters once."""
    targets = patch_targets(scene, GRID)
    words = []
    for label, centre, colour in zip(targets.label, targets.centre, targets.colour, strict=True):
        if label == 0 or (label > 10 and not centre):
            words.append(_NOTHING)
        elif label > 10:
            words.append(chr(65 + label - 11))
        else:
            words.append(_PRODUCT_WORDS[label - 1] if centre else COLOUR_NAMES[colour])
    return words


def cloud_words(scene: clouds.CloudScene, points: Iterable[int]) -> list[str]:
    """The class of the object that each of the given points belongs to."""
    return [FURNITURE[scene.objects[scene.owner[p]].label] for p in points]


def vocabulary_words() -> list[str]:
    """Every word that `medium_words` can write; each must be one piece of the tokenizer."""
    letters = [chr(65 + k) for k in range(26)]
    return [_NOTHING, *_PRODUCT_WORDS, *COLOUR_NAMES, *letters, *FURNITURE]
