"""The identity of a model's prompt format."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass

from lamm_model.conversation import Modality, Turn, render
from lamm_model.spec import CheckpointSpec


@dataclass(frozen=True, slots=True)
class PromptIdentity:
    """A prompt preset's name, and a digest of everything that it adds to a question."""

    name: str
    digest: str


def prompt_identity(spec: CheckpointSpec) -> PromptIdentity:
    """The prompt preset of a checkpoint as it is served.

    The digest covers a question about each modality as the preset formats it, the stop rule, and
    the system prompts. So it changes with a prompt pack, and with a change of a preset in this
    code.
    """
    questions = [
        [asdict(chunk) for chunk in render([turn], spec.system_text(), spec.prompt_preset)]
        for turn in (Turn("question", None, (modality,)) for modality in Modality)
    ]
    told = [questions, asdict(spec.stop_rule), sorted(spec.system_prompts.items())]
    digest = hashlib.sha256(json.dumps(told).encode()).hexdigest()
    return PromptIdentity(spec.prompt_preset.value, digest[:16])
