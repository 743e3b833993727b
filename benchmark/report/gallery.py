"""A random sample of a run's hits and misses with media and marks: `gallery.json`.

Written when a run is scored, while the suite is available, and read by `lamm bench report`, which
needs the run's directory only. The templates draw it.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from benchmark.report.gallery_marks import Marks, marks_of
from benchmark.report.gallery_media import DrawnMedia, draw_media
from benchmark.scoring import RowScore, ScoredItem

GALLERY_FILE = "gallery.json"
GALLERY_SIZE = 8
SEED = 0
# Pairs of `JOINTS` that are connected in a drawing.
BONES = (
    (0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (6, 7), (7, 8), (8, 12), (12, 9), (9, 10), (10, 11),
    (12, 13), (8, 2), (9, 3),
)  # fmt: skip


class _Kept(BaseModel):
    model_config = ConfigDict(frozen=True)


class GalleryItem(_Kept):
    """One answered question: answer and reference, as text and as marks."""

    id: str
    question: str
    text: str
    reference: str
    status: str
    hit: bool
    media: DrawnMedia
    answer: Marks
    truth: Marks


class GalleryRow(_Kept):
    """The sampled items of a row, misses first, and the total number of each kind."""

    name: str
    hits: int
    misses: int
    items: tuple[GalleryItem, ...]


class Gallery(_Kept):
    """The gallery of a run."""

    rows: tuple[GalleryRow, ...] = ()


def make_gallery(rows: Sequence[RowScore], size: int = GALLERY_SIZE) -> Gallery:
    """Samples at most `size` hits and `size` misses per row, with a fixed seed."""
    return Gallery(rows=tuple(_row(row, size) for row in rows))


def shortened(gallery: Gallery, size: int) -> Gallery:
    """The first `size` misses and hits of each row."""
    return Gallery(
        rows=tuple(
            row.model_copy(
                update={
                    "items": (
                        *[item for item in row.items if not item.hit][:size],
                        *[item for item in row.items if item.hit][:size],
                    )
                }
            )
            for row in gallery.rows
        )
    )


def _row(row: RowScore, size: int) -> GalleryRow:
    hits = [item for item in row.scored if item.hit]
    misses = [item for item in row.scored if not item.hit]
    drawn = [*_drawn(misses, size, row.row.name), *_drawn(hits, size, row.row.name)]
    items = tuple(_item(row, scored) for scored in drawn)
    return GalleryRow(name=row.row.name, hits=len(hits), misses=len(misses), items=items)


def _drawn(items: Sequence[ScoredItem], size: int, name: str) -> list[ScoredItem]:
    chosen = random.Random(f"{SEED}:{name}").sample(range(len(items)), min(size, len(items)))
    return [items[index] for index in sorted(chosen)]


def _item(row: RowScore, scored: ScoredItem) -> GalleryItem:
    task, item = row.row.task, scored.item
    return GalleryItem(
        id=item.sample.id,
        question=item.sample.question,
        text=scored.text,
        reference=task.render(item.target, item.inputs),
        status=str(scored.status),
        hit=scored.hit,
        media=draw_media(item.media),
        answer=marks_of(task.parse_scored(scored.text, item.inputs, item.target).answer),
        truth=marks_of(item.target),
    )
