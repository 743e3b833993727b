"""Adapter directories for a service on EchoEngine: JSON files and headers, hardly a weight."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file


def write_adapter(
    directory: Path, base_digest: str, modalities: Sequence[str] = ("image", "point")
) -> Path:
    """An adapter, trained on the base of that digest, with projectors for these media."""
    directory.mkdir(parents=True)
    (directory / "adapter_config.json").write_text("{}")
    (directory / "provenance.json").write_text(json.dumps({"base": {"digest": base_digest}}))
    name = directory.name.encode()
    save_file({"lora": np.frombuffer(name, np.uint8)}, directory / "adapter_model.safetensors")
    save_file(
        {f"{modality}_projector.weight": np.zeros(1) for modality in modalities},
        directory / "projectors.safetensors",
    )
    return directory
