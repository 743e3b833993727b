"""Text <-> token ids without torch, through a checkpoint's `tokenizer.json`.

LAMM was trained with LLaMA's slow sentencepiece tokenizer, one prompt chunk at a time. Every chunk
begins with its own word border (`▁`), even before a space, a line break or a tag. Fast tokenizers
give the same ids only if they always add that border.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer
from tokenizers.normalizers import Prepend, Replace
from tokenizers.normalizers import Sequence as NormalizerSequence
from tokenizers.pre_tokenizers import Metaspace

from lamm_model.conversation import Chunk, PromptError, SpecialChunk, TextChunk

WORD_BORDER = "▁"


class LammTokenizer:
    """A LLaMA tokenizer; each chunk is encoded separately and without special tokens."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        # Text that spells a special token ("</s>") is encoded as plain text.
        self._tokenizer.encode_special_tokens = True
        # Text is never truncated or padded, whatever the file says.
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        _always_begin_with_a_border(tokenizer)

    @classmethod
    def from_pretrained(cls, directory: Path) -> LammTokenizer:
        """Reads `directory/tokenizer.json`.

        Raises:
            FileNotFoundError: the file is missing.
        """
        path = Path(directory) / "tokenizer.json"
        if not path.is_file():
            raise FileNotFoundError(f"{directory}: tokenizer.json not found")
        return cls(Tokenizer.from_file(str(path)))

    def to_json(self) -> str:
        """The tokenizer as the text of a `tokenizer.json`."""
        return str(self._tokenizer.to_str())

    @property
    def vocab_size(self) -> int:
        """Number of pieces, including special ones."""
        return int(self._tokenizer.get_vocab_size())

    @functools.cached_property
    def longest_piece(self) -> int:
        """Characters of the longest piece (at least 1): no token covers more text."""
        pieces = (self.id_to_piece(i) or "" for i in range(self.vocab_size))
        return max(map(len, pieces), default=1) or 1

    def encode(self, text: str) -> list[int]:
        """Ids of one chunk, with the leading word border and without BOS."""
        # A batch of one releases the GIL; `encode` holds it.
        return list(self._tokenizer.encode_batch([text], add_special_tokens=False)[0].ids)

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids without special tokens; an incomplete UTF-8 tail becomes U+FFFD."""
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=True))

    def id_to_piece(self, token_id: int) -> str | None:
        """The vocabulary entry of an id; None if it is out of range."""
        piece = self._tokenizer.id_to_token(token_id)
        return None if piece is None else str(piece)

    def encode_prompt(
        self, chunks: Sequence[Chunk], bos_token_id: int, media_ids: Sequence[Sequence[int]]
    ) -> list[int]:
        """Ids of BOS and all chunks; medium i becomes its placeholders `media_ids[i]`.

        Raises:
            PromptError: the vocabulary lacks a special token of the prompt format.
        """
        ids = [bos_token_id]
        for chunk in chunks:
            if isinstance(chunk, TextChunk):
                ids += self.encode(chunk.text)
            elif isinstance(chunk, SpecialChunk):
                ids += self.special_ids(chunk)
            else:
                ids += media_ids[chunk.index]
        return ids

    def special_ids(self, chunk: SpecialChunk) -> list[int]:
        """Ids of special tokens.

        Raises:
            PromptError: the vocabulary lacks one.
        """
        ids: list[int] = []
        for piece in chunk.pieces:
            token_id = self._tokenizer.token_to_id(piece)
            if token_id is None:
                raise PromptError(
                    f"the prompt format writes the token {piece!r} after an answer, which the "
                    "checkpoint's tokenizer does not have"
                )
            ids.append(int(token_id))
        return ids


def _always_begin_with_a_border(tokenizer: Tokenizer) -> None:
    """Adds the border before a leading space, which newer conversions of the tokenizer omit."""
    splitter = tokenizer.pre_tokenizer
    if (
        isinstance(splitter, Metaspace)
        and splitter.replacement == WORD_BORDER
        and splitter.prepend_scheme != "never"
        and not splitter.split
        and tokenizer.normalizer is None
    ):
        tokenizer.pre_tokenizer = None
        tokenizer.normalizer = NormalizerSequence([Prepend(WORD_BORDER), Replace(" ", WORD_BORDER)])
