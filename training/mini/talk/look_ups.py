"""Conversations of short look-ups: each question names one thing and asks one fact about it.

Finding a named thing among several takes attention layers that have to learn it together. General
conversations need it once or twice among long answers; here every turn does, and most answer tokens
depend on it.
"""

from __future__ import annotations

import numpy as np

from training.mini.scenes.clouds import CloudScene, PlacedObject
from training.mini.scenes.pictures import COLOUR_NAMES, PictureScene, PlacedProduct
from training.mini.sources import FURNITURE, PRODUCTS
from training.mini.talk.exchanges import Exchange, absent, chosen, only_ones, reordered, say
from training.mini.talk.phrasings import ask
from training.mini.talk.picture_questions import box_of, colour_choice_parts, colour_of
from training.mini.talk.task_questions import grounding

_ABSENT = 0.12


def picture_look_ups(scene: PictureScene, rng: np.random.Generator) -> list[Exchange]:
    """Up to eight questions, each on one of several products: its colour, its box, what is red.

    Empty if no product is the only one of its class or colour.
    """
    labels = [p.label for p in scene.products]
    colours = [p.colour for p in scene.products]
    turns: list[Exchange] = []
    for item in scene.products:
        if labels.count(item.label) == 1:
            turns += [colour_of(item, rng), box_of(item, rng)]
            turns.append(chosen(*colour_choice_parts(item, rng), rng))
        if colours.count(item.colour) == 1:
            turns.append(_of_colour(item, rng))
    if turns and rng.random() < _ABSENT:
        name = absent(PRODUCTS, labels, rng)
        turns.append(Exchange(ask("colour", rng, x=name), f"I see no {name} here."))
    return reordered(turns, rng)[:8]


def cloud_look_ups(scene: CloudScene, rng: np.random.Generator) -> list[Exchange]:
    """Up to seven questions, each about one object of a room: its box, its height.

    Empty if no object is the only one of its class.
    """
    turns: list[Exchange] = []
    for placed in only_ones(scene.objects):
        turns += [grounding(placed, rng), _height(placed, rng)]
    if turns and rng.random() < _ABSENT:
        name = absent(FURNITURE, [o.label for o in scene.objects], rng)
        turns.append(Exchange(ask("cloud_ground", rng, x=name), f"I see no {name} here."))
    return reordered(turns, rng)[:7]


def _of_colour(item: PlacedProduct, rng: np.random.Generator) -> Exchange:
    name, tint = PRODUCTS[item.label], COLOUR_NAMES[item.colour]
    forms = ("Which product is {}?", "What is {}?", "Name the {} product.", "What is the {} item?")
    return Exchange(say(forms, rng, tint), f"The {name}." if rng.random() < 0.5 else f"{name}.")


def _height(placed: PlacedObject, rng: np.random.Generator) -> Exchange:
    forms = ("How tall is the {}?", "What is the height of the {}?", "And the {}, how tall is it?")
    question = say(forms, rng, FURNITURE[placed.label])
    return Exchange(question, f"About {placed.size[2]:.1f} metres.")
