"""Gemini: `box_2d` and `point` in JSON, thousandths with y first.

https://ai.google.dev/gemini-api/docs/image-understanding
"""

from __future__ import annotations

from dataclasses import replace

from lamm_model.tasks.dialects.base import Dialect, Frame, Telling
from lamm_model.tasks.dialects.json_text import read_json

KEYS = {"box_2d": (4,), "point": (2,)}


def _read(text: str) -> Telling | None:
    read = read_json(text, KEYS)
    if read is None:
        return None
    return replace(read, places=tuple(replace(one, y_first=True) for one in read.places))


DIALECTS = (
    Dialect(
        "gemini",
        "Gemini 2 and later",
        '[{"box_2d": [543, 40, 728, 200], "label": "cat"}]',
        _read,
        Frame.PER_MILLE,
        y_first=True,
        marks=('"box_2d"',),
    ),
)
