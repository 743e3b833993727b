"""Drawn pictures, 64 x 64, each a function of its random generator: faces, people, land."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import product

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from lamm_model.tasks.label_sets import JOINTS

SIZE = 64
Picture = npt.NDArray[np.uint8]
Colour = tuple[int, int, int]
Point = tuple[float, float]
Box = tuple[float, float, float, float]

HAIR: Mapping[str, Colour] = {
    "black": (25, 22, 24),
    "blond": (228, 196, 110),
    "brown": (104, 64, 34),
    "gray": (165, 165, 168),
}
# Drawn at four times the size and reduced, for smooth edges.
_SCALE = 4


def face(rng: np.random.Generator, smile: bool, hair: str) -> tuple[Picture, Box, Box]:
    """A face with open eyes, and the boxes of its mouth and of the hair above it, in pixels.

    The mouth curves up for a smile; otherwise it is straight or curves down.
    """
    image, pen = _canvas(_tone(rng, 60, 210))
    x, y = 32 + rng.uniform(-4, 4), 35 + rng.uniform(-3, 3)
    width, height = rng.uniform(15, 19), rng.uniform(19, 23)
    skin = _tone(rng, 150, 235, (1.0, 0.82, 0.7))
    _ellipse(pen, (x, y - 5), (width + 3, height + 1), _shade(HAIR[hair], rng))
    _ellipse(pen, (x, y), (width, height), skin)
    for side in (-1, 1):
        eye = (x + side * width * 0.42, y - height * 0.2)
        _ellipse(pen, eye, (3, 2), (245, 245, 245))
        _ellipse(pen, eye, (1.4, 1.6), (30, 30, 40))
    bend = rng.uniform(3.5, 6) if smile else rng.uniform(-4, 0.3)
    mouth = [
        (x + t * width * 0.5, y + height * 0.5 + bend * (0.5 - t * t))
        for t in np.linspace(-1, 1, 15)
    ]
    _line(pen, mouth, (150, 30, 40), 1.8)
    lips = (x - width * 0.5, y + height * 0.5 - 4, x + width * 0.5, y + height * 0.5 + 4)
    crown = (x - width - 3, y - height - 6, x + width + 3, y - height * 0.5)
    return _reduced(image, rng), _inside(lips), _inside(crown)


def body(rng: np.random.Generator) -> tuple[Picture, list[Point]]:
    """A person in a random pose, and the 14 joints in pixels in the order of `JOINTS`.

    Right and left are from the person's view, who faces the viewer.
    """
    image, pen = _canvas(_tone(rng, 120, 230))
    joints = _pose(rng)
    skin, shirt = _tone(rng, 120, 210, (1.0, 0.8, 0.68)), _tone(rng, 20, 180)
    trousers = _tone(rng, 10, 120)
    torso = ("right shoulder", "left shoulder", "left hip", "right hip")
    pen.polygon([_scaled(joints[name]) for name in torso], fill=shirt)
    for side in ("right", "left"):
        leg = [joints[f"{side} {name}"] for name in ("hip", "knee", "ankle")]
        arm = [joints[f"{side} {name}"] for name in ("shoulder", "elbow", "wrist")]
        _line(pen, leg, trousers, 4)
        _line(pen, arm, skin, 3)
    neck, top = joints["neck"], joints["head top"]
    _line(pen, [neck, top], skin, 3)
    middle = (neck[0] * 0.35 + top[0] * 0.65, neck[1] * 0.35 + top[1] * 0.65)
    _ellipse(pen, middle, (3.6, 4.4), skin)
    return _reduced(image, rng), [joints[name] for name in JOINTS]


def land(rng: np.random.Generator, label: str) -> Picture:
    """Land from above of a class in `LAND`, rotated by a multiple of 90 degrees."""
    image, pen = _canvas(_tone(rng, 70, 130, (0.75, 1.0, 0.6)))
    LAND[label](pen, rng)
    return np.ascontiguousarray(np.rot90(_reduced(image, rng), int(rng.integers(4))))


_WATER, _ASPHALT, _SAND = (50, 95, 150), (105, 105, 108), (222, 203, 150)


def _agricultural(pen: ImageDraw.ImageDraw, rng: np.random.Generator) -> None:
    width = rng.uniform(3, 7)
    for number in range(int(SIZE / width) + 1):
        fill = _tone(rng, 90, 180, (0.9, 1.0, 0.45))
        _box(pen, (number * width, 0), ((number + 1) * width, SIZE), fill)


def _beach(pen: ImageDraw.ImageDraw, rng: np.random.Generator) -> None:
    shore = rng.uniform(22, 42)
    _box(pen, (0, 0), (SIZE, SIZE), _SAND)
    edge = [(x, shore + 2 * math.sin(x / 5)) for x in range(0, SIZE + 1, 2)]
    pen.polygon([_scaled(p) for p in [(0, 0), *edge, (SIZE, 0)]], fill=_WATER)
    _line(pen, edge, (240, 245, 245), 1.5)


def _forest(pen: ImageDraw.ImageDraw, rng: np.random.Generator) -> None:
    for _ in range(160):
        centre, radius = rng.uniform(0, SIZE, 2), rng.uniform(2, 5)
        _ellipse(pen, (centre[0], centre[1]), (radius, radius), _tone(rng, 40, 90, (0.5, 1, 0.5)))


def _intersection(pen: ImageDraw.ImageDraw, rng: np.random.Generator) -> None:
    x, y, width = *rng.uniform(22, 42, 2), rng.uniform(4, 6)
    _box(pen, (x - width, 0), (x + width, SIZE), _ASPHALT)
    _box(pen, (0, y - width), (SIZE, y + width), _ASPHALT)
    for at in range(0, SIZE, 8):
        if abs(at - y) > width + 3:
            _line(pen, [(x, at), (x, at + 3)], (240, 240, 240), 0.8)
        if abs(at - x) > width + 3:
            _line(pen, [(at, y), (at + 3, y)], (240, 240, 240), 0.8)


def _parking(pen: ImageDraw.ImageDraw, rng: np.random.Generator) -> None:
    _box(pen, (0, 0), (SIZE, SIZE), _ASPHALT)
    for row in range(2, SIZE - 8, 14):
        for column in range(1, SIZE - 4, 7):
            _line(pen, [(column - 1, row), (column - 1, row + 9)], (235, 235, 235), 0.5)
            if rng.random() < 0.75:
                _box(pen, (column, row), (column + 4, row + 8), _tone(rng, 20, 240))


def _river(pen: ImageDraw.ImageDraw, rng: np.random.Generator) -> None:
    middle, swing, phase = rng.uniform(22, 42), rng.uniform(4, 10), rng.uniform(0, 6)
    bends = [(middle + swing * math.sin(y / 11 + phase), y) for y in range(-4, SIZE + 6, 2)]
    _line(pen, bends, _WATER, rng.uniform(8, 13))


def _runway(pen: ImageDraw.ImageDraw, rng: np.random.Generator) -> None:
    x, width = rng.uniform(24, 40), rng.uniform(9, 13)
    _box(pen, (x - width, 0), (x + width, SIZE), _ASPHALT)
    for at in range(2, SIZE, 10):
        _line(pen, [(x, at), (x, at + 6)], (245, 245, 245), 1.4)
    for bar in (-6, -3, 3, 6):
        _box(pen, (x + bar - 0.8, 3), (x + bar + 0.8, 11), (245, 245, 245))


def _tanks(pen: ImageDraw.ImageDraw, rng: np.random.Generator) -> None:
    _box(pen, (0, 0), (SIZE, SIZE), (170, 160, 140))
    for x, y in product((14, 33, 52), repeat=2):
        radius = rng.uniform(5, 8)
        _ellipse(pen, (x + 1.5, y + 1.5), (radius, radius), (90, 85, 80))
        _ellipse(pen, (x, y), (radius, radius), (235, 235, 230))


def _tennis(pen: ImageDraw.ImageDraw, rng: np.random.Generator) -> None:
    x, y, fill = *rng.uniform(12, 18, 2), _tone(rng, 80, 160, (0.5, 0.8, 1.0))
    _box(pen, (x - 5, y - 7), (x + 35, y + 45), (60, 120, 70))
    _box(pen, (x, y), (x + 30, y + 38), fill)
    white = (245, 245, 245)
    corners = [(x, y), (x + 30, y), (x + 30, y + 38), (x, y + 38), (x, y)]
    _line(pen, corners, white, 1)
    for at in (x + 4, x + 26):
        _line(pen, [(at, y), (at, y + 38)], white, 0.8)
    _line(pen, [(x, y + 19), (x + 30, y + 19)], white, 1.2)


LAND: Mapping[str, Callable[[ImageDraw.ImageDraw, np.random.Generator], None]] = {
    "agricultural": _agricultural,
    "beach": _beach,
    "forest": _forest,
    "intersection": _intersection,
    "parking lot": _parking,
    "river": _river,
    "runway": _runway,
    "storage tanks": _tanks,
    "tennis court": _tennis,
}


def _pose(rng: np.random.Generator) -> dict[str, Point]:
    x, y = 32 + rng.uniform(-5, 5), 36 + rng.uniform(-2, 2)
    lean = rng.uniform(-0.25, 0.25)
    neck = (x + 17 * math.sin(lean), y - 17 * math.cos(lean))
    joints = {"neck": neck, "head top": _from(neck, lean + rng.uniform(-0.2, 0.2), -9)}
    # The person faces the viewer: the right side is on the left of the picture.
    for side, sign in (("right", -1), ("left", 1)):
        shoulder, hip = (neck[0] + sign * 6, neck[1] + 2), (x + sign * 4, y)
        arm, forearm = sign * rng.uniform(0.1, 2.4), sign * rng.uniform(-0.3, 1.2)
        elbow = _from(shoulder, -arm, 9)
        thigh, shin = sign * rng.uniform(-0.1, 0.9), sign * rng.uniform(-0.6, 0.2)
        knee = _from(hip, -thigh, 11)
        joints |= {
            f"{side} shoulder": shoulder,
            f"{side} elbow": elbow,
            f"{side} wrist": _from(elbow, -(arm + forearm), 8),
            f"{side} hip": hip,
            f"{side} knee": knee,
            f"{side} ankle": _from(knee, -(thigh + shin), 11),
        }
    return joints


def _from(start: Point, angle: float, length: float) -> Point:
    """The end of a limb that hangs from `start` at `angle` to the vertical."""
    return start[0] - length * math.sin(angle), start[1] + length * math.cos(angle)


def _canvas(fill: Colour) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    image = Image.new("RGB", (SIZE * _SCALE, SIZE * _SCALE), fill)
    return image, ImageDraw.Draw(image)


def _inside(box: Box) -> Box:
    x1, y1, x2, y2 = (min(max(float(value), 0.0), float(SIZE)) for value in box)
    return x1, y1, x2, y2


def _reduced(image: Image.Image, rng: np.random.Generator) -> Picture:
    small = np.asarray(image.resize((SIZE, SIZE), Image.Resampling.BOX), np.float32)
    return (small + rng.normal(0, 4, small.shape)).clip(0, 255).astype(np.uint8)


def _scaled(point: Point) -> Point:
    return point[0] * _SCALE, point[1] * _SCALE


def _line(pen: ImageDraw.ImageDraw, points: Sequence[Point], fill: Colour, width: float) -> None:
    pen.line([_scaled(p) for p in points], fill=fill, width=round(width * _SCALE), joint="curve")


def _box(pen: ImageDraw.ImageDraw, first: Point, last: Point, fill: Colour) -> None:
    pen.rectangle([_scaled(first), _scaled(last)], fill=fill)


def _ellipse(pen: ImageDraw.ImageDraw, centre: Point, radii: Point, fill: Colour) -> None:
    (x, y), (width, height) = centre, radii
    pen.ellipse([_scaled((x - width, y - height)), _scaled((x + width, y + height))], fill=fill)


def _tone(
    rng: np.random.Generator, low: float, high: float, tint: Sequence[float] | None = None
) -> Colour:
    values = rng.uniform(low, high, 3) if tint is None else rng.uniform(low, high) * np.array(tint)
    return int(values[0]), int(values[1]), int(values[2])


def _shade(colour: Colour, rng: np.random.Generator) -> Colour:
    red, green, blue = np.minimum(255, np.array(colour) * rng.uniform(0.88, 1.08))
    return int(red), int(green), int(blue)
