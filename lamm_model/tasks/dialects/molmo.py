"""Molmo: `<point x="63.5" y="44.5" alt="cat">cat</point>` in hundredths.

Several points are `<points x1= y1= x2= y2= ...>` (https://github.com/allenai/molmo). Molmo2 writes
`<points coords="1 1 635 445 2 ...">`: the picture's number, then number, x and y of each point in
thousandths (https://huggingface.co/allenai/Molmo2-8B).
"""

from __future__ import annotations

import re

from lamm_model.tasks.dialects.base import Dialect, Frame, Telling, Told, number, shown, telling
from lamm_model.tasks.dialects.tags import Tag, tags_in

_HUNDREDTHS, _THOUSANDTHS = (100.0, 100.0), (1000.0, 1000.0)


def _read(text: str) -> Telling | None:
    if "<point" not in text:
        return None
    places: list[Told] = []
    faults: list[str] = []
    for tag in tags_in(text):
        if tag.closes or tag.name not in {"point", "points"}:
            continue
        words = (tag.attributes.get("alt") or tag.text).strip()
        points, scale = _listed(tag) if "coords" in tag.attributes else _numbered(tag)
        if not points:
            faults.append(f"<{tag.name}> {shown(tag.attributes)} has no point")
        for x, y in points:
            if x is None or y is None:
                faults.append(f"a point of {shown(words)} has no x or no y")
            else:
                places.append(Told((x, y), words, scale=scale, y_first=False))
    if re.search(r"<points?\b[^>]*$", text[-2000:]):
        faults.append("the last tag is cut off")
    return telling(places, faults)


_Points = list[tuple[float | None, float | None]]


def _numbered(tag: Tag) -> tuple[_Points, tuple[float, float]]:
    """x and y, or x1 and y1, x2 and y2 ...; one that is missing is None."""
    found = {name: number(value) for name, value in tag.attributes.items()}
    ends = dict.fromkeys(m[1] for name in found if (m := re.fullmatch(r"[xy](\d{0,4})", name)))
    return [(found.get(f"x{end}"), found.get(f"y{end}")) for end in ends], _HUNDREDTHS


def _listed(tag: Tag) -> tuple[_Points, tuple[float, float]]:
    """Number, x and y of each point, after the number of the picture."""
    coords: _Points = []
    for part in re.split(r"[;\t]", tag.attributes["coords"]):
        found = [number(one) for one in part.replace(",", " ").split()]
        rows = found[1:]
        coords += [(rows[i + 1], rows[i + 2]) for i in range(0, len(rows) - 2, 3)]
        if len(rows) % 3:
            coords.append((None, None))
    return coords, _THOUSANDTHS


DIALECTS = (
    Dialect(
        "molmo",
        "Molmo, Molmo2",
        '<points x1="22.7" y1="86.1" x2="45.1" y2="76.4" alt="cats">cats</points>',
        _read,
        Frame.PERCENT,
        marks=("<point",),
    ),
)
