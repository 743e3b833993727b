"""Text-only drills for the base language model: finding the letter of an option.

A four-way question holds one letter among sixty tokens of answers, so a small model takes very long
to learn to look it up. These conversations ask for nothing else, six times in a row.
"""

from __future__ import annotations

import numpy as np

from training.mini.exchanges import Exchange, chosen, distract, noun, pick
from training.mini.pictures import COLOUR_NAMES
from training.mini.sources import FURNITURE, PRODUCTS

_GIVEN = ("{}. Which of these is it?", "Given: {}. Which letter?", "{}. Choose.", "{}. Which one?")


def option_drill(rng: np.random.Generator, count: int = 6) -> list[Exchange]:
    """`count` four-way questions whose right answer the question states."""
    return [_one(rng) for _ in range(count)]


def _one(rng: np.random.Generator) -> Exchange:
    kind = int(rng.integers(4))
    if kind == 0:
        right = pick("0123456789", rng)
        options, reason = distract(right, "0123456789", rng), f"I count {right}"
    elif kind == 1:
        right, name = pick(COLOUR_NAMES, rng), pick(PRODUCTS, rng)
        options, reason = distract(right, COLOUR_NAMES, rng), f"The {name} is {right}"
    else:
        names = PRODUCTS if kind == 2 else FURNITURE
        right = pick(names, rng)
        options, reason = distract(right, names, rng), f"I see {noun(right)}"
    return chosen(pick(_GIVEN, rng).format(reason), options, options.index(right), reason, rng)
