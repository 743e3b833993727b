"""Strict loading of a checkpoint directory: any mismatch of the weights is an error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from lamm_model.modeling import LammForConditionalGeneration
from lamm_model.spec import CheckpointError, CheckpointSpec

_SHOWN = 20


def load_model(
    directory: str | Path, dtype: torch.dtype | None = None
) -> LammForConditionalGeneration:
    """The model in eval mode; `dtype=None` keeps the stored dtype.

    Raises:
        CheckpointError: a file is missing or broken, or weights are missing, unexpected or not of
            the shapes of `config.json`; the message lists them.
    """
    path = Path(directory)
    CheckpointSpec.from_pretrained(path)  # reports missing files before the weights are read
    try:
        loaded: Any = LammForConditionalGeneration.from_pretrained(
            path,
            dtype="auto" if dtype is None else dtype,
            local_files_only=True,
            use_safetensors=True,
            # Reports all weights of another shape instead of raising for the first.
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}: the weights cannot be read: {error}") from error
    model: LammForConditionalGeneration
    model, report = loaded
    misshapen = [
        f"{key}: {list(stored)}, expected {list(wanted)}"
        for key, stored, wanted in sorted(report["mismatched_keys"])
    ]
    refuse(
        f"{path}: the weights do not match config.json",
        {
            "missing": sorted(report["missing_keys"]),
            "unexpected": sorted(report["unexpected_keys"]),
            "of another shape": misshapen,
        },
    )
    return model


def refuse(summary: str, problems: Mapping[str, Sequence[str]], advice: Sequence[str] = ()) -> None:
    """Raises CheckpointError with the summary and the names of each kind of problem, if any."""
    lines = [line for what, names in problems.items() for line in listed(what, names)]
    if lines:
        raise CheckpointError("\n".join((summary, *lines, *advice)))


def listed(what: str, names: Sequence[str]) -> list[str]:
    """Lines of an error: `N what:` and up to 20 names; empty without names."""
    if not names:
        return []
    rest = [f"  ... and {len(names) - _SHOWN} more"] if len(names) > _SHOWN else []
    return [f"{len(names)} {what}:", *(f"  {name}" for name in names[:_SHOWN]), *rest]
