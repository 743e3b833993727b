"""Shikra, CogVLM and GLM-V: boxes in brackets after the words that they belong to.

Shikra writes shares of 0-1, `[0.1,0.2,0.3,0.4;0.5,...]` (https://github.com/shikras/shikra), CogVLM
thousandths of three digits, `[[123,456,789,999]]` (https://github.com/THUDM/CogVLM).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from lamm_model.tasks.dialects.base import Dialect, Frame, number, shown
from lamm_model.tasks.dialects.marked_text import Marked
from lamm_model.tasks.models import Numbers

# One or two brackets of numbers, commas and semicolons, or a list of such brackets.
_ROWS = r"[\d.,;\s-]{1,2000}"
_RUN = re.compile(rf"\[\[?{_ROWS}(?:\]\s{{0,9}},?\s{{0,9}}\[{_ROWS}){{0,200}}\]\]?")
_ROW = re.compile(r"[;\]]\s*,?\s*\[?")


def lists_of(run: str) -> Iterator[Numbers | str]:
    """The rows of numbers in a bracket; rows are parted by semicolons or brackets."""
    inner = run.removeprefix("<box>").removesuffix("</box>").strip(" \n[]")
    for row in _ROW.split(inner):
        if not row.strip(" ,\n"):
            continue
        found = [number(part) for part in re.split(r"\s*,\s*|\s+", row.strip(" ,\n"))]
        values = [value for value in found if value is not None]
        if len(values) == len(found) and len(values) in {2, 4}:
            yield tuple(values)
        else:
            yield f"{shown(row)} is not a point or a box"


_BRACKETS = Marked(_RUN, lists_of, in_prose=True)
DIALECTS = (
    Dialect(
        "shikra",
        "Shikra",
        "A cat [0.139,0.768,0.315,0.954] is beside a dog [0.366,0.679,0.536,0.849].",
        _BRACKETS.read,
        Frame.SHARES,
    ),
    Dialect(
        "cogvlm",
        "CogVLM, CogAgent, GLM-V in prose",
        "A cat[[139,768,315,954]] is beside a dog[[366,679,536,849]].",
        _BRACKETS.read,
        Frame.PER_MILLE,
    ),
)
