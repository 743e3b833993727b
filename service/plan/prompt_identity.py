"""What tells one way of writing prompts from another. Called by the endpoints that name models."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass

from lamm_model.conversation import Modality, Turn, render
from lamm_model.spec import CheckpointSpec


@dataclass(frozen=True, slots=True)
class PromptIdentity:
    """A prompt preset by its name, and a digest of all that it puts around a question."""

    name: str
    digest: str


def prompt_identity(spec: CheckpointSpec) -> PromptIdentity:
    """The preset that a checkpoint is served with.

    The digest is of a question about each kind of medium as the preset writes it, of what ends an
    answer, and of the system texts. So it changes with a prompt pack, and with this program's own
    spelling of a preset.
    """
    questions = [
        [asdict(chunk) for chunk in render([turn], spec.system_text(), spec.prompt_preset)]
        for turn in (Turn("question", None, (modality,)) for modality in Modality)
    ]
    told = [questions, asdict(spec.stop_rule), sorted(spec.system_prompts.items())]
    digest = hashlib.sha256(json.dumps(told).encode()).hexdigest()
    return PromptIdentity(spec.prompt_preset.value, digest[:16])
