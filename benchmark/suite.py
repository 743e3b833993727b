"""A benchmark suite in memory: rows of questions that are ready to ask."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lamm_model.tasks import AnyTask, Sample
from lamm_model.tasks.dialects.manner import FREE_TEXT, Manner

MINI_SUITE = "mini"
# Provenance key of the part of a suite that was used.
TAKEN = "taken"
# Metrics in numbers of objects, lower is better; all others are shares.
ERROR_METRICS = ("mae", "rmse")


@dataclass(frozen=True, slots=True)
class Item:
    """One question, ready to send. `media` is an existing file, or None."""

    row: str
    sample: Sample
    task: AnyTask
    inputs: Any
    target: Any
    media: Path | None

    def key(
        self, fingerprint: str, parameters: Mapping[str, Any], media_digest: str | None = None
    ) -> str:
        """Key of the answer to this item: a digest of model, question, media bytes and parameters.

        Args:
            fingerprint: fingerprint of weights, adapter and prompt preset, from the server.
            parameters: everything else on which the answer depends.
            media_digest: SHA-256 of the medium in hexadecimal, if already known.

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
    """One row of the score table. `chance` and `target` are shares, or None if not stated.

    `set` names the data set for Binary-Locating, which pools VOC2012, LSP and FSC147.
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
    """A suite with its rows. `manner` is how the answers write places."""

    name: str
    directory: Path
    rows: tuple[SuiteRow, ...]
    provenance: dict[str, Any]
    manner: Manner = FREE_TEXT

    def in_manner(self, manner: Manner) -> Suite:
        """The same questions for a model that writes places in another manner."""
        rows = tuple(
            replace(
                row,
                task=row.task.in_manner(manner),
                items=tuple(replace(i, task=i.task.in_manner(manner)) for i in row.items),
            )
            for row in self.rows
        )
        return replace(self, rows=rows, manner=manner)
