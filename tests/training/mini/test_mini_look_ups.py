"""Look-ups by name: what an answer says is true of the one thing that its question names."""

from __future__ import annotations

import re

import numpy as np
import pytest

from lamm_model.conversation import Modality
from training.mini import corpus
from training.mini.mixture import Mixture
from training.mini.scenes import clouds, pictures
from training.mini.scenes.pictures import COLOUR_NAMES
from training.mini.sources import FURNITURE, PRODUCTS
from training.mini.talk import look_ups
from training.mini.talk.picture_questions import box_text
from training.mini.talk.task_questions import box_3d_text


@pytest.mark.parametrize("seed", range(30))
def test_products_are_told_by_name_and_by_colour(pools: corpus.Pools, seed: int) -> None:
    rng = np.random.default_rng(seed)
    scene = pictures.scene(pools.products, rng)
    of_name = {PRODUCTS[p.label]: p for p in scene.products}
    of_colour = {COLOUR_NAMES[p.colour]: p for p in scene.products}
    for turn in look_ups.picture_look_ups(scene, rng):
        named = _named(turn.question.split("(A)")[0], PRODUCTS)
        if turn.answer.startswith("I see no"):
            assert named not in of_name
        elif named is None:
            tint = _named(turn.question, COLOUR_NAMES)
            assert tint is not None
            assert _named(turn.answer, PRODUCTS) == PRODUCTS[of_colour[tint].label]
        elif "[" in turn.answer:
            assert box_text(of_name[named].box) in turn.answer
        else:
            assert _named(turn.answer, COLOUR_NAMES) == COLOUR_NAMES[of_name[named].colour]


@pytest.mark.parametrize("seed", range(30))
def test_objects_of_a_room_are_told_by_name(pools: corpus.Pools, seed: int) -> None:
    rng = np.random.default_rng(seed)
    room = clouds.room(pools.surfaces, rng)
    of_name = {FURNITURE[o.label]: o for o in room.objects}
    for turn in look_ups.cloud_look_ups(room, rng):
        named = _named(turn.question, FURNITURE)
        assert named is not None
        if turn.answer.startswith("I see no"):
            assert named not in of_name
        elif "[" in turn.answer:
            assert turn.answer == box_3d_text(of_name[named])
        else:
            assert turn.answer == f"About {of_name[named].size[2]:.1f} metres."


def test_nothing_is_looked_up_among_twins(pools: corpus.Pools) -> None:
    rng = np.random.default_rng(0)
    one = clouds.room(pools.surfaces, rng)
    twins = clouds.CloudScene(one.points, one.owner, (one.objects[0],) * 2)
    assert look_ups.cloud_look_ups(twins, rng) == []


def test_the_share_of_look_ups_is_the_callers(pools: corpus.Pools) -> None:
    rng = np.random.default_rng(0)
    drawn = [corpus.draw(pools, rng, Mixture(look_ups=1.0)) for _ in range(20)]
    assert {d.modality for d in drawn} == {*Modality} - {None}
    words = Mixture(words=1.0, look_ups=0.0)
    assert not any(corpus.draw(pools, rng, words).cloud for _ in range(20))


def test_the_share_of_drawings_is_the_callers(pools: corpus.Pools) -> None:
    rng = np.random.default_rng(0)
    mixture = Mixture(words=0.0, look_ups=0.0, drawn=0.59)
    drawn = [corpus.draw(pools, rng, mixture).picture for _ in range(200)]
    assert 90 <= sum(bool(picture and picture.parts) for picture in drawn) <= 146


@pytest.mark.parametrize("shares", [{"drawn": 0.6}, {"words": -0.1}, {"look_ups": 1.01}])
def test_shares_have_a_range(shares: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="it must be 0 to"):
        Mixture(**shares)


def _named(text: str, names: tuple[str, ...]) -> str | None:
    found = [n for n in names if re.search(rf"(?<![\w-]){re.escape(n)}\b", text)]
    assert len(found) <= 1, (text, found)
    return found[0] if found else None
