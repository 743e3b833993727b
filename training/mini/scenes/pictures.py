"""Pictures for lamm-mini, 64 x 64: one product, scenes of one to six products, rendered words.

Every picture is a function of its random generator alone, so a split is a set of source pictures,
words, fonts and a seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

SIZE = 64
COLOURS: dict[str, tuple[int, int, int]] = {
    "white": (240, 240, 240),
    "red": (225, 45, 40),
    "green": (60, 190, 70),
    "blue": (60, 90, 235),
    "yellow": (240, 220, 50),
    "purple": (165, 70, 205),
    "orange": (245, 140, 30),
}
COLOUR_NAMES = tuple(COLOURS)
Picture = npt.NDArray[np.uint8]
Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class PlacedProduct:
    """A product in a picture: class index, colour index, box in pixels (x1, y1, x2, y2)."""

    label: int
    colour: int
    box: Box


@dataclass(frozen=True, slots=True)
class Letter:
    """A rendered letter: 0-25 for A-Z, its box in pixels and its place in the word from 0."""

    letter: int
    box: Box
    place: int


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a drawing: index into `drawn_scenes.PARTS` and box in pixels."""

    kind: int
    box: Box


@dataclass(frozen=True, slots=True)
class PictureScene:
    """`picture` [64, 64, 3] uint8 and everything in it."""

    picture: Picture
    products: tuple[PlacedProduct, ...] = ()
    letters: tuple[Letter, ...] = ()
    word: str = ""
    parts: tuple[Part, ...] = ()


def middle(box: Box) -> tuple[float, float]:
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2


class ProductPool:
    """Fashion-MNIST pictures by class, drawn uniformly over classes."""

    def __init__(self, pictures: Picture, labels: Picture) -> None:
        self.pictures, self.labels = pictures, labels
        self.by_label = [np.flatnonzero(labels == k) for k in range(10)]

    def draw(self, rng: np.random.Generator) -> int:
        """Index of a picture: a class drawn uniformly, then a picture of that class."""
        members = self.by_label[int(rng.integers(10))]
        return int(members[rng.integers(len(members))])


class WordPool:
    """Words and fonts to render; each font is opened once per size."""

    def __init__(self, words: Sequence[str], fonts: Sequence[Path]) -> None:
        self.words = list(words)
        self._paths = [str(path) for path in fonts]
        self._fonts: dict[tuple[int, int], ImageFont.FreeTypeFont] = {}

    def draw(self, rng: np.random.Generator) -> str:
        """A word, in capitals."""
        return self.words[int(rng.integers(len(self.words)))].upper()

    def font(self, rng: np.random.Generator, word: str) -> ImageFont.FreeTypeFont:
        """A font, at a size at which the word fills most of the picture's width."""
        which = int(rng.integers(len(self._paths)))
        want = rng.uniform(46, 61)
        width = self._font(which, 20).getlength(word)
        return self._font(which, int(np.clip(20 * want / width, 9, 30)))

    def _font(self, which: int, size: int) -> ImageFont.FreeTypeFont:
        if (which, size) not in self._fonts:
            self._fonts[which, size] = ImageFont.truetype(self._paths[which], size)
        return self._fonts[which, size]


def alone(pool: ProductPool, rng: np.random.Generator, index: int | None = None) -> PictureScene:
    """One product that fills most of the picture; 30 % on black, as in Fashion-MNIST."""
    index = pool.draw(rng) if index is None else index
    plain = rng.random() < 0.3
    canvas = np.zeros((SIZE, SIZE, 3), np.float32) if plain else _background(rng)
    side = int(rng.integers(40, 65))
    low = SIZE - side
    at = (int(rng.integers(0, low + 1)), int(rng.integers(0, low + 1)))
    colour = 0 if plain else int(rng.integers(len(COLOUR_NAMES)))
    placed = _paste(canvas, pool, index, side, at, colour, rng)
    return PictureScene(_finish(canvas, rng), (placed,))


def scene(pool: ProductPool, rng: np.random.Generator, count: int | None = None) -> PictureScene:
    """One to six products of 17 to 30 pixels that do not overlap."""
    count = int(rng.integers(1, 7)) if count is None else count
    canvas = _background(rng)
    high = 31 if count < 4 else 24 if count < 6 else 21
    boxes = _layout(rng, count, high)
    placed = [
        _paste(
            canvas, pool, pool.draw(rng), side, (x, y), int(rng.integers(len(COLOUR_NAMES))), rng
        )
        for x, y, side in boxes
    ]
    return PictureScene(_finish(canvas, rng), tuple(placed))


