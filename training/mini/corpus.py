"""Conversations of lamm-mini, and the facts of their pictures and clouds.

The base language model is trained on these: in place of LAMM's 64 visual vectors it reads facts
about each patch or point token (see `scenes.facts`). It learns to answer from the tokens between
the media tags, which LoRA and the projectors later build on.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lamm_model.conversation import Modality, Turn
from training.mini import sources
from training.mini.mixture import ALONE, CLOUD, MIXTURE, TALK, Mixture
from training.mini.scenes import clouds, drawn_scenes, facts, pictures
from training.mini.sources import Split
from training.mini.talk import language, look_ups
from training.mini.talk.exchanges import Exchange

SYSTEM = (
    "A chat between a person and LAMM-mini, an assistant that looks at pictures and point clouds."
)

# Share of the look-ups.
_IN_ROOMS = 0.55


@dataclass(frozen=True, slots=True)
class Pools:
    """Everything that scenes of one split are made from."""

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
        """Modality of the medium before the first question."""
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


def draw(pools: Pools, rng: np.random.Generator, mixture: Mixture = MIXTURE) -> Conversation:
    """A conversation of the mixture: look-ups, pictures, clouds, small talk."""
    if rng.random() < mixture.look_ups:
        return _look_ups(pools, rng)
    if rng.random() < mixture.words:
        picture = pictures.word(pools.words, rng)
        return Conversation(tuple(language.picture_turns(picture, rng)), picture=picture)
    kind = rng.random()
    if kind < TALK:
        return Conversation(tuple(language.small_talk(rng)))
    if kind < TALK + CLOUD:
        cloud = (
            clouds.single(pools.surfaces, rng)
            if rng.random() < 0.5
            else clouds.room(pools.surfaces, rng)
        )
        return Conversation(tuple(language.cloud_turns(cloud, rng)), cloud=cloud)
    if kind > 1 - mixture.drawn:
        picture = drawn_scenes.draw(rng)
        return Conversation(tuple(language.drawn_turns(picture, rng)), picture=picture)
    if kind < TALK + CLOUD + ALONE:
        picture = pictures.alone(pools.products, rng)
    else:
        picture = pictures.scene(pools.products, rng)
    return Conversation(tuple(language.picture_turns(picture, rng)), picture=picture)


def _look_ups(pools: Pools, rng: np.random.Generator) -> Conversation:
    in_room = rng.random() < _IN_ROOMS
    while True:
        if in_room:
            cloud = clouds.room(pools.surfaces, rng)
            if turns := look_ups.cloud_look_ups(cloud, rng):
                return Conversation(tuple(turns), cloud=cloud)
        else:
            picture = pictures.scene(pools.products, rng)
            if len(picture.products) > 1 and (turns := look_ups.picture_look_ups(picture, rng)):
                return Conversation(tuple(turns), picture=picture)


def medium_facts(
    conversation: Conversation, rng: np.random.Generator
) -> npt.NDArray[np.float32] | None:
    """Facts [64, *] of the picture (per patch) or the cloud (per token); None without a medium."""
    if conversation.picture is not None:
        return facts.picture_facts(conversation.picture)
    if conversation.cloud is None:
        return None
    points = conversation.cloud.points
    # The encoder's token positions depend only on the points; any sample of these will do.
    chosen = rng.choice(len(points), facts.NUM_MEDIA_TOKENS, replace=False)
    return facts.cloud_facts(conversation.cloud, points[chosen])
