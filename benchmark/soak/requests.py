"""The requests of a soak test: all different, each a function of the seed and its number.

Verification generates them again, so that thousands of pictures need not be kept in memory.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from benchmark.content import IMAGE_TYPES, user_message
from benchmark.errors import BenchmarkError
from benchmark.load.media import Media, changed, drawn_cloud, drawn_picture, read_media
from benchmark.suite import Item, Suite

MediaChoice = Literal["images", "clouds", "both"]

_QUESTIONS = {
    True: ("What is in this picture?", "How many things are there?", "Describe the picture."),
    False: ("What is this point cloud of?", "What stands in this room?", "Describe the scan."),
}
_SIDES = (32, 64, 96, 224)
_POINTS = (256, 1024)
_DRAWN_LENS = (8, 16, 32)


@dataclass(frozen=True, slots=True)
class SoakRequest:
    """One request: its body without `stream`, and its question for reports."""

    body: dict[str, Any]
    question: str


class SoakRequests:
    """Request number n, for any n: a question of a suite, or a generated one.

    Media of a suite are changed slightly.
    """

    def __init__(
        self, model: str, seed: int, media: MediaChoice = "images", suite: Suite | None = None
    ) -> None:
        """
        Raises:
            BenchmarkError: the suite has no question about `media`.
        """
        self._model = model
        self._seed = seed
        self._kinds = {"images": (True,), "clouds": (False,), "both": (True, False)}[media]
        self._items = None if suite is None else _items(suite, self._kinds)
        if self._items is not None and not self._items:
            raise BenchmarkError(f"suite {suite and suite.name} has no question about {media}")

    def __getitem__(self, number: int) -> SoakRequest:
        rng = random.Random(f"{self._seed}/{number}")
        if self._items is not None:
            return self._from_suite(self._items[number % len(self._items)], rng)
        kind = self._kinds[number % len(self._kinds)]
        side, points = rng.choice(_SIDES), rng.choice(_POINTS)
        media = drawn_picture(side, side, rng) if kind else drawn_cloud(points, rng)
        question = f"{rng.choice(_QUESTIONS[kind])} Try {number}."
        return self._request(question, media, rng.choice(_DRAWN_LENS))

    def _from_suite(self, item: Item, rng: random.Random) -> SoakRequest:
        if item.media is None:
            raise BenchmarkError(f"{item.row}/{item.sample.id} has no medium")
        media = changed(read_media(item.media), rng)
        return self._request(item.sample.question, media, item.task.max_tokens)

    def _request(self, question: str, media: Media, max_tokens: int) -> SoakRequest:
        body = {
            "model": self._model,
            "messages": [user_message(question, media.part())],
            "temperature": 0,
            "max_tokens": max_tokens,
        }
        return SoakRequest(body, question)


def _items(suite: Suite, kinds: Sequence[bool]) -> list[Item]:
    """Questions about these media, alternating between the rows."""
    rows = [
        kept for row in suite.rows if (kept := [item for item in row.items if _kind(item) in kinds])
    ]
    longest = max((len(row) for row in rows), default=0)
    return [row[turn] for turn in range(longest) for row in rows if turn < len(row)]


def _kind(item: Item) -> bool | None:
    """True for a picture, False for a cloud, None without media that can be made unique."""
    suffix = item.media.suffix.lower() if item.media else ""
    if suffix in IMAGE_TYPES:
        return True
    return False if suffix == ".npy" else None
