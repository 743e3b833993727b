"""Requests become sequences: checked, numbered, their grammars compiled. Torch-free."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import secrets
import time
from collections.abc import Mapping
from collections.abc import Sequence as Seq

from service.engine.base import GenerationRequest, MediaSpan, RequestFailedError
from service.engine.config import EngineConfig
from service.engine.grammar.compiler import GrammarCompiler
from service.engine.loading.model_source import ModelSource
from service.engine.sequence import Sequence


class RequestIntake:
    """Makes the sequences of one engine; used on the event loop."""

    def __init__(
        self,
        models: Seq[ModelSource],
        config: EngineConfig,
        shared_grammars: Mapping[str, GrammarCompiler],
    ) -> None:
        """Models without an entry in `shared_grammars` get their own compilers."""
        self._config = config
        # The models of an engine share a language model, and so a vocabulary.
        self._vocab_size = models[0].spec.vocab_size
        self._grammars: dict[str | None, GrammarCompiler] = {
            model.name: shared_grammars.get(model.name) or GrammarCompiler.of_model(model)
            for model in models
        }
        self._names = ", ".join(model.name for model in models)
        self._grammars[None] = self._grammars[models[0].name]
        self._arrivals = itertools.count()

    async def sequence(self, request: GenerationRequest) -> Sequence:
        """A new sequence with a clamped priority and a seed.

        Raises:
            RequestFailedError: the request is malformed.
            GrammarError, GrammarQueueTimeoutError: as `GrammarCompiler.get`.
        """
        if request.model not in self._grammars:
            raise RequestFailedError(
                f"the engine has no model {request.model!r}; it has {self._names}"
            )
        _check(request, self._vocab_size)
        config = self._config
        priority = min(max(request.priority, config.min_priority), config.max_priority)
        source, seed = request.grammar, request.sampling_params.seed
        grammar = None if source is None else await self._grammars[request.model].get(source)
        return Sequence(
            dataclasses.replace(request, priority=priority, media=_salted(request)),
            arrival=next(self._arrivals),
            seed=secrets.randbits(63) if seed is None else seed,
            arrived_at=time.monotonic(),
            priority_ageing_s=config.priority_ageing_s,
            grammar=grammar,
        )


def _salted(request: GenerationRequest) -> tuple[MediaSpan, ...]:
    """The request's media with its salt in their digests, by which features are cached."""
    if request.cache_salt is None:
        return request.media
    spans: list[MediaSpan] = []
    for span in request.media:
        salted = hashlib.sha256(f"{request.cache_salt}|{span.media.digest}".encode())
        media = dataclasses.replace(span.media, digest=salted.hexdigest())
        spans.append(dataclasses.replace(span, media=media))
    return tuple(spans)


def _check(request: GenerationRequest, vocab_size: int) -> None:
    """Refuses requests that no model could run: invalid token ids and misplaced media spans.

    Raises:
        RequestFailedError: with the offending value and the limit.
    """
    ids = request.prompt_token_ids
    if not ids:
        raise RequestFailedError("the prompt has 0 tokens; it needs at least 1")
    for token in request.sampling_params.logit_bias:
        if not 0 <= token < vocab_size:
            raise RequestFailedError(
                f"logit_bias has token id {token}; the vocabulary has {vocab_size}"
            )
    for token in request.continuation_token_ids:
        if not 0 <= token < vocab_size:
            raise RequestFailedError(
                f"the continuation has token id {token}; the vocabulary has {vocab_size}"
            )
    covered = 0
    end = 0
    for span in request.media:
        if span.num_tokens < 1 or span.offset < end or span.offset + span.num_tokens > len(ids):
            raise RequestFailedError(
                f"a medium spans {span.num_tokens} tokens from {span.offset}; spans must follow "
                f"one another within the prompt's {len(ids)} tokens"
            )
        end = span.offset + span.num_tokens
        covered += sum(token >= vocab_size for token in ids[span.offset : end])
    strays = sum(token >= vocab_size or token < 0 for token in ids) - covered
    if strays:
        raise RequestFailedError(
            f"{strays} prompt tokens outside media spans are not in the vocabulary of {vocab_size}"
        )
