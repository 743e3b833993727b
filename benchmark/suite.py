"""A benchmark suite in memory: rows of questions that are ready to ask."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lamm_model.tasks import AnyTask, Sample

MINI_SUITE = "mini"
# What of a suite was taken, in its provenance; a suite that is a draw itself says so beside it.
TAKEN = "taken"
# Metrics in objects, of which less is better: no share of anything.
ERROR_METRICS = ("mae", "rmse")


@dataclass(frozen=True, slots=True)
class Item:
    """One question ready to ask; `media` is an existing file, or None."""

    row: str
    sample: Sample
    task: AnyTask
    inputs: Any
    target: Any
    media: Path | None

    def key(
        self, fingerprint: str, parameters: Mapping[str, Any], media_digest: str | None = None
    ) -> str:
        """Identity of the answer to this item: who was asked what, about which bytes, and how.

        Args:
            fingerprint: of the weights, their adapter and the prompt preset, as the server tells.
            parameters: whatever else the answer depends on.
            media_digest: SHA-256 of the medium's bytes in hexadecimal, where it is known already.

        Raises:
            OSError: the medium cannot be read.
        """
        if media_digest is None or self.media is None:
            media = self.media.read_bytes() if self.media else b""
            media_digest = hashlib.sha256(media).hexdigest()
        parts = [
            fingerprint, self.row, self.sample.id, self.sample.question, media_digest,
            dict(parameters),
        ]  # fmt: skip
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class SuiteRow:
    """One line of the score table. `chance` and `target` are shares, or None where not stated.

    `set` names the row among those that Binary-Locating pools: VOC2012, LSP or FSC147.
    """

    name: str
    task: AnyTask
    metric: str
    chance: float | None
    target: float | None
    items: tuple[Item, ...]
    problems: tuple[str, ...]
    set: str | None = None


@dataclass(frozen=True, slots=True)
class Suite:
    """A suite as read."""

    name: str
    directory: Path
    rows: tuple[SuiteRow, ...]
    provenance: dict[str, Any]
