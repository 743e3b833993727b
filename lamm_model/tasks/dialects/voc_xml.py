"""Pascal VOC's XML: `<object><name>cat</name><bndbox><xmin>...`, in pixels.

The size that the answer states is the frame, if it states one. Tags are read one by one, so that an
answer may be cut off or may have words around it.
"""

from __future__ import annotations

from lamm_model.tasks.dialects.base import Dialect, Frame, Telling, Told, number, shown, telling
from lamm_model.tasks.dialects.tags import tags_in

_CORNERS = ("xmin", "ymin", "xmax", "ymax")


def _read(text: str) -> Telling | None:
    if "<bndbox" not in text and "<annotation" not in text:
        return None
    found: list[dict[str, str]] = []
    size: dict[str, float] = {}
    for tag in tags_in(text):
        if tag.closes:
            continue
        if tag.name in {"object", "part"}:
            found.append({})
        elif tag.name in {"name", *_CORNERS} and found:
            found[-1].setdefault(tag.name, tag.text.strip())
        elif tag.name in {"width", "height"} and (value := number(tag.text)):
            size.setdefault(tag.name, value)
    scale = (size["width"], size["height"]) if len(size) == 2 else None
    places: list[Told] = []
    faults: list[str] = [] if found or "</annotation>" in text else ["no <object>"]
    for one in found:
        corners = [number(one.get(name, "")) for name in _CORNERS]
        values = tuple(value for value in corners if value is not None)
        words = one.get("name", "")
        if len(values) == 4:
            places.append(Told(values, words, scale=scale, y_first=False))
        else:
            faults.append(f"the box of {shown(words)} has {len(values)} corners of 4")
    return Telling(tuple(places), tuple(faults)) if not found else telling(places, faults)


DIALECTS = (
    Dialect(
        "voc-xml",
        "models asked for Pascal VOC's XML",
        "<annotation><object><name>cat</name><bndbox><xmin>139</xmin><ymin>768</ymin>"
        "<xmax>315</xmax><ymax>954</ymax></bndbox></object></annotation>",
        _read,
        Frame.PIXELS,
        marks=("<bndbox",),
    ),
)