def word(pool: WordPool, rng: np.random.Generator) -> PictureScene:
    """A word in capitals across the picture, dark on light or light on dark."""
    text = pool.draw(rng)
    font = pool.font(rng, text)
    canvas = _background(rng)
    light = canvas.mean() > 110
    ink = rng.uniform(0, 60, 3) if light else rng.uniform(195, 255, 3)
    left, top, right, bottom = font.getbbox(text)
    x = rng.uniform(1, max(1.0, SIZE - 1 - (right - left))) - left
    y = rng.uniform(2, max(2.0, SIZE - 2 - (bottom - top))) - top
    mask = Image.new("L", (SIZE, SIZE))
    ImageDraw.Draw(mask).text((x, y), text, fill=255, font=font)
    alpha = np.asarray(mask, np.float32)[..., None] / 255
    canvas[:] = canvas * (1 - alpha) + alpha * ink.astype(np.float32)
    edges = [font.getlength(text[:k]) for k in range(len(text) + 1)]
    letters = tuple(
        Letter(ord(text[k]) - 65, (x + edges[k], y + top, x + edges[k + 1], y + bottom), k)
        for k in range(len(text))
    )
    return PictureScene(_finish(canvas, rng), letters=letters, word=text)


def _layout(rng: np.random.Generator, count: int, high: int) -> list[tuple[int, int, int]]:
    # Squares (x, y, side) that do not overlap. If there is no room for the last, start again.
    while True:
        boxes: list[tuple[int, int, int]] = []
        for _ in range(80):
            side = int(rng.integers(17, high))
            x, y = (int(v) for v in rng.integers(0, SIZE - side + 1, 2))
            if all(x + side <= a or a + s <= x or y + side <= b or b + s <= y for a, b, s in boxes):
                boxes.append((x, y, side))
                if len(boxes) == count:
                    return boxes


def _background(rng: np.random.Generator) -> npt.NDArray[np.float32]:
    # A plain colour, a gradient or coarse noise: the background carries no information.
    first, second = rng.uniform(0, 200, (2, 3)) * rng.uniform(0.1, 1.0)
    kind = rng.random()
    if kind < 0.35:
        weight = np.zeros((SIZE, SIZE, 1))
    elif kind < 0.75:
        angle = rng.uniform(0, 2 * np.pi)
        grid = np.mgrid[0:SIZE, 0:SIZE] / SIZE - 0.5
        weight = (grid[0] * np.sin(angle) + grid[1] * np.cos(angle) + 0.5).clip(0, 1)[..., None]
    else:
        coarse = rng.uniform(0, 255, (6, 6)).astype(np.uint8)
        smooth = Image.fromarray(coarse).resize((SIZE, SIZE), Image.Resampling.BICUBIC)
        weight = np.asarray(smooth, np.float64)[..., None] / 255
    ground: npt.NDArray[np.float32] = (first + (second - first) * weight).astype(np.float32)
    return ground


def _paste(
    canvas: npt.NDArray[np.float32],
    pool: ProductPool,
    index: int,
    side: int,
    at: tuple[int, int],
    colour: int,
    rng: np.random.Generator,
) -> PlacedProduct:
    grey = pool.pictures[index]
    if rng.random() < 0.5:
        grey = grey[:, ::-1]
    height = max(12, min(side, round(side * rng.uniform(0.9, 1.0))))
    scaled = np.asarray(
        Image.fromarray(np.ascontiguousarray(grey)).resize(
            (side, height), Image.Resampling.BILINEAR
        ),
        np.float32,
    )
    x, y = at
    alpha = (scaled / 40.0).clip(0, 1)[..., None]
    tint = np.array(COLOURS[COLOUR_NAMES[colour]], np.float32)
    # Dark garments are almost black in Fashion-MNIST; a minimum keeps the tint visible.
    ink = (0.25 + 0.75 * scaled[..., None] / 255) * tint
    view = canvas[y : y + height, x : x + side]
    view[:] = view * (1 - alpha) + alpha * ink
    rows, columns = np.flatnonzero((scaled > 24).any(1)), np.flatnonzero((scaled > 24).any(0))
    if not len(rows):
        rows, columns = np.arange(height), np.arange(side)
    box = (x + columns[0], y + rows[0], x + columns[-1] + 1, y + rows[-1] + 1)
    return PlacedProduct(int(pool.labels[index]), colour, tuple(map(float, box)))  # type: ignore[arg-type]


def _finish(canvas: npt.NDArray[np.float32], rng: np.random.Generator) -> Picture:
    noise = rng.normal(0, rng.uniform(0, 7), canvas.shape)
    bright = rng.uniform(0.85, 1.12)
    return (canvas * bright + noise).clip(0, 255).astype(np.uint8)
