"""Strict loading of a checkpoint directory: every weight in its place, or a list of what is not.

Called by the trainer, by `merge` and by whoever needs the oracle.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn

from lamm_model.modeling import LammForConditionalGeneration
from lamm_model.spec import CheckpointError, CheckpointSpec

_SHOWN = 20


def load_model(
    directory: str | Path,
    dtype: torch.dtype | None = None,
    device: torch.device | str = "cpu",
) -> LammForConditionalGeneration:
    """The directory's model in eval mode; `dtype=None` keeps the stored one.

    Raises:
        CheckpointError: a file is missing or broken, or weights are missing, unexpected or of other
            shapes than `config.json` says; the message lists them.
    """
    path = Path(directory)
    CheckpointSpec.from_pretrained(path)  # names what is missing before the weights are read
    try:
        loaded: Any = LammForConditionalGeneration.from_pretrained(
            path,
            dtype="auto" if dtype is None else dtype,
            local_files_only=True,
            use_safetensors=True,
            # Mis-shaped weights then come as a list, instead of as an error about the first.
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}: the weights cannot be read: {error}") from error
    model: LammForConditionalGeneration
    model, report = loaded
    problems = [
        *listed("missing", sorted(report["missing_keys"])),
        *listed("unexpected", sorted(report["unexpected_keys"])),
        *listed(
            "of another shape",
            [
                f"{key}: {list(stored)} stored, {list(wanted)} wanted"
                for key, stored, wanted in sorted(report["mismatched_keys"])
            ],
        ),
    ]
    if problems:
        raise CheckpointError(f"{path}: the weights do not fit config.json\n" + "\n".join(problems))
    nn.Module.to(model, device)
    return model


def listed(what: str, names: Sequence[str]) -> list[str]:
    """Lines `N what:` and up to 20 names, for an error; empty without names."""
    if not names:
        return []
    rest = [f"  ... and {len(names) - _SHOWN} more"] if len(names) > _SHOWN else []
    return [f"{len(names)} {what}:", *(f"  {name}" for name in names[:_SHOWN]), *rest]
