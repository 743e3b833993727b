"""Phrasings of questions: each intent is a small grammar with more than thirty phrasings.

A tenth of the phrasings, chosen by digest, is held out of training. The mini suite asks only with
these (except for multiple choice, which is phrased as in training).
"""

from __future__ import annotations

import hashlib
from functools import cache
from itertools import product

import numpy as np

from training.mini.sources import Split
from training.mini.talk.cloud_phrasings import CLOUD_GRAMMARS
from training.mini.talk.drawn_phrasings import DRAWN_GRAMMARS
from training.mini.talk.grammar import Grammar
from training.mini.talk.picture_phrasings import PICTURE_GRAMMARS
from training.mini.talk.talk_phrasings import TALK_GRAMMARS

_OPENERS = (
    "",
    "",
    "Please tell me, ",
    "Hi, ",
    "Can you tell me, ",
    "Quick question: ",
    "I wonder, ",
    "Tell me, ",
    "Look closely: ",
    "In your view, ",
    "Hello! ",
    "Now, ",
)
_GRAMMARS: dict[str, Grammar] = {
    **PICTURE_GRAMMARS,
    **DRAWN_GRAMMARS,
    **CLOUD_GRAMMARS,
    **TALK_GRAMMARS,
}
INTENTS = tuple(_GRAMMARS)


@cache
def phrasings(intent: str, split: Split) -> tuple[str, ...]:
    """Every phrasing of an intent in one split; `{x}` marks a field that `ask` fills in."""
    cores, closers = _GRAMMARS[intent]
    found = []
    for opener, core, closer in product(_OPENERS, cores, closers):
        # An opener that ends a sentence, or none, wants a capital.
        joined = (
            opener + core
            if opener and opener[-2] not in "!."
            else opener + core[0].upper() + core[1:]
        )
        found.append(joined + closer)
    kept = [text for text in found if (_bucket(text) == 0) == (split == "test")]
    # The digest may leave a short grammar without phrasings in one split.
    return tuple(kept or found)


def ask(intent: str, rng: np.random.Generator, split: Split = "train", x: str = "") -> str:
    """A phrasing of the intent, filled in."""
    options = phrasings(intent, split)
    return options[int(rng.integers(len(options)))].replace("{x}", x)


def _bucket(text: str) -> int:
    return hashlib.sha256(text.encode()).digest()[0] % 10
