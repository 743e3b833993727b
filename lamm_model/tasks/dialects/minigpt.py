"""MiniGPT-v2: `<p>label</p>{<x1><y1><x2><y2>}` in hundredths.

https://github.com/Vision-CAIR/MiniGPT-4
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from lamm_model.tasks.dialects.base import Dialect, Frame
from lamm_model.tasks.dialects.marked_text import Marked, in_groups
from lamm_model.tasks.models import Numbers

_RUN = re.compile(r"\{<[<>\d\s.-]{1,60}>\}(?:\s?(?:<delim>)?\s?\{<[<>\d\s.-]{1,60}>\})*")
_LABEL = re.compile(r"<p>([^<]*)</p>")


def _places(run: str) -> Iterator[Numbers | str]:
    for box in re.findall(r"\{[^}]*\}", run):
        yield from in_groups([float(n) for n in re.findall(r"<(-?\d+(?:\.\d+)?)>", box)], 4, box)


DIALECTS = (
    Dialect(
        "minigpt-v2",
        "MiniGPT-v2",
        "<p>cat</p> {<14><77><31><95>}<delim>{<37><68><54><85>}",
        Marked(_RUN, _places, (100.0, 100.0), y_first=False, label=_LABEL).read,
        Frame.PERCENT,
        marks=("{<",),
    ),
)
