"""Turns a sequence's sampled tokens into chunks: text, counts, and the finish reason.
Torch-free.
"""

from __future__ import annotations

import time
from collections.abc import Sequence as Seq
from dataclasses import dataclass

from lamm_model.tokenizer import LammTokenizer
from service.engine.base import (
    EncodedMedium,
    FinishReason,
    GenerationChunk,
    RequestTimings,
    TokenLogprob,
)
from service.engine.detokenizer import Detokenizer, token_text
from service.engine.sequence import Sequence
from service.engine.stream import merge


@dataclass(frozen=True, slots=True)
class _Ending:
    reason: FinishReason | None = None
    stop_reason: str | int | None = None


class SequenceOutput:
    """The output of one sequence from its first token to its last."""

    def __init__(
        self,
        sequence: Sequence,
        tokenizer: LammTokenizer,
        eos_token_ids: tuple[int, ...],
        max_len: int,
        chunk_interval_s: float,
    ) -> None:
        self.sequence = sequence
        self.encode_seconds = 0.0
        self.encoded_media: tuple[EncodedMedium, ...] = ()
        self._chunk_interval_s = chunk_interval_s
        self._held: GenerationChunk | None = None
        self._sent_at = float("-inf")
        self._tokenizer = tokenizer
        self._eos_token_ids = eos_token_ids
        self._max_len = max_len
        request = sequence.request
        self._detokenizer = Detokenizer(
            tokenizer, request.sampling_params.stop, request.prompt_token_ids
        )

    def push(
        self, token_id: int, logprob: float | None = None, top: Seq[tuple[int, float]] = ()
    ) -> GenerationChunk:
        """The chunk of the sequence's newest token."""
        text, ending = self._read(token_id)
        logprobs: tuple[TokenLogprob, ...] = ()
        if logprob is not None:
            alternatives = tuple((i, token_text(self._tokenizer, i), value) for i, value in top)
            shown = token_text(self._tokenizer, token_id)
            logprobs = (TokenLogprob(token_id, shown, logprob, alternatives),)
        return GenerationChunk(
            text=text,
            token_ids=(token_id,),
            logprobs=logprobs,
            finish_reason=ending.reason,
            stop_reason=ending.stop_reason,
            prompt_tokens=self.sequence.num_prompt_tokens,
            completion_tokens=self.sequence.num_output_tokens,
            cached_tokens=self.sequence.cached_tokens or 0,
            timings=self._timings(),
        )

    def end(self, reason: FinishReason) -> GenerationChunk:
        """A last chunk without a token, for a sequence that ended before its limits."""
        may_stop = (
            self.sequence.num_output_tokens >= self.sequence.request.sampling_params.min_tokens
        )
        return GenerationChunk(
            text=self._detokenizer.flush(may_stop),
            finish_reason=reason,
            prompt_tokens=self.sequence.num_prompt_tokens,
            completion_tokens=self.sequence.num_output_tokens,
            cached_tokens=self.sequence.cached_tokens or 0,
            timings=self._timings(),
        )

    def score(self) -> GenerationChunk:
        """The only chunk of a scoring sequence, once its continuation is scored."""
        request = self.sequence.request
        pairs = zip(
            request.continuation_token_ids, self.sequence.continuation_logprobs, strict=True
        )
        return GenerationChunk(
            text="",
            logprobs=tuple(
                TokenLogprob(token, token_text(self._tokenizer, token), logprob)
                for token, logprob in pairs
            ),
            finish_reason=FinishReason.LENGTH,
            prompt_tokens=self.sequence.num_prompt_tokens,
            cached_tokens=self.sequence.cached_tokens or 0,
            timings=self._timings(),
        )

    def hold(self, chunk: GenerationChunk) -> GenerationChunk | None:
        """The chunk to send now, merged with the held one; None while it is too early."""
        self._held = chunk if self._held is None else merge(self._held, chunk)
        now = time.monotonic()
        if chunk.finish_reason is None and now - self._sent_at < self._chunk_interval_s:
            return None
        self._sent_at = now
        return self.take_held()

    def take_held(self) -> GenerationChunk | None:
        """The held chunk, for a sequence that ends otherwise."""
        held, self._held = self._held, None
        return held

    def _read(self, token_id: int) -> tuple[str, _Ending]:
        params, count = self.sequence.request.sampling_params, self.sequence.num_output_tokens
        may_stop = count >= params.min_tokens
        ended: _Ending | None = None
        text = ""
        if token_id in params.stop_token_ids:
            ended = _Ending(FinishReason.STOP, token_id)
        elif token_id in self._eos_token_ids and not params.ignore_eos:
            ended = _Ending(FinishReason.STOP)
        else:
            text = self._detokenizer.push(token_id, may_stop)
            if count >= params.max_tokens or len(self.sequence.token_ids) >= self._max_len:
                ended = _Ending(FinishReason.LENGTH)
        if ended is not None:
            text += self._detokenizer.flush(may_stop)
        # A stop string completed by this token (or by the tail released now) takes precedence.
        if self._detokenizer.stop_string is not None:
            ended = _Ending(FinishReason.STOP, self._detokenizer.stop_string)
        return text, ended or _Ending()

    def _timings(self) -> RequestTimings:
        sequence = self.sequence
        if sequence.scheduled_at is None or sequence.first_token_at is None:
            return RequestTimings()
        until_first = sequence.first_token_at - sequence.scheduled_at
        return RequestTimings(
            queue=sequence.scheduled_at - sequence.arrived_at,
            encode=self.encode_seconds,
            prefill=max(0.0, until_first - self.encode_seconds),
            generate=time.monotonic() - sequence.first_token_at,
            encoded_media=self.encoded_media,
        )
