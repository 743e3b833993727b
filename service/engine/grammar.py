"""Grammars that an answer must keep to, by llguidance. Torch-free.

`grammar_options` compiles one from a request's `response_format` or the form of a task's answer;
the engine's readout asks it at each step which tokens may come next. llguidance is an extra and
imported on first use.

Shapes: V vocabulary.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lamm_model.tokenizer import LammTokenizer
from service.engine.base import RequestFailedError

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLTokenizer
    from llguidance._lib import JsonCompileOptions

# As Python's and most programs' JSON is written: a model has seen it, and cannot dwell on spaces.
_LAYOUT: JsonCompileOptions = {
    "whitespace_flexible": False,
    "item_separator": ", ",
    "key_separator": ": ",
}
_UNIMPLEMENTED = re.compile(r"Unimplemented keys: \[([^\]]*)\]")
# What llguidance says of a schema it cannot take -> what a client is told.
_REASONS = (
    ("retrieving it failed", "a $ref leads out of the schema; only #/... is followed"),
    ("Pointer", "a $ref names nothing in the schema"),
    ("regex parse error", "a pattern is no regular expression, or one that looks around or back"),
    ("Invalid type", "a type is none of JSON's"),
    ("Unsatisfiable", "nothing satisfies it"),
    ("limit", "it is too complex"),
    ("fuel", "it is too complex"),
    ("too", "it is too complex"),
)
_KEYWORD = re.compile(r"[\w$-]{1,64}")


class GrammarError(ValueError):
    """A schema that cannot be made a grammar; the message says why, in words of our own."""


class Grammar:
    """A compiled grammar; any number of answers may follow it, each with a state of its own."""

    def __init__(self, matcher: LLMatcher) -> None:
        self._matcher = matcher

    def start(self) -> GrammarState:
        """The state of an answer that has not begun."""
        return GrammarState(self._matcher.deep_copy())


class GrammarState:
    """How far one answer is in its grammar. Used from one thread."""

    def __init__(self, matcher: LLMatcher) -> None:
        self._matcher, self._consumed = matcher, 0

    def allowed(self, output_token_ids: Sequence[int]) -> bytes:
        """Which tokens may follow the answer so far: V bytes, 0 for those that may not.

        Where the grammar has come to its end, only ends of sequence. Asking again for the same
        answer gives the same; the answer may only have grown since the last time.

        Raises:
            RequestFailedError: the answer left the grammar, or a step costs more than its limit.
        """
        new = list(output_token_ids[self._consumed :])
        self._consumed += len(new)
        if new and not self._matcher.consume_tokens(new):
            raise RequestFailedError("the answer cannot be continued in its response_format")
        mask = self._matcher.compute_logit_bias()
        if self._matcher.is_error():
            raise RequestFailedError("the response_format is too complex at this place")
        return mask


class GrammarCompiler:
    """Compiles grammars for one tokenizer; safe to use from several threads."""

    def __init__(
        self, tokenizer: LammTokenizer, vocab_size: int, eos_token_ids: Sequence[int]
    ) -> None:
        """`vocab_size` is the model's, V; it may exceed the tokenizer's."""
        self._tokenizer, self._vocab_size = tokenizer, vocab_size
        self._eos_token_ids = list(eos_token_ids)
        self._view: LLTokenizer | None = None

    def json_schema(self, schema: Mapping[str, Any] | bool) -> Grammar:
        """A grammar of the JSON values that `schema` describes; takes milliseconds, or seconds.

        Raises:
            GrammarError: the schema uses what is not supported, contradicts itself or is too
                complex.
            ModuleNotFoundError: llguidance is not installed.
        """
        from llguidance import LLMatcher  # noqa: PLC0415 - an extra

        try:
            grammar = LLMatcher.grammar_from_json_schema(json.dumps(schema), overrides=_LAYOUT)
        except ValueError as error:
            # It reads whatever JSON was written, as far as it is not nested too deep to be read.
            raise GrammarError("it is nested too deep") from error
        return self._compile(grammar)

    def lark(self, text: str) -> Grammar:
        """A grammar written in llguidance's Lark.

        Raises:
            GrammarError, ModuleNotFoundError: as `json_schema`.
        """
        from llguidance import LLMatcher  # noqa: PLC0415 - an extra

        return self._compile(LLMatcher.grammar_from_lark(text))

    def _compile(self, grammar: str) -> Grammar:
        from llguidance import LLMatcher, LLParserLimits  # noqa: PLC0415 - an extra

        if self._view is None:
            self._view = self._read_tokenizer()
        limits = LLParserLimits(verbose_errors=False)
        matcher = LLMatcher(self._view, grammar, log_level=0, limits=limits)
        if matcher.is_error():
            raise GrammarError(_reason(matcher.get_error()))
        return Grammar(matcher)

    def _read_tokenizer(self) -> LLTokenizer:
        from llguidance import LLTokenizer  # noqa: PLC0415 - an extra

        return LLTokenizer(
            self._tokenizer.to_json(), n_vocab=self._vocab_size, eos_token=self._eos_token_ids
        )


def _reason(message: str) -> str:
    found = _UNIMPLEMENTED.search(message)
    if found:
        keywords = _KEYWORD.findall(found[1])[:8]
        return f"unsupported keywords: {', '.join(keywords)}"
    for sign, reason in _REASONS:
        if sign in message:
            return reason
    return "it cannot be made a grammar"
