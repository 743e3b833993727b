"""The source of one model of an engine. Torch-free."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lamm_model.spec import CheckpointSpec


@dataclass(frozen=True, slots=True)
class ModelSource:
    """A named model: a checkpoint, or an adapter directory over a checkpoint.

    `base` has the language model, the encoders and the tokenizer; `adapter` the LoRA and the
    projectors trained on it, None for a plain checkpoint. `spec` is the model's own: without a
    projector for a modality, an adapter does not accept it.
    """

    name: str
    spec: CheckpointSpec
    base: Path
    adapter: Path | None = None

    @classmethod
    def from_pretrained(cls, directory: Path, name: str | None = None) -> ModelSource:
        """A checkpoint directory; its name is the default.

        Raises:
            CheckpointError: it is not a checkpoint.
        """
        spec = CheckpointSpec.from_pretrained(directory)
        return cls(name or directory.resolve().name, spec, directory)
