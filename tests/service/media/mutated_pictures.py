"""Files of other writers with some bytes changed, lost or added, the same ones in every run."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from lamm_model.conversation import Modality
from service.media.process import MediaJob
from tests.service.media.hostile_case import Case
from tests.service.media.hostile_pictures import FIXTURES

_HEADER = 700  # bytes that hold most of the boxes or tags
_EXTREMES = (0, 1, 127, 128, 255)
_WORDS = (b"\xff\xff\xff\xff", bytes(4), b"\x7f\xff\xff\xff", b"\0\0\xff\xff", b"\xff\xff\0\0")


def mutated_cases(suffix: str, count: int) -> Iterator[Case]:
    """`count` files made from those with that suffix; each may be read or refused."""
    random = Random(suffix)
    files = sorted(FIXTURES.glob(f"*.{suffix}"))
    for number in range(count):
        path = files[number % len(files)]
        job = MediaJob(Modality.IMAGE, _mutated(path.read_bytes(), random))
        yield Case(f"mutation {number} of {path.name}", job, None, {})


def _mutated(data: bytes, random: Random) -> bytes:
    changed = bytearray(data)
    way = random.randrange(5)
    at = random.randrange(len(changed) - 4)
    if way == 0:
        for _ in range(random.randrange(1, 8)):
            changed[random.randrange(len(changed))] = random.randrange(256)
    elif way == 1:
        for _ in range(random.randrange(1, 4)):
            changed[random.randrange(min(len(changed), _HEADER))] = random.choice(_EXTREMES)
    elif way == 2:
        del changed[at : at + random.randrange(1, 200)]
    elif way == 3:
        changed[at:at] = random.randbytes(random.randrange(1, 50))
    else:
        changed[at : at + 4] = random.choice(_WORDS)
    return bytes(changed)
