"""Runs one sequence on a vLLM server: media to features, tokens to text. On the event loop."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import time
from collections.abc import AsyncIterator, Coroutine, Iterable, Mapping
from collections.abc import Sequence as Seq

from lamm_model.tokenizer import LammTokenizer
from service.engine.base import (
    EngineError,
    EngineStoppedError,
    FinishReason,
    GenerationChunk,
    RequestFailedError,
)
from service.engine.loading.model_source import ModelSource
from service.engine.output import SequenceOutput
from service.engine.sequence import Sequence
from service.engine.stream import ChunkStream
from service.engine.vllm.client import VllmClient
from service.engine.vllm.encoder import RequestEncoder
from service.engine.vllm.features import EncodedFeatures
from service.engine.vllm.wire import (
    NewToken,
    StreamEvent,
    VllmModel,
    generation_body,
    read_cached_tokens,
    read_event,
    read_score,
    scoring_body,
)

_log = logging.getLogger(__name__)


@dataclasses.dataclass(slots=True)
class Progress:
    """Totals of all sequences; a step is an event from vLLM, the last one at `advanced_at`."""

    advanced_at: float = 0.0
    steps: int = 0
    prompt_tokens: int = 0
    generation_tokens: int = 0


class SequenceRunner:
    """The sequences of one engine on one server."""

    def __init__(
        self,
        client: VllmClient,
        encoder: RequestEncoder,
        models: Seq[ModelSource],
        served: Mapping[str, VllmModel],
        progress: Progress,
        *,
        max_len: int,
        chunk_interval_s: float,
    ) -> None:
        """`served` has each model as the server has it, `max_len` is the context in tokens.

        `progress` is kept up to date.
        """
        self._client, self._encoder, self._served = client, encoder, served
        self._max_len, self._chunk_interval_s = max_len, chunk_interval_s
        self._tokenizers = {m.base: LammTokenizer.from_pretrained(m.base) for m in models}
        self._model_of: dict[str | None, ModelSource] = {m.name: m for m in models}
        self._model_of[None] = models[0]
        self._progress = progress

    async def run(self, sequence: Sequence, stream: ChunkStream) -> GenerationChunk:
        """Puts a sequence's chunks into its stream; returns the last one.

        Raises:
            RequestFailedError: this request failed.
            EngineStoppedError: vLLM died or cannot be reached.
        """
        request = sequence.request
        source = self._model_of[request.model]
        output = SequenceOutput(
            sequence,
            self._tokenizers[source.base],
            source.spec.eos_token_ids,
            self._max_len,
            self._chunk_interval_s,
        )
        encoded = await self._encoder.encode(request.media, request.model)
        output.encode_seconds, output.encoded_media = encoded.seconds, encoded.encoded
        model = self._served[source.name]
        if sequence.is_scoring:
            await self._score(sequence, model, encoded.features)
            return output.score()
        room = self._max_len - sequence.num_prompt_tokens
        body = generation_body(
            request,
            model,
            encoded.features,
            seed=sequence.seed,
            max_tokens=min(request.sampling_params.max_tokens, room),
        )
        try:
            async with self._client.stream(body) as lines:
                return await self._read(lines, output, stream, model)
        except EngineError:
            if (held := output.take_held()) is not None:
                stream.put(held)
            raise

    async def _score(
        self, sequence: Sequence, model: VllmModel, media: Seq[EncodedFeatures]
    ) -> None:
        """Scores the first token alone, so that the others find the prompt in the cache."""
        request = sequence.request

        async def score(index: int) -> float:
            answer = await self._client.generate(scoring_body(request, model, media, index))
            if sequence.cached_tokens is None:
                sequence.cached_tokens = read_cached_tokens(answer)
            self._advance(sequence)
            return read_score(answer, request.continuation_token_ids[index])

        first = await score(0)
        rest = range(1, len(request.continuation_token_ids))
        sequence.continuation_logprobs = [first, *await _all_of(score(i) for i in rest)]

    async def _read(
        self,
        lines: AsyncIterator[str],
        output: SequenceOutput,
        stream: ChunkStream,
        model: VllmModel,
    ) -> GenerationChunk:
        """Reads tokens until the sequence ends here, or vLLM ends it."""
        num_top = output.sequence.request.sampling_params.logprobs or 0
        last: GenerationChunk | None = None
        async for line in lines:
            event = read_event(line, model, num_top)
            if event is None:
                continue
            if event.cached_tokens is not None:
                output.sequence.cached_tokens = event.cached_tokens
            for token in event.tokens if last is None else ():
                chunk = self._push(token, output)
                due = output.hold(chunk)
                if chunk.finish_reason is not None:
                    last = due
                    break
                if due is not None:
                    stream.put(due)
            # Events that arrived together would be read in one go, and its reader could not leave.
            await asyncio.sleep(0)
            last = last or _ended_by_vllm(event, output)
            # Only an end of vLLM's own is followed by the count of cached tokens.
            if last is not None and event.finish_reason is None:
                break
        if last is None:
            raise EngineStoppedError("vLLM's stream ended before the answer")
        return dataclasses.replace(last, cached_tokens=output.sequence.cached_tokens or 0)

    def _push(self, token: NewToken, output: SequenceOutput) -> GenerationChunk:
        sequence = output.sequence
        sequence.token_ids.append(token.token_id)
        self._progress.generation_tokens += 1
        self._advance(sequence)
        return output.push(token.token_id, token.logprob, token.top)

    def _advance(self, sequence: Sequence) -> None:
        progress = self._progress
        progress.advanced_at = time.monotonic()
        progress.steps += 1
        if sequence.first_token_at is None:
            sequence.first_token_at = progress.advanced_at
            progress.prompt_tokens += sequence.num_prompt_tokens


async def _all_of(works: Iterable[Coroutine[None, None, float]]) -> list[float]:
    """All results in order; if one fails, the others are cancelled."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(work) for work in works]
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return [task.result() for task in tasks]


def _ended_by_vllm(event: StreamEvent, output: SequenceOutput) -> GenerationChunk | None:
    """The last chunk of a sequence that vLLM ended although it might go on; None if it did not.

    Raises:
        EngineStoppedError: vLLM failed.
        RequestFailedError: it ended the request for another reason.
    """
    if event.error is not None:
        _log.error("vLLM failed in a request: %s", event.error)
        raise EngineStoppedError("vLLM failed in this request")
    if event.finish_reason is None:
        return None
    if event.finish_reason not in (FinishReason.STOP, FinishReason.LENGTH):
        raise RequestFailedError(f"vLLM ended this request: {event.finish_reason}")
    return output.hold(output.end(FinishReason(event.finish_reason)))
