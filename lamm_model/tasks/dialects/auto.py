"""The dialect of each answer by itself, where its notation tells dialect and frame."""

from __future__ import annotations

from dataclasses import replace

from lamm_model.tasks.dialects.base import MAX_CHARACTERS, Dialect, Telling, Told
from lamm_model.tasks.dialects.json_text import read_json
from lamm_model.tasks.dialects.qwen import KEYS
from lamm_model.tasks.dialects.registry import DIALECTS
from lamm_model.tasks.reading.coordinates import Size


def read_auto(text: str, size: Size | None) -> tuple[str, Telling] | None:
    """The name of the dialect and what it reads; None if no notation is told.

    JSON with `bbox_2d` is written in pixels by one model and in thousandths by another: its places
    have no scale, and `Manner` guesses it and says so.
    """
    text = text[:MAX_CHARACTERS]
    for dialect in DIALECTS.values():
        is_marked = any(mark in text for mark in dialect.marks)
        read = dialect.reader(text) if is_marked else None
        if read is not None and (read.places or read.faults):
            return dialect.name, replace(
                read, places=tuple(_settled(one, dialect, size) for one in read.places)
            )
    read = read_json(text, KEYS)
    # JSON whose places are of no known form is left to the reader of free text.
    return None if read is None or (read.faults and not read.places) else ("JSON", read)


def _settled(told: Told, dialect: Dialect, size: Size | None) -> Told:
    """A place with the scale and the order of its dialect."""
    scale = told.scale or (dialect.frame.scale(size) if dialect.frame is not None else None)
    order = dialect.y_first if told.y_first is None else told.y_first
    return replace(told, scale=scale, y_first=order)
