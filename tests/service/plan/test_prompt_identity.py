"""A prompt preset's digest changes with whatever changes a prompt, and with nothing else."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from lamm_model.conversation import PromptPreset
from lamm_model.spec import CheckpointSpec
from service.plan.prompt import prompt_identity


def test_the_digest_is_of_the_prompt(checkpoint: Path) -> None:
    spec = CheckpointSpec.from_pretrained(checkpoint)
    found = prompt_identity(spec)
    assert found.name == "lamm-train"
    assert prompt_identity(CheckpointSpec.from_pretrained(checkpoint)) == found
    assert prompt_identity(dataclasses.replace(spec, digest="other weights")) == found
    other = dataclasses.replace(spec, system_prompts={"normal": "Be long."})
    assert prompt_identity(other).name == found.name
    assert prompt_identity(other).digest != found.digest


@pytest.mark.parametrize("preset", PromptPreset)
def test_every_preset_has_a_digest_of_its_own(checkpoint: Path, preset: PromptPreset) -> None:
    identities = {
        name: prompt_identity(CheckpointSpec.from_pretrained(checkpoint, prompt_preset=name))
        for name in PromptPreset
    }
    assert identities[preset].name == preset.value
    digests = [one.digest for one in identities.values()]
    assert digests.count(identities[preset].digest) == 1
