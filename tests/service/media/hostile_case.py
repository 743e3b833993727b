"""One file that is sent to the decoders, and what must come of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from service.media.process import MediaJob

TRUNCATIONS = range(5, 100, 5)


@dataclass(frozen=True, slots=True)
class Case:
    """`refused` is None where a refusal and a right answer are both right.

    `info` must stand in the answer's, where there is one.
    """

    name: str
    job: MediaJob
    refused: bool | None
    info: Mapping[str, Any]
