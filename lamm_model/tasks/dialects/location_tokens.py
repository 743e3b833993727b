"""Tokens for locations: PaliGemma's 1024 bins, y first, and Florence-2's 1000 bins.

https://ai.google.dev/gemma/docs/paligemma, https://huggingface.co/microsoft/Florence-2-large. A
server of Florence-2 may send its post-processed dictionary of `bboxes` and `labels` in pixels.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from lamm_model.tasks.dialects.base import Dialect, Frame, Telling
from lamm_model.tasks.dialects.json_text import read_json
from lamm_model.tasks.dialects.marked_text import Marked, in_groups
from lamm_model.tasks.models import Numbers

_PALIGEMMA = re.compile(r"(?:<loc\d{1,9}>\s?)+(?:<seg\d{1,9}>\s?)*")
_FLORENCE = re.compile(r"(?:<loc_\d{1,9}>)+")


def _bins(most: int, centre: float) -> Callable[[str], Iterator[Numbers | str]]:
    """A reader of runs of tokens; the value of a bin is its centre or its start."""

    def places(run: str) -> Iterator[Numbers | str]:
        found = [int(index) for index in re.findall(r"<loc_?(\d+)>", run)]
        if unknown := [index for index in found if index >= most]:
            yield f"location {unknown[0]} is not below {most}"
            return
        shifted = [index + centre for index in found]
        yield from in_groups(shifted, 2 if len(found) == 2 else 4, run)

    return places


_LOCATIONS = Marked(_FLORENCE, _bins(1000, 0.5), (1000.0, 1000.0), y_first=False)


def _read_florence(text: str) -> Telling | None:
    text = re.sub(r"</?s>|<pad>", "", text)
    return _LOCATIONS.read(text) or (read_json(text, {}) if "bboxes" in text else None)


DIALECTS = (
    Dialect(
        "paligemma",
        "PaliGemma, PaliGemma 2",
        "<loc0786><loc0142><loc0976><loc0322> cat ; <loc0695><loc0374><loc0869><loc0548> dog",
        Marked(_PALIGEMMA, _bins(1024, 0), (1024.0, 1024.0), y_first=True, after=True).read,
        Frame.PER_MILLE,
        marks=("<loc0", "<loc1"),
        y_first=True,
    ),
    Dialect(
        "florence-2",
        "Florence-2",
        "cat<loc_139><loc_768><loc_315><loc_954>dog<loc_366><loc_679><loc_536><loc_849>",
        _read_florence,
        Frame.PIXELS,
        marks=("<loc_",),
    ),
)
