"""Decodes media as training and service do, in several threads, and reports the bad ones.

Threads suffice because Pillow, zlib and hashing release the GIL.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from lamm_model.conversation import Modality
from lamm_model.media import DEFAULT_LIMITS, MediaError, decode_image, decode_point_cloud
from training.datasets.complaints import Kind
from training.datasets.record_index import Medium, Verdict

# Files in flight per thread: enough to keep it busy, few enough to bound memory.
_AHEAD = 4


def judge_media(root: Path, media: Iterable[Medium], jobs: int) -> Iterator[Verdict]:
    """A verdict per medium, in order; `jobs` media are decoded at a time."""
    waiting: deque[Future[Verdict]] = deque()
    with ThreadPoolExecutor(jobs) as pool:
        for medium in media:
            waiting.append(pool.submit(_judge, root, medium))
            if len(waiting) >= _AHEAD * jobs:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _judge(root: Path, medium: Medium) -> Verdict:
    path = root / medium.path
    try:
        # Checked before reading; the decoder's own check needs the bytes.
        size = path.stat().st_size
        if not path.is_file():
            return Verdict(medium.number, None, Kind.MISSING_MEDIA, "not a file")
        if size > DEFAULT_LIMITS.max_bytes:
            fault = f"{size} bytes exceed the limit {DEFAULT_LIMITS.max_bytes}"
            return Verdict(medium.number, None, Kind.CORRUPT_MEDIA, fault)
        data = path.read_bytes()
        if medium.modality is Modality.IMAGE:
            decode_image(data)
        else:
            decode_point_cloud(data, path.suffix.removeprefix(".").lower())
    except MediaError as error:
        return Verdict(medium.number, None, Kind.CORRUPT_MEDIA, str(error))
    except (FileNotFoundError, NotADirectoryError):
        return Verdict(medium.number, None, Kind.MISSING_MEDIA, "file not found")
    except OSError as error:
        return Verdict(medium.number, None, Kind.MISSING_MEDIA, f"cannot be read: {error.strerror}")
    return Verdict(medium.number, hashlib.sha256(data).digest())
