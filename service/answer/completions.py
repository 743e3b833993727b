"""Plans and answers text completions."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator, Sequence
from typing import Any

from service.answer.generation import Delta, Generation
from service.answer.streaming import Envelope, failure_event, whole_choices
from service.dependencies import ServedModel
from service.engine.base import GenerationRequest, TokenLogprob
from service.exceptions import ContextLengthError, RequestError
from service.plan.input_processor import PlannedRequest
from service.plan.sampling import sampling_params
from service.schemas.completions import (
    Completion,
    CompletionChoice,
    CompletionLogprobs,
    CompletionRequest,
)
from service.schemas.events import DONE, KEEP_ALIVE, event

_LEAST_LOGPROB = -9999.0  # OpenAI's value for -inf, which JSON cannot express


def plan_completion(body: CompletionRequest, model: ServedModel, owner: str) -> PlannedRequest:
    """Plans a request of that owner; blocks while the prompts are tokenized.

    Raises:
        RequestError: a field is not supported, more answers are requested than ever fit, or a token
            id is not in the vocabulary.
        ContextLengthError: a prompt leaves no room for its answer.
        SamplingParamsError: a sampling value is out of range.
    """
    _check_supported(body)
    _check_sequences(body, model)
    completion_id = f"cmpl-{uuid.uuid4().hex}"
    sequences: list[GenerationRequest] = []
    for ids in _prompts(body, model):
        max_tokens = _answer_tokens(body, len(ids), model)
        for params in sampling_params(body, max_tokens, model.spec.vocab_size, ()):
            number = len(sequences)
            sequences.append(
                GenerationRequest(
                    f"{completion_id}-{number}",
                    ids,
                    params,
                    (),
                    body.priority,
                    model.name,
                    cache_salt=model.processor.salts.of(owner),
                )
            )
    return PlannedRequest(completion_id, tuple(sequences), 0, 0, 0.0, 0.0)


async def collect_completion(generation: Generation, envelope: Envelope) -> Completion:
    """The whole answer.

    Raises:
        EngineError: the engine failed in the middle.
        OverloadedError: it waited too long for its first token.
    """
    choices = [
        CompletionChoice(
            index=index,
            text=whole.text,
            logprobs=_logprobs(whole.logprobs, 0),
            finish_reason=whole.finish_reason.value,
        )
        for index, whole in enumerate(await whole_choices(generation))
    ]
    return Completion(
        id=generation.completion_id,
        created=int(time.time()),
        model=envelope.model,
        choices=choices,
        usage=generation.usage(),
        system_fingerprint=envelope.fingerprint,
    )


async def completion_events(generation: Generation, envelope: Envelope) -> AsyncIterator[bytes]:
    """Deltas, a finish chunk per choice, the usage chunk if requested, `[DONE]`; keep-alive
    comments.

    A failure is an `{"error": ...}` event before `[DONE]`, since the status has been sent already.
    """
    created, offsets = int(time.time()), [0] * generation.choices

    def chunk(choices: list[CompletionChoice], usage: dict[str, Any] | None = None) -> bytes:
        body: dict[str, Any] = {
            "id": generation.completion_id,
            "object": "text_completion",
            "created": created,
            "model": envelope.model,
            "system_fingerprint": envelope.fingerprint,
            "choices": [choice.model_dump() for choice in choices],
        }
        return event({**body, "usage": usage} if envelope.include_usage else body)

    try:
        async for delta in generation.deltas():
            if delta is None:
                yield KEEP_ALIVE
                continue
            yield chunk([_choice(delta, offsets[delta.index])])
            offsets[delta.index] += sum(len(token.text) for token in delta.logprobs)
        if envelope.include_usage:
            yield chunk([], generation.usage().model_dump())
    except Exception as error:
        yield failure_event(generation, error)
    yield DONE


def _check_supported(body: CompletionRequest) -> None:
    if body.echo:
        raise RequestError("echo is not supported", param="echo", code="unsupported_value")
    if body.suffix:
        raise RequestError("suffix is not supported", param="suffix", code="unsupported_value")
    if body.best_of is not None and body.best_of != (body.n or 1):
        raise RequestError(
            f"best_of is {body.best_of}, but n is {body.n or 1}; they must be equal",
            param="best_of",
            code="unsupported_value",
        )
    if body.stream_options is not None and not body.stream:
        raise RequestError(
            "stream_options is given, but stream is not true", param="stream_options"
        )


def _check_sequences(body: CompletionRequest, model: ServedModel) -> None:
    """Each prompt has its own answers; a list of numbers is one prompt."""
    prompt = body.prompt
    prompts = 1 if isinstance(prompt, str) or isinstance(prompt[0], int) else len(prompt)
    model.sequences.check(prompts * (body.n or 1), "n" if prompts == 1 else "prompt")


def _prompts(body: CompletionRequest, model: ServedModel) -> list[tuple[int, ...]]:
    """Token ids of each prompt; BOS is added to texts, while ids are used unchanged."""
    prompt = body.prompt
    if isinstance(prompt, str):
        return [_encode(prompt, model)]
    ids: list[tuple[int, ...]] = []
    single: list[int] = []
    for one in prompt:
        if isinstance(one, str):
            ids.append(_encode(one, model))
        elif isinstance(one, int):
            single.append(one)
        else:
            ids.append(tuple(one))
    if single:
        ids.append(tuple(single))
    for sequence in ids:
        _check_ids(sequence, model)
    return ids


def _encode(text: str, model: ServedModel) -> tuple[int, ...]:
    model.check_characters(text, "prompt")
    return (model.spec.bos_token_id, *model.tokenizer.encode(text))


def _check_ids(ids: Sequence[int], model: ServedModel) -> None:
    largest, size = max(ids), model.spec.vocab_size
    if largest >= size:
        raise RequestError(
            f"prompt has the token id {largest}; the vocabulary has {size}", param="prompt"
        )


def _answer_tokens(body: CompletionRequest, prompt_tokens: int, model: ServedModel) -> int:
    """The answer's maximum length: as requested, otherwise the default as far as there is room."""
    left = model.max_model_len - prompt_tokens
    if left < max(body.max_tokens or 1, body.min_tokens):
        answer = f"max_tokens is {body.max_tokens}" if body.max_tokens else "the answer needs more"
        raise ContextLengthError(
            f"the prompt has {prompt_tokens} tokens and {answer}; "
            f"this model's maximum context length is {model.max_model_len} tokens",
            param="prompt",
        )
    return body.max_tokens or min(max(model.default_max_tokens, body.min_tokens), left)


def _choice(delta: Delta, offset: int) -> CompletionChoice:
    return CompletionChoice(
        index=delta.index,
        text=delta.text,
        logprobs=_logprobs(delta.logprobs, offset),
        finish_reason=None if delta.finish_reason is None else delta.finish_reason.value,
    )


def _logprobs(tokens: Sequence[TokenLogprob], offset: int) -> CompletionLogprobs | None:
    if not tokens:
        return None
    offsets: list[int] = []
    for token in tokens:
        offsets.append(offset)
        offset += len(token.text)
    alternatives = [
        {text: max(logprob, _LEAST_LOGPROB) for _, text, logprob in token.top} for token in tokens
    ]
    return CompletionLogprobs(
        tokens=[token.text for token in tokens],
        token_logprobs=[max(token.logprob, _LEAST_LOGPROB) for token in tokens],
        top_logprobs=alternatives if any(alternatives) else None,
        text_offset=offsets,
    )
