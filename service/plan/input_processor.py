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
from lamm_model.spec import CheckpointSpec
from lamm_model.tokenizer import LammTokenizer
from service.engine.base import GenerationRequest, MediaSpan
from service.engine.grammar import GrammarCompiler
from service.exceptions import RequestError
from service.media.item import MediaItem
from service.media.pool_config import Precedence
from service.media.preparer import MediaPreparer
from service.media.sources import MediaAccess
from service.plan.context_limit import no_room, too_many_characters
from service.plan.grammar_options import read_form, read_response_format
from service.plan.messages import (
    Conversation,
    count_characters,
    count_media,
    read_messages,
)
from service.plan.sampling import SequenceLimits, sampling_params
from service.schemas.openai import ChatCompletionRequest, ChatMessage


@dataclass(frozen=True, slots=True)
class InputLimits:
    """Bounds of one request: tokens, items, bytes of one medium, and answers."""

    max_model_len: int
    default_max_tokens: int
    max_media_items: int
    max_media_bytes: int
    sequences: SequenceLimits


@dataclass(frozen=True, slots=True)
class PlannedRequest:
    """One chat request ready to run: one sequence a choice, all over the same prompt."""

    completion_id: str
    sequences: tuple[GenerationRequest, ...]
    image_tokens: int
    point_cloud_tokens: int
    fetch_s: float
    decode_s: float
    media_items: tuple[MediaItem, ...] = ()


@dataclass(frozen=True, slots=True)
class PromptTokens:
    """Length of a prompt, and how many of its tokens stand for media."""

    tokens: int
    image_tokens: int
    point_cloud_tokens: int


@dataclass(frozen=True, slots=True)
class _Prompt:
    ids: tuple[int, ...]
    offsets: tuple[int, ...]
    tokens: dict[Modality, int]


