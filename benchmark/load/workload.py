"""The requests of a load test, from a seed: server and baseline get the same ones."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from benchmark.load.media import (
    Media,
    changed,
    drawn_cloud,
    drawn_picture,
    read_cloud,
    read_picture,
)
from benchmark.suite import Item

_WORDS = (
    "picture", "item", "coat", "bag", "shoe", "shirt", "chair", "table", "lamp", "sofa", "left",
    "right", "upper", "lower", "small", "large", "dark", "light", "first", "second", "near",
    "far", "what", "where", "which", "how", "many", "colour", "shape", "side", "middle", "corner",
    "thing"
)  # fmt: skip
# Repeated media are the same in all rounds.
_REPEATED_SEED = 1

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class WorkItem:
    """One request: text, medium (or None) and output length in tokens.

    If `question` is set, the request is an item of a suite: `output_len` is a limit only, and the
    answer is scored.
    """

    prompt: str
    media: Media | None
    output_len: int
    question: Item | None = None


@dataclass(frozen=True, slots=True)
class WorkloadSpec:
    """Size and media of a workload. Lengths are mixed in equal shares; media are used in turn.

    `image_sizes` (width, height) and `cloud_points` add generated media to the files. Unique media
    differ in every request, so that no cache of encoded media helps.
    """

    num_prompts: int
    input_words: tuple[int, ...] = (16,)
    output_lens: tuple[int, ...] = (128,)
    images: tuple[Path, ...] = ()
    clouds: tuple[Path, ...] = ()
    image_sizes: tuple[tuple[int, int], ...] = ()
    cloud_points: tuple[int, ...] = ()
    unique_images: bool = False
    unique_clouds: bool = False

    @property
    def has_clouds(self) -> bool:
        """Whether any request has a point cloud."""
        return bool(self.clouds or self.cloud_points)


def make_workload(spec: WorkloadSpec, seed: int) -> list[WorkItem]:
    """Distinct random questions, with an exact mix of lengths in random order.

    Raises:
        BenchmarkError: a file cannot be read or made unique.
    """
    rng = random.Random(seed)
    sources = _media_sources(spec)
    outputs = _mixed(spec.output_lens, spec.num_prompts, rng)
    inputs = _mixed(spec.input_words, spec.num_prompts, rng)
    items = []
    for index, (words, output_len) in enumerate(zip(inputs, outputs, strict=True)):
        text = " ".join(rng.choices(_WORDS, k=words))
        media = sources[index % len(sources)](rng) if sources else None
        items.append(WorkItem(f"{text} {index}?", media, output_len))
    return items


def _mixed(values: Sequence[T], count: int, rng: random.Random) -> list[T]:
    mixed = [values[index % len(values)] for index in range(count)]
    rng.shuffle(mixed)
    return mixed


def _media_sources(spec: WorkloadSpec) -> list[Callable[[random.Random], Media]]:
    """One function per media source; each returns the medium of one request."""
    sources = [_from_file(read_picture(path), spec.unique_images) for path in spec.images]
    sources += [_drawn_pictures(*size, spec.unique_images) for size in spec.image_sizes]
    sources += [_from_file(read_cloud(path), spec.unique_clouds) for path in spec.clouds]
    sources += [_drawn_clouds(points, spec.unique_clouds) for points in spec.cloud_points]
    return sources


def _from_file(media: Media, unique: bool) -> Callable[[random.Random], Media]:
    return lambda rng: changed(media, rng) if unique else media


def _drawn_pictures(width: int, height: int, unique: bool) -> Callable[[random.Random], Media]:
    repeated = drawn_picture(width, height, random.Random(_REPEATED_SEED))
    return lambda rng: drawn_picture(width, height, rng) if unique else repeated


def _drawn_clouds(points: int, unique: bool) -> Callable[[random.Random], Media]:
    repeated = drawn_cloud(points, random.Random(_REPEATED_SEED))
    return lambda rng: drawn_cloud(points, rng) if unique else repeated
