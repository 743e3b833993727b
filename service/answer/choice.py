"""One sequence of a request as its chunks come in: its text, its counts, how it ended.

Made and fed by `generation`, one a choice.
"""

from __future__ import annotations

from service.engine.base import EncodedMedium, FinishReason, GenerationChunk, RequestTimings


class Choice:
    """Running totals of one sequence; `last_token` is when its last one came."""

    def __init__(self, arrived: float, *, strip: bool) -> None:
        """`arrived` by `time.perf_counter`; `strip` takes the white space around the text away."""
        self.text = AnswerText() if strip else Verbatim()
        self.completion_tokens, self.cached_tokens = 0, 0
        self.finish_reason: FinishReason | None = None
        self.timings = RequestTimings()
        self.last_token = arrived

    def update(self, chunk: GenerationChunk) -> tuple[EncodedMedium, ...]:
        """Takes over the totals that a chunk carries; the media that were encoded since the last.

        A sequence that was set back may have some encoded again.
        """
        known = len(self.timings.encoded_media)
        self.completion_tokens = max(chunk.completion_tokens, self.completion_tokens)
        self.cached_tokens = max(chunk.cached_tokens, self.cached_tokens)
        self.finish_reason, self.timings = chunk.finish_reason, chunk.timings
        return chunk.timings.encoded_media[known:]


class AnswerText:
    """Strips an answer while it streams: leading space never comes, trailing space waits."""

    def __init__(self) -> None:
        self._started, self._held = False, ""

    def feed(self, text: str) -> str:
        """The part of the answer that is certain now; what is held at the end is dropped."""
        text = self._held + text
        if not self._started:
            text = text.lstrip()
        kept = text.rstrip()
        self._held = text[len(kept) :]
        self._started = self._started or bool(kept)
        return kept


class Verbatim:
    """The text as it comes."""

    def feed(self, text: str) -> str:
        """See `AnswerText`."""
        return text
