"""Begins answers of a compiled schema, since some of its faults show only there. Torch-free."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from service.engine.base import GrammarError
from service.engine.grammar.json_position import JsonPosition
from service.engine.grammar.json_tokens import JsonTokens
from service.engine.grammar.short_ending import DeadEndError, find_ending

if TYPE_CHECKING:
    from llguidance import LLMatcher

# What the first tokens of an answer may take of the processor: a batch waits for each of its
# answers at every token.
_TOKENS, MAX_TRIAL_S = 64, 0.03
_MAX_PATTERNS = 64


def begin_answer(matcher: LLMatcher, tokens: JsonTokens) -> None:
    """Writes the beginning of a short answer.

    Raises:
        GrammarError: there is no answer, or its tokens take too long.
    """
    started = time.thread_time()
    try:
        find_ending(matcher, tokens, JsonPosition(), _TOKENS)
    except DeadEndError as error:
        raise GrammarError("no value satisfies it, or it is too complex") from error
    if (took := time.thread_time() - started) > MAX_TRIAL_S:
        raise GrammarError(
            f"no value satisfies it, or it is too complex: the first tokens of an answer take "
            f"{took:.2f} s; the limit is {MAX_TRIAL_S} s"
        )


def patterns_of(text: str) -> list[str]:
    """The first patterns in the text of a schema, which a short answer may not reach."""
    found: dict[str, None] = {}
    rest: list[Any] = [json.loads(text)]
    while rest and len(found) < _MAX_PATTERNS:
        one = rest.pop()
        if isinstance(one, dict):
            rest += one.values()
            if isinstance(one.get("pattern"), str):
                found[one["pattern"]] = None
        elif isinstance(one, list):
            rest += one
    return list(found)
