"""Phrasings of questions: each intent is a small grammar with more than thirty phrasings.

A tenth of the phrasings, chosen by digest, is held out of training. The mini suite asks only with
these (except for multiple choice, which is phrased as in training).
"""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.resources import files
from itertools import product

import numpy as np
import yaml

from training.mini.sources import Split

_FILE = files("training.mini.talk") / "phrasings.yaml"
_GRAMMAR = yaml.safe_load(_FILE.read_text(encoding="utf8"))
# Cores and closers of each intent.
_INTENTS: dict[str, tuple[list[str], list[str]]] = {
    intent: (cores.splitlines(), group["closers"])
    for group in _GRAMMAR["groups"]
    for intent, cores in group["cores"].items()
}
INTENTS = tuple(_INTENTS)


@cache
def phrasings(intent: str, split: Split) -> tuple[str, ...]:
    """Every phrasing of an intent in one split; `{x}` marks a field that `ask` fills in."""
    cores, closers = _INTENTS[intent]
    found = []
    for opener, core, closer in product(_GRAMMAR["openers"], cores, closers):
        # An opener that ends a sentence, or none, wants a capital.
        inside = opener and opener[-2] not in "!."
        found.append(opener + (core if inside else core[0].upper() + core[1:]) + closer)
    kept = [text for text in found if (_bucket(text) == 0) == (split == "test")]
    # The digest may leave a short grammar without phrasings in one split.
    return tuple(kept or found)


def ask(intent: str, rng: np.random.Generator, split: Split = "train", x: str = "") -> str:
    """A phrasing of the intent, filled in."""
    options = phrasings(intent, split)
    return options[int(rng.integers(len(options)))].replace("{x}", x)


def _bucket(text: str) -> int:
    return hashlib.sha256(text.encode()).digest()[0] % 10
