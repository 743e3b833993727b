"""A chat request becomes a `PlannedRequest`: prompt, prepared media, sampling and grammar.

Everything cheap is checked before anything is decoded.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from lamm_model.conversation import Modality
from lamm_model.media import PreparedMedia
from lamm_model.spec import CheckpointSpec
from lamm_model.tokenizer import LammTokenizer
from service.engine.base import GenerationRequest, MediaSpan
from service.engine.grammar.compiler import GrammarCompiler
from service.exceptions import ContextLengthError, RequestError
from service.keys.cache_scope import CacheSalts
from service.media.item import MediaItem
from service.media.pool_config import Precedence
from service.media.preparer import MediaPreparer
from service.media.sources import MediaAccess
from service.plan.grammar_options import AnswerForm, read_answer_form, read_form
from service.plan.prompt import InputLimits, Prompt, PromptReader
from service.plan.sampling import sampling_params
from service.plan.turns import Conversation
from service.schemas.openai import ChatCompletionRequest


@dataclass(frozen=True, slots=True)
class PlannedRequest:
    """A request that is ready to run: one sequence per choice, all over the same prompt.

    Its answers are calls of one of the tools `called`, or text if there are none. With `continues`,
    they go on with a text that the client has.
    """

    completion_id: str
    sequences: tuple[GenerationRequest, ...]
    image_tokens: int
    point_cloud_tokens: int
    fetch_s: float
    decode_s: float
    media_items: tuple[MediaItem, ...] = ()
    continues: bool = False
    called: tuple[str, ...] = ()


class InputProcessor:
    """Plans the chat requests of one model; `media` fetches and decodes their media."""

    def __init__(
        self,
        spec: CheckpointSpec,
        tokenizer: LammTokenizer,
        model_name: str,
        limits: InputLimits,
        media: MediaPreparer,
        grammars: GrammarCompiler,
        salts: CacheSalts,
    ) -> None:
        self.prompts = PromptReader(spec, tokenizer, model_name, limits)
        self.tokenizer, self.media = tokenizer, media
        self._spec, self._model_name, self._limits = spec, model_name, limits
        self._grammars, self.salts = grammars, salts

    async def prompt(self, body: ChatCompletionRequest, owner: str = "") -> Prompt:
        """The prompt alone; no medium is fetched or decoded.

        Raises:
            RequestError, PromptError: as `plan`, for the prompt.
        """
        _check_continuation(body)
        self.prompts.check_size(body.messages)
        access = self.media.access(owner)
        _, prompt, _ = await asyncio.to_thread(self._read, body, access)
        return prompt

    @property
    def stop_strings(self) -> tuple[str, ...]:
        """Stop strings of the model's prompt preset."""
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
        """Plans a request.

        Args:
            body: the request.
            owner: owner of the files that it may refer to, and of what it caches.
            default_max_tokens: replaces the server's default.
            keep_media: whether to keep the media's sources, to draw on them later.
            form: the answer's grammar in Lark; None for the body's own `response_format` or tools.
            patient: whether its media may wait without a limit, see `Precedence`.

        Raises:
            RequestError: a field is wrong; the message has the value and the limit.
            PromptError: the checkpoint's prompt preset cannot express the conversation.
            SamplingParamsError: a sampling value is out of range.
            OverloadedError: too many requests wait for a decoder, or this one waited too long.
            MediaRefusedError: a medium cannot be fetched, read or decoded.
        """
        _check_unsupported(body)
        self._limits.sequences.check(body.n or 1, "n")
        self.prompts.check_size(body.messages)
        access = self.media.access(owner)
        conversation, prompt, read_s = await asyncio.to_thread(self._read, body, access)
        default = default_max_tokens or self._limits.default_max_tokens
        max_tokens = self._answer_tokens(body, prompt, default)
        if form is None:
            answer = await read_answer_form(body, self._grammars)
        else:
            answer = AnswerForm(await read_form(form, self._grammars))
        # A JSON string may contain the preset's stop strings, and JSON ends by itself. A task's
        # form allows them, since some models end their answers in no other way.
        stops = () if answer.grammar is not None and form is None else self.stop_strings
        params = sampling_params(body, max_tokens, self._spec.vocab_size, stops)
        started = time.perf_counter()
        precedence = Precedence(body.priority, patient)
        salt = self.salts.of(owner)
        media, fetch_s = await self.media.prepare(conversation.media, read_s, precedence, salt)
        decode_s = time.perf_counter() - started - (fetch_s - read_s)
        completion_id = f"chatcmpl-{uuid.uuid4().hex}"
        spans = self._spans(prompt, media)
        return PlannedRequest(
            completion_id,
            tuple(
                GenerationRequest(
                    f"{completion_id}-{i}",
                    prompt.ids,
                    one,
                    spans,
                    body.priority,
                    self._model_name,
                    grammar=answer.grammar,
                    cache_salt=salt,
                )
                for i, one in enumerate(params)
            ),
            prompt.media_tokens[Modality.IMAGE],
            prompt.media_tokens[Modality.POINT_CLOUD],
            fetch_s,
            decode_s,
            conversation.media if keep_media else (),
            conversation.continues,
            answer.called,
        )

    def _read(
        self, body: ChatCompletionRequest, access: MediaAccess
    ) -> tuple[Conversation, Prompt, float]:
        continues = body.continue_final_message or False
        return self.prompts.read(body.messages, access, task=body.task, continues=continues)

    def _spans(self, prompt: Prompt, media: Sequence[PreparedMedia]) -> tuple[MediaSpan, ...]:
        return tuple(
            MediaSpan(offset, self._spec.placeholder(item.modality)[1], item)
            for offset, item in zip(prompt.offsets, media, strict=True)
        )

    def _answer_tokens(self, body: ChatCompletionRequest, prompt: Prompt, default: int) -> int:
        """The answer's maximum length: as requested, otherwise the default as far as there is
        room.
        """
        asked = body.max_completion_tokens or body.max_tokens
        tokens, limit = len(prompt.ids), self._limits.max_model_len
        left = limit - tokens
        if left >= max(asked or 1, body.min_tokens):
            return asked or min(max(default, body.min_tokens), left)
        images, clouds = (prompt.media_tokens[modality] for modality in Modality)
        answer = f" and max_tokens is {asked}" if asked else " and the answer needs more"
        raise ContextLengthError(
            f"the prompt has {tokens} tokens ({tokens - images - clouds} text, {images} image, "
            f"{clouds} point cloud){answer}; this model's maximum context length is {limit} tokens"
        )


