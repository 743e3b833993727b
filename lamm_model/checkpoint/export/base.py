"""What a format of `lamm model export` defines. Importing it loads no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class ExportRequest:
    """One export.

    `adapter` is merged on the way. `target` is one of the format's. `dtype` is the name of the
    stored weights' dtype; None keeps the checkpoint's. `replace` replaces an existing `out`. Files
    of weights stay below `max_shard_bytes`; None is 2 GB.
    """

    checkpoint: Path
    out: Path
    target: str
    adapter: Path | None = None
    dtype: str | None = None
    replace: bool = False
    max_shard_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class ExportResult:
    """Digest and dtype of the written weights, and what a reader must know, one sentence each."""

    digest: str
    dtype: str
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ExportFormat:
    """A format: `targets` maps the programs to write for to what differs; the first is the default.

    `write` writes `request.out` completely or not at all. It raises CheckpointError if the
    checkpoint does not fit the format, and FileExistsError if `out` exists and is not to be
    replaced.
    """

    name: str
    summary: str
    targets: Mapping[str, str]
    write: Callable[[ExportRequest], ExportResult]
