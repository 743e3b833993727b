"""The requests of a load test and when they are sent; seeded, so that all contenders get the same.

Called by `load`, for the server and for the baseline alike.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from benchmark.content import IMAGE_TYPES
from benchmark.errors import BenchmarkError

_WORDS = (
    "picture", "item", "coat", "bag", "shoe", "shirt", "chair", "table", "lamp", "sofa", "left",
    "right", "upper", "lower", "small", "large", "dark", "light", "first", "second", "near",
    "far", "what", "where", "which", "how", "many", "colour", "shape", "side", "middle", "corner",
    "thing"
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class WorkItem:
    """One request: its text, its picture as encoded bytes (or None), the tokens it must give."""

    prompt: str
    image: bytes | None
    mime: str
    output_len: int


@dataclass(frozen=True, slots=True)
class WorkloadSpec:
    """What to send. `output_lens` are mixed in equal shares; `images` are taken in turn.

    `unique_images` changes one pixel a request, so that no cache of encoded pictures can answer.
    """

    num_prompts: int
    input_words: int = 16
    output_lens: tuple[int, ...] = (128,)
    images: tuple[Path, ...] = ()
    unique_images: bool = False


def make_workload(spec: WorkloadSpec, seed: int) -> list[WorkItem]:
    """Distinct random questions; the mix of output lengths is exact and its order shuffled.

    Raises:
        BenchmarkError: an image cannot be read, or `unique_images` without Pillow.
    """
    rng = random.Random(seed)
    images = [_read_image(path) for path in spec.images]
    lens = [spec.output_lens[i % len(spec.output_lens)] for i in range(spec.num_prompts)]
    rng.shuffle(lens)
    items = []
    for index, output_len in enumerate(lens):
        words = rng.choices(_WORDS, k=spec.input_words)
        image, mime = images[index % len(images)] if images else (None, "")
        if image is not None and spec.unique_images:
            image, mime = with_changed_pixel(image, rng), "image/png"
        items.append(WorkItem(f"{' '.join(words)} {index}?", image, mime, output_len))
    return items


def arrival_times(count: int, rate: float, burstiness: float, seed: int) -> list[float]:
    """Seconds after the start at which requests are due.

    Intervals are gamma-distributed with mean `1 / rate` and shape `burstiness`: 1 is a Poisson
    process, less is burstier. An infinite rate sends all at once.

    Raises:
        BenchmarkError: the rate or the burstiness is not above 0.
    """
    if not rate > 0 or not burstiness > 0:
        raise BenchmarkError(f"request rate {rate} and burstiness {burstiness} must be above 0")
    if math.isinf(rate):
        return [0.0] * count
    rng = random.Random(seed)
    due, times = 0.0, []
    for _ in range(count):
        times.append(due)
        due += rng.gammavariate(burstiness, 1 / (rate * burstiness))
    return times


def with_changed_pixel(image: bytes, rng: random.Random) -> bytes:
    """The picture as PNG with one pixel of random place and colour."""
    try:
        from PIL import Image  # noqa: PLC0415 - only this option needs Pillow
    except ImportError:
        raise BenchmarkError("--unique-images needs Pillow: pip install pillow") from None
    with Image.open(BytesIO(image)) as opened:
        picture = opened.convert("RGB")
    place = rng.randrange(picture.width), rng.randrange(picture.height)
    picture.putpixel(place, (rng.randrange(256), rng.randrange(256), rng.randrange(256)))
    stream = BytesIO()
    picture.save(stream, "PNG")
    return stream.getvalue()


def _read_image(path: Path) -> tuple[bytes, str]:
    mime = IMAGE_TYPES.get(path.suffix.lower())
    if mime is None:
        raise BenchmarkError(f"{path}: a load test takes pictures ({', '.join(IMAGE_TYPES)})")
    try:
        return path.read_bytes(), mime
    except OSError as error:
        raise BenchmarkError(f"{path} cannot be read: {error.strerror}") from None