def _check_unsupported(body: ChatCompletionRequest) -> None:
    if body.functions or body.function_call not in (None, "none", "auto"):
        name = "functions" if body.functions else "function_call"
        raise RequestError(f"{name} is not supported; use tools and tool_choice", param=name)
    if body.top_logprobs is not None and not body.logprobs:
        raise RequestError(
            f"top_logprobs is {body.top_logprobs}, but logprobs is not true", param="top_logprobs"
        )
    if body.stream_options is not None and not body.stream:
        raise RequestError(
            "stream_options is given, but stream is not true", param="stream_options"
        )
    _check_continuation(body)


def _check_continuation(body: ChatCompletionRequest) -> None:
    if not body.continue_final_message:
        if body.add_generation_prompt is False:
            raise RequestError(
                "add_generation_prompt is false, but continue_final_message is not true; the "
                "model then has nothing to answer",
                param="add_generation_prompt",
            )
        return
    if body.add_generation_prompt:
        raise RequestError(
            "continue_final_message and add_generation_prompt are both true; only one may be",
            param="add_generation_prompt",
        )
    wanted = body.response_format
    if wanted is not None and wanted.type != "text":
        raise RequestError(
            f"continue_final_message is true, but response_format has type {wanted.type!r}, which "
            "holds for whole answers",
            param="continue_final_message",
        )
