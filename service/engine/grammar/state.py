"""A compiled grammar, and the place of one answer in it. Torch-free.

Shapes: V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from service.engine.base import AnswerGrammarError
from service.engine.grammar.json_ending import JsonEnding
from service.engine.grammar.json_tokens import JsonTokens

if TYPE_CHECKING:
    from llguidance import LLMatcher


class Grammar:
    """A compiled grammar; each answer has its own state in it."""

    def __init__(
        self, matcher: LLMatcher, tokens: JsonTokens | None = None, reserve: int = 0
    ) -> None:
        """`tokens` are given for answers in JSON; `reserve` as for `JsonEnding`."""
        self._matcher, self._tokens, self._reserve = matcher, tokens, reserve

    def start(self, max_tokens: int | None = None) -> GrammarState:
        """The state of an empty answer; one in JSON ends within `max_tokens` if it can."""
        ending = None
        if max_tokens is not None and self._tokens is not None:
            ending = JsonEnding(self._tokens, self._reserve)
        return GrammarState(self._matcher.deep_copy(), ending, max_tokens or 0)


class GrammarState:
    """The position of one answer in its grammar. Used from one thread."""

    def __init__(self, matcher: LLMatcher, ending: JsonEnding | None, max_tokens: int) -> None:
        self._matcher, self._consumed = matcher, 0
        self._ending, self._max_tokens = ending, max_tokens

    def allowed(self, output_token_ids: Sequence[int]) -> bytes:
        """Which tokens may follow the answer so far: V bytes, 0 for those that may not.

        At the end of the grammar, only end-of-sequence tokens. Calling it again for the same answer
        returns the same; the answer may only have grown since the last call.

        Raises:
            AnswerGrammarError: the answer does not match the grammar, or the step is too expensive.
        """
        new = list(output_token_ids[self._consumed :])
        self._consumed += len(new)
        if new and not self._matcher.consume_tokens(new):
            raise AnswerGrammarError("no value satisfies the schema from here on")
        mask = self._matcher.compute_logit_bias()
        if self._matcher.is_error():
            raise AnswerGrammarError("the schema is too complex to continue this answer")
        if self._ending is None:
            return mask
        self._ending.feed(new)
        return self._ending.restrict(mask, self._matcher, self._max_tokens - self._consumed)
