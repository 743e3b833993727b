"""HTML of a report and of a gallery: one file each, without scripts or external resources.

Jinja escapes all text from models and data sets.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from benchmark.report.document import Report
from benchmark.report.gallery import BONES, Gallery, GalleryItem
from benchmark.report.gallery_marks import Box3DMark, Marks
from benchmark.report.gallery_media import View
from benchmark.report.lines import lines_of
from benchmark.report.stamps import Stamp, run_names
from lamm_model.tasks.rotated_boxes import Point3D, edges

# Longer texts are truncated in a card; items.jsonl has the full text.
LONGEST_TEXT = 400
_DATED = re.compile(r"[\w-]*\b\d{4}-\d{2}[\w-]*")


@dataclass(frozen=True, slots=True)
class Plot:
    """An inline SVG with its heading and its text alternative."""

    title: str
    description: str
    svg: str


@dataclass(frozen=True, slots=True)
class RunGallery:
    """The gallery of a run with its label and stamps."""

    label: str
    gallery: Gallery
    stamps: tuple[Stamp, ...] = ()


@dataclass(frozen=True, slots=True)
class Wire:
    """The edges of a box as an SVG path, and the rectangle around them, in pixels of a view."""

    path: str
    x: float
    y: float
    width: float
    height: float


def report_page(report: Report, plots: Sequence[Plot], galleries: Sequence[RunGallery]) -> str:
    """The report as one page."""
    return _render("report.html.j2", report=report, plots=plots, galleries=galleries)


def gallery_page(title: str, gallery: Gallery) -> str:
    """The gallery of one run as one page."""
    return _render("gallery.html.j2", title=title, galleries=[RunGallery(title, gallery)])


def _render(template: str, **context: Any) -> str:
    environment = Environment(
        loader=PackageLoader("benchmark.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {"bones": BONES, "described": _described, "projected": _projected}
    environment.filters |= {"lines": lines_of, "run_names": run_names}
    environment.filters |= {"cut": _cut, "unbroken": _unbroken}
    return environment.get_template(template).render(**context)


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]} ..."


def _unbroken(text: str) -> Markup:
    """Keeps words with a date, such as upstream-2023-07, on one line."""
    marked = _DATED.sub(r'<span class="whole">\g<0></span>', str(escape(text)))
    return Markup(marked)  # noqa: S704 # nosec B704 # the text is escaped above


def _described(item: GalleryItem) -> str:
    """The text alternative for the drawing of an item."""
    verdict = "hit" if item.hit else "miss"
    what = "Point cloud" if item.media.kind == "cloud" else "Picture"
    drawn = [
        f"{_count(marks)} of the {name}"
        for name, marks in (("answer", item.answer), ("truth", item.truth))
        if not marks.empty
    ]
    return f"{what} of {item.id}, a {verdict}" + (f", with {' and '.join(drawn)}" if drawn else "")


def _count(marks: Marks) -> str:
    kinds = {
        "boxes": len(marks.boxes) + len(marks.boxes_3d),
        "points": len(marks.points),
        "joints": len(marks.joints),
    }
    return ", ".join(f"{count} {name}" for name, count in kinds.items() if count)


def _projected(view: View, mark: Box3DMark) -> Wire:
    """The lines of a box in pixels of a view; those that coincide are drawn once."""
    scale = view.width / (view.high[0] - view.low[0])
    right, up = view.axes

    def pixel(point: Point3D) -> tuple[float, float]:
        x, y = (point[right] - view.low[0]) * scale, (view.high[1] - point[up]) * scale
        return round(x, 1), round(y, 1)

    lines = {frozenset(map(pixel, edge)) for edge in edges(mark.box)}
    pairs = sorted(sorted(line) for line in lines if len(line) > 1)
    corners = [corner for line in lines for corner in line]
    xs, ys = [x for x, _ in corners], [y for _, y in corners]
    path = "".join(f"M{a} {b}L{c} {d}" for (a, b), (c, d) in pairs)
    return Wire(path, min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys))
