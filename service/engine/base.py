"""The interface between HTTP and inference: requests, chunks, and the engine's four methods.

Handlers import only this module of the engine. An engine does not know HTTP, and handlers do not
know tensors.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from lamm_model.conversation import Modality
from lamm_model.media import PreparedMedia
from lamm_model.sampling_params import SamplingParams


class FinishReason(StrEnum):
    """Why a sequence ended, in OpenAI's terms."""

    STOP = "stop"
    LENGTH = "length"


class EngineError(Exception):
    """Base class of errors that an engine raises on purpose."""


class QueueFullError(EngineError):
    """The waiting queue has reached its limit of requests or of tokens."""

    def __init__(self, waiting: int, limit: int, unit: str) -> None:
        super().__init__(f"{waiting} {unit} are waiting; the limit is {limit}")
        self.waiting, self.limit, self.unit = waiting, limit, unit


class PromptTooLongError(EngineError):
    """The prompt exceeds the model's context or the whole KV cache."""

    def __init__(self, prompt_tokens: int, limit: int) -> None:
        super().__init__(f"the prompt has {prompt_tokens} tokens; the limit is {limit}")
        self.prompt_tokens, self.limit = prompt_tokens, limit


class EngineStoppedError(EngineError):
    """The engine is stopped or dead; it accepts no requests."""


class RequestFailedError(EngineError):
    """This request alone failed in the engine; others continue."""


class AnswerGrammarError(RequestFailedError):
    """An answer cannot go on in its grammar, which compiled but has a fault: the request's own."""


class GrammarError(EngineError):
    """The request's grammar cannot be compiled; `reason` contains no library message."""

    def __init__(self, reason: str, *, timed_out: bool = False) -> None:
        super().__init__(f"the grammar cannot be compiled: {reason}")
        self.reason, self.timed_out = reason, timed_out


class UnsupportedByEngineError(EngineError):
    """This engine cannot do what the request asks; `param` is the field that asks for it."""

    def __init__(self, param: str, message: str) -> None:
        super().__init__(message)
        self.param = param


class GrammarQueueTimeoutError(EngineError):
    """The request's grammar waited too long for its turn to be compiled."""

    def __init__(self, waited_s: float, compiling: int) -> None:
        super().__init__(
            f"the grammar waited longer than {waited_s:g} s to be compiled; "
            f"{compiling} others are being compiled"
        )
        self.waited_s, self.compiling = waited_s, compiling


class GrammarKind(StrEnum):
    """Languages in which a grammar can be written."""

    JSON_SCHEMA = "json_schema"
    LARK = "lark"


@dataclass(frozen=True, slots=True)
class GrammarSource:
    """What an answer must match, as text: a JSON schema, or a grammar in llguidance's Lark.

    An answer in JSON ends within its `max_tokens` if it can. `reserve` is an upper bound of the
    tokens that its largest property or item needs.
    """

    kind: GrammarKind
    text: str
    reserve: int = 64


