"""Token counts of records, and the effect of a limit. Torch-free.

Tokens are counted as in training: BOS, the prompt with its system prompt, one token per feature
of a medium, and the answers.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from lamm_model.conversation import (
    MediaChunk,
    Modality,
    PromptPreset,
    SpecialChunk,
    Turn,
    render,
)
from lamm_model.spec import CheckpointSpec
from lamm_model.system_texts import system_text
from lamm_model.tokenizer import LammTokenizer

# LAMM's sizes: CLIP ViT-L/14 at 224 pixels has 256 patches, and EPCL has 256 tokens.
PUBLISHED_MEDIA_TOKENS: Mapping[Modality, int] = {Modality.IMAGE: 256, Modality.POINT_CLOUD: 256}


@dataclass(frozen=True, slots=True)
class RecordLength:
    """`tokens` of the whole record; `kept` of its `turns` fit the limit."""

    tokens: int
    turns: int
    kept: int


class LengthCounter:
    """Counts the tokens of conversations."""

    def __init__(
        self,
        tokenizer: LammTokenizer,
        system_prompts: Mapping[str, str],
        media_tokens: Mapping[Modality, int],
        preset: PromptPreset = PromptPreset.LAMM_TRAIN,
    ) -> None:
        """`system_prompts` by task type, `media_tokens` by modality."""
        self._system_prompts, self._media_tokens = system_prompts, media_tokens
        self._preset = preset
        # System prompts and templated questions repeat.
        self._count_text = functools.lru_cache(maxsize=1 << 14)(
            lambda text: len(tokenizer.encode(text))
        )

    @classmethod
    def from_pretrained(cls, directory: Path) -> Self:
        """From a checkpoint, or with LAMM's media sizes from a folder with only `tokenizer.json`.

        Raises:
            CheckpointError: the checkpoint is malformed.
            FileNotFoundError: `tokenizer.json` is missing.
        """
        tokenizer = LammTokenizer.from_pretrained(directory)
        if not (directory / "processor_config.json").is_file():
            return cls(tokenizer, {}, PUBLISHED_MEDIA_TOKENS)
        spec = CheckpointSpec.from_pretrained(directory)
        tokens = {modality: spec.placeholder(modality)[1] for modality in spec.modalities}
        preset = spec.prompt_preset if spec.prompt_preset.trains else PromptPreset.LAMM_TRAIN
        return cls(tokenizer, spec.system_prompts, tokens, preset)

    def measure(self, turns: Sequence[Turn], task_type: str, limit: int | None) -> RecordLength:
        """Tokens of a record, and the number of leading turns that fit `limit`."""
        system = system_text(self._system_prompts, PromptPreset.LAMM_TRAIN, task_type)
        tokens, kept, answered = 1, 0, 0
        for chunk in render(turns, system, self._preset):
            if isinstance(chunk, MediaChunk):
                tokens += self._media_tokens.get(chunk.modality, 0)
                continue
            if isinstance(chunk, SpecialChunk):  # they belong to the answer before them
                tokens += len(chunk.pieces)
            else:
                tokens += self._count_text(chunk.text)
                answered += chunk.trains
            if limit is None or tokens <= limit:
                kept = answered
            elif isinstance(chunk, SpecialChunk) and kept == answered:
                kept -= 1
        if turns and turns[-1].assistant is None:
            kept = len(turns) if limit is None or tokens <= limit else 0
        return RecordLength(tokens, len(turns), kept)


@dataclass(slots=True)
class LengthTally:
    """The lengths of a file's records, as a histogram whose size does not grow with the file."""

    histogram: Counter[int] = field(default_factory=Counter)
    shortened: int = 0
    dropped: int = 0

    def add(self, length: RecordLength) -> None:
        """Counts a record: shortened if only some of its turns fit, dropped if none do."""
        self.histogram[length.tokens] += 1
        self.shortened += 0 < length.kept < length.turns
        self.dropped += length.kept == 0

    def quantile(self, share: float) -> int:
        """The smallest length that at least `share` of the records do not exceed; 0 if empty."""
        wanted, seen = share * self.histogram.total(), 0
        for tokens in sorted(self.histogram):
            seen += self.histogram[tokens]
            if seen >= wanted:
                return tokens
        return 0
