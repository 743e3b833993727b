"""Log-probabilities of parts of an answer: which tokens wrote which characters."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from lamm_model.tasks.reading.coordinates import tidy
from service.engine.base import TokenLogprob

# How `token_text` shows a byte that is no character by itself.
_BYTE = re.compile(r"bytes:\\x([0-9a-f]{2})")


@dataclass(frozen=True, slots=True)
class TokenSpan:
    """One token: its range of the tidy text, without white space at its start, and its logprob."""

    start: int
    end: int
    logprob: float


class TokenSpans:
    """The tokens of one answer. Ranges count characters of `tidy(text)`, as `PlaceSpan` does."""

    def __init__(self, spans: Sequence[TokenSpan], total: float) -> None:
        self._spans, self.total = spans, total

    @classmethod
    def of(cls, text: str, tokens: Sequence[TokenLogprob]) -> TokenSpans | None:
        """The tokens of an answer; None if they do not spell it, or have no log-probabilities.

        Args:
            text: the answer, without white space around it.
            tokens: all tokens that were generated. Those after the text (a stop string, the end)
                only count in `total`.
        """
        written = [_bytes_of(token.text) for token in tokens]
        whole = b"".join(written)
        encoded = text.encode()
        before = _lead(whole)
        if not tokens or whole[before : before + len(encoded)] != encoded:
            return None
        offsets = [-before]
        for piece in written:
            offsets.append(offsets[-1] + len(piece))
        places = _tidy_offsets(text, encoded, offsets)
        tidied = tidy(text)
        spans: list[TokenSpan] = []
        for (start, end), token in zip(pairwise(places), tokens, strict=True):
            lead = len(tidied[start:end]) - len(tidied[start:end].lstrip())
            spans.append(TokenSpan(start + lead, end, token.logprob))
        return cls(spans, sum(token.logprob for token in tokens))

    def logprob(self, start: int, end: int) -> float:
        """Sum over the tokens that have a character in a range; a token may be in two ranges."""
        first = bisect_left(self._spans, start + 1, key=lambda one: one.end)
        found = 0.0
        for token in self._spans[first:]:
            if token.start >= end:
                break
            if token.start < token.end:
                found += token.logprob
        return found


def _bytes_of(token_text: str) -> bytes:
    if match := _BYTE.fullmatch(token_text):
        return bytes.fromhex(match[1])
    return token_text.encode()


def _lead(whole: bytes) -> int:
    """How many bytes of white space are before a text, in all of Unicode."""
    text = whole.decode(errors="surrogateescape")
    lead = text[: len(text) - len(text.lstrip())]
    return len(lead.encode(errors="surrogateescape"))


def _tidy_offsets(text: str, encoded: bytes, offsets: Sequence[int]) -> list[int]:
    """Byte offsets of a text as offsets of its tidy form, those outside as its ends."""
    inside = [min(max(offset, 0), len(encoded)) for offset in offsets]
    if text.isascii() and tidy(text) == text:
        return inside
    # Tidying changes lengths, so each offset is the tidy length of the text before it. A character
    # that was written in several tokens belongs to the last of them.
    return [len(tidy(encoded[:offset].decode(errors="ignore"))) for offset in inside]