@dataclass(frozen=True, slots=True)
class MediaSpan:
    """A medium and its placeholders: `prompt_token_ids[offset : offset + num_tokens]`."""

    offset: int
    num_tokens: int
    media: PreparedMedia


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """One sequence to generate (`n > 1` is fanned out by the caller).

    `prompt_token_ids` starts with BOS; ids in media spans are at or above the vocabulary size.
    Lower `priority` values run first, equal ones in order of arrival; a level equals some seconds
    of waiting (`EngineConfig.priority_ageing_s`). `model` is one of the engine's models; None is
    the first.

    With `continuation_token_ids` nothing is generated: the only chunk has, in `logprobs`, the
    log-probability of each of these tokens after the prompt and the tokens before it (teacher
    forcing), no alternatives, and the finish reason `length`. Sampling parameters have no effect
    then.

    With `grammar` the answer matches it, and ends where the grammar ends. Requests use each other's
    cached prompts and media only if their `cache_salt` is equal. All fields can be pickled, so that
    an engine can run in another process.
    """

    request_id: str
    prompt_token_ids: tuple[int, ...]
    sampling_params: SamplingParams
    media: tuple[MediaSpan, ...] = ()
    priority: int = 0
    model: str | None = None
    continuation_token_ids: tuple[int, ...] = ()
    grammar: GrammarSource | None = None
    cache_salt: str | None = None


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """Natural-log probability of a token and of its best alternatives, before any temperature."""

    token_id: int
    text: str
    logprob: float
    top: tuple[tuple[int, str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class EncodedMedium:
    """A medium that was encoded; `seconds` is its share of its batch's time."""

    modality: Modality
    seconds: float


@dataclass(frozen=True, slots=True)
class RequestTimings:
    """Seconds of one request per stage.

    `encoded_media` were encoded for this request, in order, without those from the cache or encoded
    for another request of the same step.
    """

    queue: float = 0.0
    encode: float = 0.0
    prefill: float = 0.0
    generate: float = 0.0
    encoded_media: tuple[EncodedMedium, ...] = ()


@dataclass(frozen=True, slots=True)
class GenerationChunk:
    """What one step (or several) added to a sequence.

    `text` is a delta that never splits a UTF-8 character and never contains a stop string; it may
    be empty. Only the last chunk has a `finish_reason`; counts are running totals.
    """

    text: str
    token_ids: tuple[int, ...] = ()
    logprobs: tuple[TokenLogprob, ...] = ()
    finish_reason: FinishReason | None = None
    stop_reason: str | int | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    timings: RequestTimings = field(default_factory=RequestTimings)


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """Constants of a started engine, for the start-up message and `/v1/models`.

    `num_threads` is None where the CPU does not compute.
    """

    engine: str
    device: str
    dtype: str
    weights_bytes: int
    kv_cache_bytes: int
    kv_cache_tokens: int
    max_model_len: int
    max_num_seqs: int
    num_threads: int | None = None

    @property
    def max_concurrent_full_length(self) -> int:
        """How many sequences of the full context length fit the KV cache at once."""
        return self.kv_cache_tokens // self.max_model_len


@dataclass(frozen=True, slots=True)
class EngineStats:
    """A snapshot, cheap enough for every probe. Totals count from the engine's start."""

    running: int = 0
    waiting: int = 0
    kv_cache_usage: float = 0.0
    last_step_age: float = 0.0
    alive: bool = True
    steps_total: int = 0
    prompt_tokens_total: int = 0
    generation_tokens_total: int = 0
    preemptions_total: int = 0
    prefix_cache_queries_total: int = 0
    prefix_cache_hits_total: int = 0
    mm_cache_queries_total: int = 0
    mm_cache_hits_total: int = 0

    def stalled(self, limit_s: float) -> bool:
        """Whether work is pending and no step has completed for more than `limit_s`."""
        return self.running + self.waiting > 0 and self.last_step_age > limit_s


class Engine(ABC):
    """A batching text generator. One contract test runs against every implementation.

    `grammar_logprobs`: whether it gives log-probabilities of answers with a grammar.
    """

    grammar_logprobs: bool = True

    @abstractmethod
    async def start(self) -> EngineInfo:
        """Loads the weights; returns once requests are accepted."""

    @abstractmethod
    async def stop(self) -> None:
        """Aborts running requests and frees all resources; idempotent."""

    @abstractmethod
    def generate(self, request: GenerationRequest) -> AsyncIterator[GenerationChunk]:
        """Streams the chunks of one request; closing the iterator aborts it within one step.

        Raises (from the first `__anext__`): QueueFullError, PromptTooLongError, GrammarError,
        GrammarQueueTimeoutError, UnsupportedByEngineError, EngineStoppedError; later:
        RequestFailedError, EngineStoppedError.
        """

    @abstractmethod
    def stats(self) -> EngineStats:
        """A snapshot; safe from any thread, never blocks on a step."""

    def state(self) -> dict[str, Any]:
        """Details of a stalled engine for operators, as JSON values.

        Safe from any thread, never blocks on a step; contains nothing of a request's content.
        """
        stats = self.stats()
        return {"running_total": stats.running, "waiting_total": stats.waiting}
