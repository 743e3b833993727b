"""Finds a short way to complete a JSON answer, in the compiled grammar itself. Torch-free."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from service.engine.grammar.json_position import JsonPosition
from service.engine.grammar.json_tokens import JsonTokens

if TYPE_CHECKING:
    from llguidance import LLMatcher

_MAX_ENDING = 4096


class DeadEndError(Exception):
    """The grammar allows no token: no value satisfies it, or it exceeds a limit of the matcher."""


def find_ending(
    matcher: LLMatcher, tokens: JsonTokens, position: JsonPosition, limit: int
) -> list[int] | None:
    """Tokens that complete the answer, with the end-of-sequence token; None beyond `limit`.

    Closes what is open, and takes the simplest value where one is needed. It is short, if not the
    shortest: where a pattern wants more of a string, other characters are tried before any is
    repeated.

    Raises:
        DeadEndError: the grammar does not go on.
    """
    copy, place, ending = matcher.deep_copy(), position.copy(), list[int]()
    used: dict[int, int] = {}
    limit = min(limit, _MAX_ENDING)
    while len(ending) < limit:
        forced = copy.compute_ff_tokens()
        if not forced:
            mask = copy.compute_logit_bias()
            if copy.is_error() or not any(mask):
                raise DeadEndError
            end = next((token for token in tokens.eos_token_ids if mask[token]), None)
            if end is not None:
                return [*ending, end]
            forced = [tokens.simplest(np.frombuffer(mask, np.uint8) != 0, place.in_string, used)]
        if not copy.consume_tokens(forced):
            raise DeadEndError
        ending += forced
        for token in forced:
            place.feed(tokens.pieces[token])
        if not place.in_string:
            used.clear()
    return None


def ending_or_none(
    matcher: LLMatcher, tokens: JsonTokens, position: JsonPosition, limit: int
) -> list[int] | None:
    """As `find_ending`, and None where the grammar does not go on."""
    try:
        return find_ending(matcher, tokens, position, limit)
    except DeadEndError:
        return None