class InputProcessor:
    """Plans chat requests for one checkpoint; `media` obtains and prepares what they show."""

    def __init__(
        self,
        spec: CheckpointSpec,
        tokenizer: LammTokenizer,
        model_name: str,
        limits: InputLimits,
        media: MediaPreparer,
        grammars: GrammarCompiler,
    ) -> None:
        self._spec, self._tokenizer, self._model_name = spec, tokenizer, model_name
        self._limits = limits
        self.media = media
        self._grammars = grammars
        self._longest_piece = tokenizer.longest_piece

    @property
    def tokenizer(self) -> LammTokenizer:
        """The checkpoint's."""
        return self._tokenizer

    async def count(self, body: ChatCompletionRequest, owner: str = "") -> PromptTokens:
        """The tokens of its prompt; no medium is fetched or decoded.

        Raises:
            RequestError, PromptError: as `plan`, but for what concerns the answer.
        """
        self._check_size(body.messages)
        access = self.media.access(owner)
        _, prompt, _ = await asyncio.to_thread(self._read, body.messages, access)
        return PromptTokens(
            len(prompt.ids), prompt.tokens[Modality.IMAGE], prompt.tokens[Modality.POINT_CLOUD]
        )

    @property
    def stop_strings(self) -> tuple[str, ...]:
        """What ends an answer of this model, as its prompt preset says."""
        return self._spec.stop_rule.strings

    async def plan(
        self,
        body: ChatCompletionRequest,
        owner: str = "",
        *,
        default_max_tokens: int | None = None,
        keep_media: bool = False,
        form: str | None = None,
        patient: bool = False,
    ) -> PlannedRequest:
        """The request in the engine's terms.

        Args:
            body: as it was sent.
            owner: whose files it may refer to.
            default_max_tokens: in place of the server's own default.
            keep_media: whether the plan holds what was sent of its media, to draw on them.
            form: the answer's grammar in Lark; None for the body's own `response_format`.
            patient: whether its media wait as long as it takes, see `Precedence`.

        Raises:
            RequestError: any part of it is wrong; the message has the value and the limit.
            PromptError: the checkpoint's prompt preset has no way to write the conversation.
            SamplingParamsError: a sampling value is out of range.
            OverloadedError: too many requests wait for a decoder, or this one waited too long.
            MediaRefusedError: a medium cannot be reached, read or decoded.
        """
        _check_unsupported(body)
        self._limits.sequences.check(body.n or 1, "n")
        self._check_size(body.messages)
        access = self.media.access(owner)
        conversation, prompt, read_s = await asyncio.to_thread(self._read, body.messages, access)
        default = default_max_tokens or self._limits.default_max_tokens
        max_tokens = self._answer_tokens(body, prompt, default)
        if form is None:
            grammar = await read_response_format(body, self._grammars)
        else:
            grammar = await read_form(form, self._grammars)
        # A string of a JSON answer may hold the preset's stop strings, and it ends by itself. A
        # task's form lets the model write them, since some end their answers in no other way.
        stops = () if grammar is not None and form is None else self.stop_strings
        params = sampling_params(body, max_tokens, self._spec.vocab_size, stops)
        started = time.perf_counter()
        precedence = Precedence(body.priority, patient)
        media, fetch_s = await self.media.prepare(conversation.media, read_s, precedence)
        decode_s = time.perf_counter() - started - (fetch_s - read_s)
        completion_id = f"chatcmpl-{uuid.uuid4().hex}"
        spans = tuple(
            MediaSpan(offset, self._spec.placeholder(item.modality)[1], item)
            for offset, item in zip(prompt.offsets, media, strict=True)
        )
        sequences = tuple(
            GenerationRequest(
                f"{completion_id}-{i}",
                prompt.ids,
                one,
                spans,
                body.priority,
                self._model_name,
                grammar=grammar,
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
            conversation.media if keep_media else (),
        )

    def _check_size(self, messages: Sequence[ChatMessage]) -> None:
        """Refuses what no tokenizer could fit, before anything looks at the texts or media."""
        characters, media = count_characters(messages), count_media(messages)
        if characters > self._limits.max_model_len * self._longest_piece:
            spec = self._spec
            tokens = {
                kind: media[kind] * spec.placeholder(kind)[1] if kind in spec.modalities else 0
                for kind in Modality
            }
            raise too_many_characters(
                characters, self._longest_piece, tokens, media[None], self._limits.max_model_len
            )
        items = media.total()
        if items > self._limits.max_media_items:
            raise RequestError(
                f"the request has {items} pictures and clouds; "
                f"the limit is {self._limits.max_media_items}",
                param="messages",
                code="too_many_media",
            )

    def _read(
        self, messages: Sequence[ChatMessage], access: MediaAccess
    ) -> tuple[Conversation, _Prompt, float]:
        """The conversation, its prompt, and the seconds that its media took to look up."""
        started = time.perf_counter()
        conversation = read_messages(messages, self._limits.max_media_bytes, access)
        read_s = time.perf_counter() - started
        self._check_media(conversation.media)
        return conversation, self._tokenize(conversation), read_s

    def _check_media(self, media: Sequence[MediaItem]) -> None:
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

    def _answer_tokens(self, body: ChatCompletionRequest, prompt: _Prompt, default: int) -> int:
        """How long the answer may be: as asked for, else the default as far as there is room."""
        asked = body.max_completion_tokens or body.max_tokens
        left = self._limits.max_model_len - len(prompt.ids)
        if left < max(asked or 1, body.min_tokens):
            raise no_room(len(prompt.ids), prompt.tokens, asked, self._limits.max_model_len)
        return asked or min(max(default, body.min_tokens), left)


def _check_unsupported(body: ChatCompletionRequest) -> None:
    if body.top_logprobs is not None and not body.logprobs:
        raise RequestError(
            f"top_logprobs is {body.top_logprobs}, but logprobs is not true", param="top_logprobs"
        )
    if body.stream_options is not None and not body.stream:
        raise RequestError(
            "stream_options is given, but stream is not true", param="stream_options"
        )
