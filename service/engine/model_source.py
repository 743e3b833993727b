"""Where one model of an engine comes from. Torch-free; made by the service, read by the engine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lamm_model.spec import CheckpointSpec


@dataclass(frozen=True, slots=True)
class ModelSource:
    """One model by its name: a checkpoint, or an adapter directory over a checkpoint.

    `base` holds the language model, the encoders and the tokenizer; `adapter` the LoRA and the
    projectors that were trained on it, None where the checkpoint is served as it is. `spec` is the
    model's own: an adapter without a projector for a medium does not take that medium.
    """

    name: str
    spec: CheckpointSpec
    base: Path
    adapter: Path | None = None

    @classmethod
    def from_pretrained(cls, directory: Path, name: str | None = None) -> ModelSource:
        """A checkpoint directory, named as the directory unless told otherwise.

        Raises:
            CheckpointError: it is no checkpoint.
        """
        spec = CheckpointSpec.from_pretrained(directory)
        return cls(name or directory.resolve().name, spec, directory)
