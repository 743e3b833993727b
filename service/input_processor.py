"""What was sent becomes what the engine runs: messages -> turns -> token ids -> GenerationRequest.

Called by `endpoints.chat`. Everything cheap is checked before anything is decoded: model, media
against the checkpoint, numbers, and the context limit (a medium's tokens are known beforehand).
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from lamm_model.conversation import Modality, neutralise, render
from lamm_model.media import PreparedMedia
from lamm_model.media_errors import MediaError
from lamm_model.spec import CheckpointSpec
from lamm_model.tokenizer import LammTokenizer
from service.engine.base import GenerationRequest, MediaSpan
from service.exceptions import (
    ContextLengthError,
    MediaRefusedError,
    RequestError,
)
from service.media_pool import MediaPool
from service.media_process import MediaJob
from service.messages import Conversation, MediaItem, count_characters, read_messages
from service.metrics import Metrics
from service.sampling import sampling_params
from service.schemas.openai import ChatCompletionRequest, ChatMessage


@dataclass(frozen=True, slots=True)
class InputLimits:
    """Bounds of one request; tokens, items and bytes."""

    max_model_len: int
    default_max_tokens: int
    max_media_items: int
    max_media_bytes: int


@dataclass(frozen=True, slots=True)
class PlannedRequest:
    """One chat request ready to run: one sequence a choice, all over the same prompt."""

    completion_id: str
    sequences: tuple[GenerationRequest, ...]
    image_tokens: int
    point_cloud_tokens: int
    fetch_s: float
    decode_s: float


@dataclass(frozen=True, slots=True)
class _Prompt:
    ids: tuple[int, ...]
    offsets: tuple[int, ...]
    tokens: dict[Modality, int]


class InputProcessor:
    """Plans chat requests for one checkpoint."""

    def __init__(
        self,
        spec: CheckpointSpec,
        tokenizer: LammTokenizer,
        model_name: str,
        limits: InputLimits,
        media_pool: MediaPool,
        metrics: Metrics,
    ) -> None:
        self._spec, self._tokenizer, self._model_name = spec, tokenizer, model_name
        self._limits, self._media_pool, self._metrics = limits, media_pool, metrics
        pieces = (tokenizer.id_to_piece(i) or "" for i in range(tokenizer.vocab_size))
        self._longest_piece = max(map(len, pieces), default=1) or 1

    async def plan(self, body: ChatCompletionRequest) -> PlannedRequest:
        """The request in the engine's terms.

        Raises:
            RequestError: any part of it is wrong; the message has the value and the limit.
            PromptError: the checkpoint's prompt preset has no way to write the conversation.
            SamplingParamsError: a sampling value is out of range.
            OverloadedError: too many requests wait for a decoder, or this one waited too long.
        """
        _check_unsupported(body)
        self._check_characters(body.messages)
        conversation, prompt, fetch_s = await asyncio.to_thread(self._read, body.messages)
        max_tokens = self._answer_tokens(body, prompt)
        stops = self._spec.stop_rule.strings
        params = sampling_params(body, max_tokens, self._spec.vocab_size, stops)
        started = time.perf_counter()
        media = await self._decode(conversation.media, fetch_s)
        decode_s = time.perf_counter() - started
        completion_id = f"chatcmpl-{uuid.uuid4().hex}"
        spans = tuple(
            MediaSpan(offset, self._spec.placeholder(item.modality)[1], item)
            for offset, item in zip(prompt.offsets, media, strict=True)
        )
        sequences = tuple(
            GenerationRequest(
                f"{completion_id}-{i}", prompt.ids, one, spans, body.priority, self._model_name
            )
            for i, one in enumerate(params)
        )
        return PlannedRequest(
            completion_id,
            sequences,
            prompt.tokens[Modality.IMAGE],
            prompt.tokens[Modality.POINT_CLOUD],
            fetch_s,
            decode_s,
        )

    def _check_characters(self, messages: Sequence[ChatMessage]) -> None:
        """Refuses what no tokenizer could fit, before anything looks at the texts."""
        limit, characters = self._limits.max_model_len, count_characters(messages)
        if characters > limit * self._longest_piece:
            raise ContextLengthError(
                f"the messages have {characters} characters, more than "
                f"the context of {limit} tokens can hold"
            )

    def _read(self, messages: Sequence[ChatMessage]) -> tuple[Conversation, _Prompt, float]:
        """The conversation, its prompt, and the seconds that its media took to obtain."""
        started = time.perf_counter()
        conversation = read_messages(messages, self._limits.max_media_bytes)
        fetch_s = time.perf_counter() - started
        self._check_media(conversation.media)
        return conversation, self._tokenize(conversation), fetch_s

    def _check_media(self, media: Sequence[MediaItem]) -> None:
        if len(media) > self._limits.max_media_items:
            raise RequestError(
                f"the request has {len(media)} pictures and clouds; "
                f"the limit is {self._limits.max_media_items}",
                param="messages",
                code="too_many_media",
            )
        for item in media:
            if item.modality not in self._spec.modalities:
                known = ", ".join(["text", *self._spec.modalities])
                raise RequestError(
                    f"model {self._model_name!r} takes no {item.modality}; it takes {known}",
                    param=item.param,
                    code="unsupported_modality",
                )

    def _tokenize(self, conversation: Conversation) -> _Prompt:
        """Ids of the prompt and where each medium's placeholders begin."""
        system = conversation.system
        system = self._spec.system_text() if system is None else neutralise(system)
        placeholders = [self._spec.placeholder(item.modality) for item in conversation.media]
        ids = self._tokenizer.encode_prompt(
            render(conversation.turns, system, self._spec.prompt_preset),
            self._spec.bos_token_id,
            [[token] * count for token, count in placeholders],
        )
        offsets: list[int] = []
        position = 0
        tokens = dict.fromkeys(Modality, 0)
        for item, (token, count) in zip(conversation.media, placeholders, strict=True):
            # No text can spell a placeholder's id, so the next one found is this medium's.
            position = ids.index(token, position)
            offsets.append(position)
            position += count
            tokens[item.modality] += count
        return _Prompt(tuple(ids), tuple(offsets), tokens)

    def _answer_tokens(self, body: ChatCompletionRequest, prompt: _Prompt) -> int:
        """How long the answer may be: as asked for, else the default as far as there is room."""
        asked = body.max_completion_tokens or body.max_tokens
        left = self._limits.max_model_len - len(prompt.ids)
        if left < max(asked or 1, body.min_tokens):
            raise ContextLengthError(self._overflow(prompt, asked))
        return asked or min(max(self._limits.default_max_tokens, body.min_tokens), left)

    def _overflow(self, prompt: _Prompt, asked: int | None) -> str:
        images, clouds = prompt.tokens[Modality.IMAGE], prompt.tokens[Modality.POINT_CLOUD]
        answer = f" and max_tokens asks for {asked} more" if asked else " and the answer needs room"
        return (
            f"the prompt has {len(prompt.ids)} tokens ({len(prompt.ids) - images - clouds} text, "
            f"{images} image, {clouds} point cloud){answer}; "
            f"the context limit is {self._limits.max_model_len}"
        )

    async def _decode(self, media: Sequence[MediaItem], fetch_s: float) -> list[PreparedMedia]:
        if not media:
            return []
        # Not more at a time than there are processes: a request of many media does not push others
        # back, and none of its own waits so long behind the rest that it is given up.
        turns = asyncio.Semaphore(self._media_pool.workers)
        with self._media_pool.admit():
            self._metrics.preparing_media(1)
            tasks = [asyncio.create_task(self._decode_one(item, fetch_s, turns)) for item in media]
            try:
                return list(await asyncio.gather(*tasks))
            finally:
                self._metrics.preparing_media(-1)
                for task in tasks:
                    task.cancel()

    async def _decode_one(
        self, item: MediaItem, fetch_s: float, turns: asyncio.Semaphore
    ) -> PreparedMedia:
        job = MediaJob(
            item.modality, item.base64, item.format, item.units, item.up_axis, item.columns
        )
        async with turns:
            started = time.perf_counter()
            try:
                media = await self._media_pool.prepare(job)
            except MediaError as error:
                raise MediaRefusedError(error, param=item.param) from error
        self._metrics.media_read(item.modality, fetch_s, time.perf_counter() - started)
        return media


def _check_unsupported(body: ChatCompletionRequest) -> None:
    if body.response_format is not None and body.response_format.type != "text":
        raise RequestError(
            f"response_format {body.response_format.type!r} is not supported yet; 'text' is",
            param="response_format",
            code="unsupported_value",
        )
    if body.top_logprobs is not None and not body.logprobs:
        raise RequestError(
            f"top_logprobs is {body.top_logprobs}, but logprobs is not true", param="top_logprobs"
        )
    if body.stream_options is not None and not body.stream:
        raise RequestError(
            "stream_options is given, but stream is not true", param="stream_options"
        )
