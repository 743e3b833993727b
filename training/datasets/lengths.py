"""How many tokens records have, and what a limit would cut. Torch-free.

Used by `training.datasets.check`. Counted as the trainer counts: BOS, the prompt with its system
text, one place for every feature of a medium, and the answers.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from lamm_model.conversation import MediaChunk, Modality, Turn, render
from lamm_model.spec import CheckpointSpec
from lamm_model.tokenizer import LammTokenizer
from training.data.records import system_prompt

# LAMM's own: CLIP ViT-L/14 at 224 pixels has 256 patches, and EPCL as many tokens.
PUBLISHED_MEDIA_TOKENS: Mapping[Modality, int] = {Modality.IMAGE: 256, Modality.POINT_CLOUD: 256}


@dataclass(frozen=True, slots=True)
class RecordLength:
    """`tokens` of the whole record; `kept` of its `turns` fit the limit that was asked about."""

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
    ) -> None:
        """`system_prompts` are by task type; a type without one gets that of `normal`."""
        self._system_prompts, self._media_tokens = system_prompts, media_tokens
        # System texts and templated questions come again and again.
        self._count_text = functools.lru_cache(maxsize=1 << 14)(
            lambda text: len(tokenizer.encode(text))
        )

    @classmethod
    def from_pretrained(cls, directory: Path) -> Self:
        """From a checkpoint; from a folder with `tokenizer.json` alone with LAMM's own sizes.

        Raises:
            CheckpointError: the checkpoint is malformed.
            FileNotFoundError: there is no `tokenizer.json`.
        """
        tokenizer = LammTokenizer.from_pretrained(directory)
        if not (directory / "processor_config.json").is_file():
            return cls(tokenizer, {}, PUBLISHED_MEDIA_TOKENS)
        spec = CheckpointSpec.from_pretrained(directory)
        tokens = {modality: spec.placeholder(modality)[1] for modality in spec.modalities}
        return cls(tokenizer, spec.system_prompts, tokens)

    def measure(self, turns: Sequence[Turn], task_type: str, limit: int | None) -> RecordLength:
        """Tokens of a record, and how many whole turns from its start fit within `limit`."""
        system = system_prompt(self._system_prompts, task_type)
        tokens, kept, answered = 1, 0, 0
        for chunk in render(turns, system):
            if isinstance(chunk, MediaChunk):
                tokens += self._media_tokens.get(chunk.modality, 0)
                continue
            tokens += self._count_text(chunk.text)
            if chunk.trains:
                answered += 1
                kept = answered if limit is None or tokens <= limit else kept
        if turns and turns[-1].assistant is None:
            kept = len(turns) if limit is None or tokens <= limit else 0
        return RecordLength(tokens, len(turns), kept)


@dataclass(slots=True)
class LengthTally:
    """The lengths of a file's records as a histogram: as large as the longest, not as the file."""

    histogram: Counter[int] = field(default_factory=Counter)
    shortened: int = 0
    dropped: int = 0

    def add(self, length: RecordLength) -> None:
        """Counts a record: shortened if some of its turns fit, dropped if none does."""
        self.histogram[length.tokens] += 1
        self.shortened += 0 < length.kept < length.turns
        self.dropped += length.kept == 0

    def quantile(self, share: float) -> int:
        """The least length that at least `share` of the records do not exceed; 0 without any."""
        wanted, seen = share * self.histogram.total(), 0
        for tokens in sorted(self.histogram):
            seen += self.histogram[tokens]
            if seen >= wanted:
                return tokens
        return 0
