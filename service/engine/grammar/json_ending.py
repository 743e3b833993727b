"""Brings a JSON answer to its end within its `max_tokens`. Torch-free.

A small model may never close a string by itself, or list items for ever. Near the end of its tokens
an answer keeps only the choices that leave room for an ending: a short way to close what is open.
Nothing is added to the grammar, so no answer becomes impossible, and one that is short enough is
not touched. Endings are found in the compiled grammar itself, token by token, in the model's own
tokens: what they cost is known exactly, whatever the script, the escapes or the keywords.

Shapes: V vocabulary.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from service.engine.grammar.json_position import JsonPosition
from service.engine.grammar.json_tokens import JsonTokens
from service.engine.grammar.short_ending import ending_or_none

if TYPE_CHECKING:
    from llguidance import LLMatcher

# How a mask of llguidance marks an allowed token.
_ALLOWED = 200
# Digits of a number and tokens of a property's name, after which it ends where the grammar lets it.
# A double holds 15 digits exactly.
MAX_NUMBER_DIGITS = 15
MAX_NAME_TOKENS = 24
# Tokens of a string after which its share of what is left is measured.
_SHARED_FROM = 16
# Tokens whose endings are compared at one step.
_MAX_COMPARED = 32
# Tokens that may be needed to complete a character, an escape (`\u001f`) or a number.
_PARTIAL = 5
# Tokens that a character may add to the ending where a pattern or a minimum length wants more.
_WANTED, _NEAR_WANTED = 2, 8


class JsonEnding:
    """What one answer may still begin. Used from one thread."""

    def __init__(self, tokens: JsonTokens, reserve: int) -> None:
        """`reserve` is an upper bound of the tokens that one property or item needs."""
        self._tokens, self._reserve = tokens, max(reserve, 1)
        self._position = JsonPosition()
        self._literal_tokens = 0
        self._share: int | None = None  # of the current string, in tokens
        # Tokens beyond those of an ending: a lower bound, or exact. None before the first step.
        self._room: int | None = None
        self._exact = False
        self._free_text = False  # whether the last token could have ended its string
        self._narrow = False  # whether it chose one of a few values or names
        self._ending: deque[int] = deque()
        self._impossible = False

    def feed(self, token_ids: Sequence[int]) -> None:
        """Takes new tokens of the answer."""
        for token in token_ids:
            self._feed(token)

    def restrict(self, mask: bytes, matcher: LLMatcher, remaining: int) -> bytes:
        """The mask without tokens after which no ending fits into the `remaining` tokens.

        As it is if no ending fits in any case.
        """
        if self._impossible:
            return mask
        if self._ending:
            return self._only(self._ending[0])
        allowed = np.frombuffer(mask, np.uint8) != 0
        in_text = self._position.in_string and not self._position.escaped
        self._free_text = in_text and bool((allowed & self._tokens.ends_string).any())
        self._narrow = in_text and not self._free_text and int(allowed.sum()) <= _MAX_COMPARED
        limited = self._limit_literal(allowed, matcher, remaining)
        if limited is None and not self._is_near_end():
            return mask
        if self._is_near_end() and not self._exact and self._measure(matcher, remaining) is None:
            return mask
        kept = allowed if limited is None else limited
        if self._is_near_end():
            kept = self._keep(kept, matcher, remaining)
            if not kept.any():
                return self._end(matcher, remaining, mask)
        return (kept * np.uint8(_ALLOWED)).tobytes()

    def _feed(self, token: int) -> None:
        if self._ending:
            self._ending.popleft()
            return
        piece, position = self._tokens.pieces[token], self._position
        was_string, was_number = position.in_string, position.in_number
        position.feed(piece)
        inside = was_string and position.in_string and not self._tokens.ends_string[token]
        same = inside or (was_number and position.in_number)
        self._literal_tokens = self._literal_tokens + 1 if same else 0
        if not same:
            self._share = None
        if self._room is None:
            return
        table = self._tokens.risk_inside if was_string else self._tokens.risk_outside
        risk = 1 if inside and self._narrow else int(table[token])
        wanted = inside and not (self._free_text or self._narrow)
        unfinished = self._tokens.partial if was_string else self._tokens.partial_number
        partial = (inside or position.in_number) and bool(unfinished[token])
        self._room -= 1 + risk * self._reserve + _WANTED * wanted + _PARTIAL * partial
        # More of a free text, or of a number, leaves the ending as it is.
        self._exact = self._exact and inside and self._free_text and not partial

    def _is_near_end(self) -> bool:
        """Whether the next token may leave too little room, as far as is known."""
        if self._room is None:
            return True
        if self._position.in_string and not (self._free_text or self._narrow):
            return self._room <= _NEAR_WANTED
        return self._room <= self._reserve * self._tokens.max_risk

    def _measure(self, matcher: LLMatcher, remaining: int) -> list[int] | None:
        """The ending from here; sets the room beside it."""
        ending = ending_or_none(matcher, self._tokens, self._position, remaining)
        if ending is None:
            self._impossible = True
            return None
        self._room, self._exact = remaining - len(ending), True
        return ending

    def _limit_literal(
        self, allowed: NDArray[np.bool_], matcher: LLMatcher, remaining: int
    ) -> NDArray[np.bool_] | None:
        """The tokens that end a number, name or text that has had its share; None if it has not."""
        position, count = self._position, self._literal_tokens
        if position.in_number and position.digits >= MAX_NUMBER_DIGITS:
            return _if_any(allowed & ~self._tokens.continues_number)
        if not self._free_text:
            return None
        if position.in_name:
            over = count >= MAX_NAME_TOKENS
        else:
            if self._share is None and count >= _SHARED_FROM:
                self._share = count + self._share_of_text(matcher, remaining)
            over = self._share is not None and count >= self._share
        return _if_any(allowed & self._tokens.ends_string) if over else None

    def _share_of_text(self, matcher: LLMatcher, remaining: int) -> int:
        """Tokens that this string may still have, if the strings after it have as many each."""
        ending = self._measure(matcher, remaining)
        if ending is None:
            return remaining
        text = b"".join(self._tokens.pieces[token] for token in ending)
        return max(remaining - len(ending), 0) // (1 + text.count(b'""'))

    def _keep(
        self, allowed: NDArray[np.bool_], matcher: LLMatcher, remaining: int
    ) -> NDArray[np.bool_]:
        """The allowed tokens after which an ending still fits."""
        left = (self._room or 0) - 1
        if left < 0:
            return np.zeros_like(allowed)
        tokens = self._tokens
        if self._free_text:
            kept = allowed & (tokens.risk_inside * self._reserve <= left)
            if left < _PARTIAL:
                kept &= ~tokens.partial
            return kept
        if self._position.in_string:
            if not self._narrow and left < _NEAR_WANTED:
                return np.zeros_like(allowed)
            doubtful = allowed if self._narrow and self._reserve > left else None
        else:
            doubtful = allowed & (tokens.risk_outside * self._reserve > left)
            if left < _PARTIAL:
                doubtful |= allowed & tokens.partial_number
        if doubtful is None or not doubtful.any() or self._is_forced(matcher, left):
            return allowed
        kept = allowed & ~doubtful
        for token in np.flatnonzero(doubtful)[:_MAX_COMPARED].tolist():
            kept[token] = self._fits(token, matcher, remaining - 1)
        return kept

    def _is_forced(self, matcher: LLMatcher, left: int) -> bool:
        """Whether there is only one text to go on with, which fits in any tokens."""
        forced = matcher.deep_copy().compute_ff_tokens()
        return 0 < sum(len(self._tokens.pieces[token]) for token in forced) <= left

    def _fits(self, token: int, matcher: LLMatcher, remaining: int) -> bool:
        if token in self._tokens.eos_token_ids:
            return True
        copy, position = matcher.deep_copy(), self._position.copy()
        if not copy.consume_token(token):
            return False
        position.feed(self._tokens.pieces[token])
        return ending_or_none(copy, self._tokens, position, remaining) is not None

    def _end(self, matcher: LLMatcher, remaining: int, mask: bytes) -> bytes:
        """Takes the ending itself from here on."""
        ending = ending_or_none(matcher, self._tokens, self._position, remaining)
        if not ending:
            self._impossible = True
            return mask
        self._ending = deque(ending)
        return self._only(ending[0])

    def _only(self, token: int) -> bytes:
        mask = bytearray(len(self._tokens.pieces))
        mask[token] = _ALLOWED
        return bytes(mask)


def _if_any(mask: NDArray[np.bool_]) -> NDArray[np.bool_] | None:
    return mask if mask.any() else None
