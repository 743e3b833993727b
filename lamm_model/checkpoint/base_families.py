"""The language models that LAMM's published deltas were trained on, and what tells them apart.

A delta does not name its base. With another base of the same sizes it gives nonsense without an
error, so the configuration and the name of a base are compared with these facts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from lamm_model.conversation import LLAMA2_NORMAL_SYSTEM, NORMAL_SYSTEM, PromptPreset

_LAMM_LICENCE = "LAMM's weights: CC BY-NC 4.0 by its README (its hub cards disagree)."


class BaseFamily(StrEnum):
    """A base of published deltas."""

    VICUNA_V0 = "vicuna-v0"
    LLAMA2_CHAT = "llama2-chat"


@dataclass(frozen=True, slots=True)
class FamilyFacts:
    """What is known of a family.

    `config` has the values of `config.json` that tell it from others, each with a note on those.
    A base whose name matches `other_names` is another model.
    """

    title: str
    config: Mapping[str, tuple[int | float, str]]
    other_names: re.Pattern[str]
    prompt_preset: PromptPreset
    normal_system: str
    licence: str


_OTHERS = r"alpaca|koala|llama-?3|code-?llama"
FAMILIES: Mapping[BaseFamily, FamilyFacts] = {
    # LLaMA-1 with one row for a padding token; v1.1, later versions and LLaMA itself have 32000
    # rows (FastChat issue 363).
    BaseFamily.VICUNA_V0: FamilyFacts(
        title="Vicuna v0",
        config={
            "vocab_size": (32001, "v1.1, v1.3, v1.5 and LLaMA itself have 32000"),
            "max_position_embeddings": (2048, "v1.5 and Llama 2 have 4096"),
            "rms_norm_eps": (1e-6, "v1.5 and Llama 2 have 1e-05"),
        },
        other_names=re.compile(rf"v1\.[0-9]|llama-?2|{_OTHERS}", re.IGNORECASE),
        prompt_preset=PromptPreset.LAMM_TRAIN,
        normal_system=NORMAL_SYSTEM,
        licence=f"{_LAMM_LICENCE} Vicuna v0 is derived from LLaMA-1: Meta's LLaMA licence, no "
        "commercial use.",
    ),
    BaseFamily.LLAMA2_CHAT: FamilyFacts(
        title="Llama 2 chat",
        config={
            "vocab_size": (32000, "Vicuna v0 has 32001"),
            "max_position_embeddings": (4096, "LLaMA-1 and its Vicunas have 2048"),
            "rms_norm_eps": (1e-5, "LLaMA-1 and its Vicunas have 1e-06"),
        },
        # Llama 2 before its training on chats has the same sizes, and so has Vicuna v1.5.
        other_names=re.compile(rf"vicuna|{_OTHERS}|llama-?2-\d+b(?!-?chat)", re.IGNORECASE),
        prompt_preset=PromptPreset.LLAMA2_CHAT,
        normal_system=LLAMA2_NORMAL_SYSTEM,
        licence=f"{_LAMM_LICENCE} Llama 2: Meta's Llama 2 Community License.",
    ),
}
_NAMES_LLAMA2 = re.compile(r"llama-?_?2", re.IGNORECASE)


def family_of(delta: Path, sibling_config: Mapping[str, Any]) -> BaseFamily:
    """The family that a delta was trained on, by its directory's name or the config.json in it.

    Vicuna v0, on which all other published deltas were trained, if neither tells.
    """
    names = (delta.resolve().parent.name, str(sibling_config.get("_name_or_path", "")))
    if any(_NAMES_LLAMA2.search(name) for name in names):
        return BaseFamily.LLAMA2_CHAT
    return BaseFamily.VICUNA_V0
