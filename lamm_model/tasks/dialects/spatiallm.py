"""SpatialLM: `bbox_0=Bbox(sofa, x, y, z, yaw, l, w, h)` in metres, a line of Python each.

https://github.com/manycore-research/SpatialLM (spatiallm/layout/entity.py)
"""

from __future__ import annotations

import ast
import re
import warnings

from lamm_model.tasks.dialects.base import Dialect, Telling, Told, numbers, shown, telling

_LINE = re.compile(r"\bBbox\(([^()\n]{0,400})(\)?)")
_NAME = re.compile(r"\s*[\"']?([^,\"']*)[\"']?\s*,")


def _read(text: str) -> Telling | None:
    places: list[Told] = []
    faults: list[str] = []
    for line in _LINE.finditer(text):
        name = _NAME.match(line[1])
        values = _values(line[1][name.end() :]) if name and line[2] else None
        if name is None or values is None or len(values) != 7:
            faults.append(f"{shown(line[0])} is not a box of a name and seven numbers")
        elif "." not in line[1]:
            # The model's own bins, before its library turns them into metres.
            faults.append(f"{shown(line[0])} is in bins rather than metres")
        else:
            x, y, z, yaw, length, width, height = values
            words = name[1].replace("_", " ").strip()
            places.append(Told((x, y, z, length, width, height, yaw), words))
    is_layout = re.search(r"\b(?:Wall|Door|Window)\(", text) is not None
    return telling(places, faults) or (Telling() if is_layout else None)


def _values(text: str) -> tuple[float, ...] | None:
    """The numbers of a call's arguments; None if one is anything else."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = ast.literal_eval(f"[{text.strip()}]")
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None
    return numbers(found) if isinstance(found, list) else None


DIALECTS = (
    Dialect(
        "spatiallm",
        "SpatialLM",
        "bbox_0=Bbox(sofa,1.25,-0.4,0.35,1.5708,2.1,0.9,0.8)",
        _read,
        marks=("Bbox(",),
    ),
)
