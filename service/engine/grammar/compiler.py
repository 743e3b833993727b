"""Grammars that constrain answers, compiled by llguidance. Torch-free.

Compiling takes milliseconds to seconds. It happens in threads, a few at a time, and recent grammars
are cached. At each step the readout asks a compiled grammar which tokens are allowed next.
llguidance is an extra and imported on first use.

Shapes: V vocabulary.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING

from cachetools import LRUCache

from lamm_model.tokenizer import LammTokenizer
from service.engine.base import (
    GrammarError,
    GrammarKind,
    GrammarQueueTimeoutError,
    GrammarSource,
)
from service.engine.grammar.json_tokens import JsonTokens
from service.engine.grammar.reasons import reason_of
from service.engine.grammar.state import Grammar
from service.engine.grammar.trial import begin_answer, patterns_of
from service.engine.loading.model_source import ModelSource

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLTokenizer
    from llguidance._lib import JsonCompileOptions

_COMPILED_AT_ONCE = 2
# The compiler recurses for each level of a schema and each $ref on the way. A schema of 64 KiB
# needs 8 to 64 MB of stack, and a thread's default of 8 MB would crash the process; untouched pages
# cost nothing.
_COMPILER_STACK_BYTES = 256 << 20
_KEPT = 64
# The layout of Python's json module: models have seen it, and cannot loop on white space.
LAYOUT: JsonCompileOptions = {
    "whitespace_flexible": False,
    "item_separator": ", ",
    "key_separator": ": ",
}


class GrammarCompiler:
    """Compiles grammars for one tokenizer; used from one event loop.

    A compilation cannot be interrupted: one that exceeds its time keeps its turn until it ends.
    """

    def __init__(
        self,
        tokenizer: LammTokenizer,
        vocab_size: int,
        eos_token_ids: Sequence[int],
        *,
        timeout_s: float = 5.0,
        queue_timeout_s: float = 5.0,
    ) -> None:
        """`vocab_size` is the model's, V; it may exceed the tokenizer's.

        `timeout_s` bounds one compilation, `queue_timeout_s` the wait for its turn.
        """
        self._tokenizer, self._vocab_size = tokenizer, vocab_size
        self._eos_token_ids = list(eos_token_ids)
        self._timeout_s, self._queue_timeout_s = timeout_s, queue_timeout_s
        self._turns = asyncio.Semaphore(_COMPILED_AT_ONCE)
        self._kept: LRUCache[GrammarSource, Grammar] = LRUCache(_KEPT)
        self._view: LLTokenizer | None = None
        self.tokens: JsonTokens | None = None  # after the first JSON schema
        self.compiled_total = 0

    @classmethod
    def of_model(cls, model: ModelSource) -> GrammarCompiler:
        """A compiler for the answers of that model; reads its tokenizer."""
        tokenizer = LammTokenizer.from_pretrained(model.base)
        return cls(tokenizer, model.spec.vocab_size, model.spec.eos_token_ids)

    async def get(self, source: GrammarSource) -> Grammar:
        """The compiled grammar, from the cache or a new compilation.

        Raises:
            GrammarError: as `compile`, or compiling takes too long.
            GrammarQueueTimeoutError: too many others are being compiled.
            ModuleNotFoundError: llguidance is not installed.
        """
        grammar = self._kept.get(source)
        if grammar is None:
            grammar = self._kept[source] = await self._compile_in_turn(source)
            self.compiled_total += 1
        return grammar

    async def check(self, source: GrammarSource) -> None:
        """Compiles it as `get` does, and keeps nothing."""
        if source not in self._kept:
            await self._compile_in_turn(source)

    def compile(self, source: GrammarSource) -> Grammar:
        """Compiles in the calling thread, without the cache.

        Raises:
            GrammarError: the grammar uses unsupported features, is contradictory or too complex.
            ModuleNotFoundError: llguidance is not installed.
        """
        if self._view is None:
            self._view = self._read_tokenizer()
        matcher = self._matcher(source.kind, source.text)
        if source.kind is GrammarKind.LARK:
            return Grammar(matcher)
        if self.tokens is None:
            self.tokens = self._read_tokens(self._view)
        begin_answer(matcher, self.tokens)
        for pattern in patterns_of(source.text):
            alone = json.dumps({"type": "string", "pattern": pattern})
            begin_answer(self._matcher(source.kind, alone), self.tokens)
        return Grammar(matcher, self.tokens, source.reserve)

    def _matcher(self, kind: GrammarKind, text: str) -> LLMatcher:
        from llguidance import LLMatcher, LLParserLimits  # noqa: PLC0415 - an extra

        if kind is GrammarKind.LARK:
            grammar = LLMatcher.grammar_from_lark(text)
        else:
            try:
                grammar = LLMatcher.grammar_from_json_schema(text, overrides=LAYOUT)
            except ValueError as error:
                # The text is valid JSON; only its depth is refused.
                raise GrammarError("it is nested too deeply") from error
        assert self._view is not None
        limits = LLParserLimits(verbose_errors=False)
        matcher = LLMatcher(self._view, grammar, log_level=0, limits=limits)
        if matcher.is_error():
            raise GrammarError(reason_of(matcher.get_error()))
        return matcher

    async def _compile_in_turn(self, source: GrammarSource) -> Grammar:
        try:
            async with asyncio.timeout(self._queue_timeout_s):
                await self._turns.acquire()
        except TimeoutError:
            raise GrammarQueueTimeoutError(self._queue_timeout_s, _COMPILED_AT_ONCE) from None
        try:
            running = _in_thread(lambda: self.compile(source))
        except RuntimeError:  # no thread can be started
            self._turns.release()
            raise
        compiled = asyncio.wrap_future(running)
        compiled.add_done_callback(lambda _: self._turns.release())
        try:
            async with asyncio.timeout(self._timeout_s):
                return await asyncio.shield(compiled)
        except TimeoutError:
            raise GrammarError(
                f"it takes longer than {self._timeout_s:g} s to compile", timed_out=True
            ) from None

    def _read_tokens(self, view: LLTokenizer) -> JsonTokens:
        pieces = [
            b"" if view.is_special_token(token) else view.decode_bytes([token])
            for token in range(self._vocab_size)
        ]
        return JsonTokens(pieces, self._eos_token_ids)

    def _read_tokenizer(self) -> LLTokenizer:
        from llguidance import LLTokenizer  # noqa: PLC0415 - an extra

        return LLTokenizer(
            self._tokenizer.to_json(), n_vocab=self._vocab_size, eos_token=self._eos_token_ids
        )


def _in_thread(work: Callable[[], Grammar]) -> Future[Grammar]:
    """Runs in a daemon thread, which the process does not wait for at exit."""
    future: Future[Grammar] = Future()

    def run() -> None:
        # From here on it cannot be cancelled; setting a cancelled future's result would raise.
        if not future.set_running_or_notify_cancel():
            return
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    # The stack size applies to all threads that start meanwhile.
    usual = threading.stack_size(_COMPILER_STACK_BYTES)
    try:
        threading.Thread(target=run, name="grammar", daemon=True).start()
    finally:
        threading.stack_size(usual)
    return future
