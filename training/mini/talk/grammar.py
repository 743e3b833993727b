"""The type of the grammars of phrasings, and their usual closers."""

from __future__ import annotations

Grammar = tuple[tuple[str, ...], tuple[str, ...]]

CLOSERS = ("", "", " Thanks.", " Please be brief.", " I am curious.")
WORD = ("", " Answer in one word.", " One word, please.", " Just the word.")
NUMBER = ("", " Answer with a number.", " Just the number, please.", " Give only a number.")
