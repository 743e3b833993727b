"""Requests and answers of vLLM's token-in, token-out route, `/inference/v1/generate`. Torch-free.

Stop strings are not sent: the text is made here, from the tokens, so that an answer ends where it
would end with any other engine.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lamm_model.sampling_params import SamplingParams
from service.engine.base import GenerationRequest, GrammarKind, GrammarSource, RequestFailedError
from service.engine.grammar.compiler import LAYOUT
from service.engine.vllm.features import EncodedFeatures, feature_fields

GENERATE = "/inference/v1/generate"
# vLLM reports the sampled token among the best ones and cuts the list there, so one more is needed.
_ONE_MORE = 1
_MAX_SEED = (1 << 63) - 1
# Tokens that only pad the vocabulary of the exported model.
_NEVER = -100.0


@dataclass(frozen=True, slots=True)
class VllmModel:
    """A model as the vLLM server has it.

    `name` is its name there; `vocab_size` counts the ids of the server's model, which may exceed
    those of the checkpoint, `own_vocab_size`. `placeholder_id` takes the place of media
    placeholders, which are not in the vocabulary.
    """

    name: str
    vocab_size: int
    own_vocab_size: int
    placeholder_id: int
    eos_token_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class NewToken:
    """A generated token; `top` are the best (id, log-probability) pairs, if asked for."""

    token_id: int
    logprob: float | None = None
    top: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, slots=True)
class StreamEvent:
    """One event of a stream: new tokens, why vLLM ended the sequence, cached prompt tokens."""

    tokens: tuple[NewToken, ...] = ()
    finish_reason: str | None = None
    cached_tokens: int | None = None
    error: str | None = None


def generation_body(
    request: GenerationRequest,
    model: VllmModel,
    media: Sequence[EncodedFeatures],
    *,
    seed: int,
    max_tokens: int,
) -> dict[str, Any]:
    """The body of a request that streams up to `max_tokens` tokens."""
    params = _sampling(request.sampling_params, model, seed)
    params["max_tokens"] = max_tokens
    params["min_tokens"] = min(request.sampling_params.min_tokens, max_tokens)
    if request.grammar is not None:
        params["structured_outputs"] = _structured(request.grammar)
    return {
        **_common(request, model, media, request.prompt_token_ids),
        "sampling_params": params,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def scoring_body(
    request: GenerationRequest, model: VllmModel, media: Sequence[EncodedFeatures], index: int
) -> dict[str, Any]:
    """The body of a request for the log-probability of token `index` of the continuation.

    That token is the only one that may be generated after those before it. vLLM's prompt
    log-probabilities would need a single request, but bypass the prefix cache, and end vLLM 0.32
    if adapters are loaded.
    """
    *known, wanted = request.continuation_token_ids[: index + 1]
    params = {
        "temperature": 0.0, "max_tokens": 1, "logprobs": 0, "allowed_token_ids": [wanted],
        "ignore_eos": True, "detokenize": False,
    }  # fmt: skip
    body = _common(request, model, media, (*request.prompt_token_ids, *known))
    return {**body, "request_id": f"{request.request_id}-{index}", "sampling_params": params}


def read_event(line: str, model: VllmModel, num_top: int) -> StreamEvent | None:
    """The event of one line of a stream; None for a line without one.

    Args:
        num_top: alternatives per token that the request asks for.

    Raises:
        ValueError: the line is not one that vLLM sends.
    """
    if not line.startswith("data:"):
        return None
    text = line[5:].strip()
    if text == "[DONE]":
        return None
    event = json.loads(text)
    if "error" in event:
        return StreamEvent(error=str(event["error"]))
    usage = event.get("usage")
    details = (usage or {}).get("prompt_tokens_details") or {}
    cached = details.get("cached_tokens")
    if not event["choices"]:
        return StreamEvent(cached_tokens=cached)
    choice = event["choices"][0]
    return StreamEvent(
        tokens=tuple(_tokens(choice, model, num_top)),
        finish_reason=choice.get("finish_reason"),
        cached_tokens=cached,
    )


def read_score(answer: Mapping[str, Any], wanted: int) -> float:
    """The log-probability of the only token that could be generated.

    Raises:
        RequestFailedError: the answer lacks it.
    """
    try:
        sampled = answer["choices"][0]["logprobs"]["content"][0]
        token, value = int(sampled["token_id"]), float(sampled["logprob"])
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise RequestFailedError("vLLM's answer lacks log-probabilities") from error
    if token != wanted:
        raise RequestFailedError(f"vLLM generated token {token} instead of {wanted}")
    return value


def read_cached_tokens(answer: Mapping[str, Any]) -> int:
    """How many of a request's prompt tokens were cached."""
    usage = answer.get("usage") or {}
    return int((usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0)


def _common(
    request: GenerationRequest,
    model: VllmModel,
    media: Sequence[EncodedFeatures],
    token_ids: Iterable[int],
) -> dict[str, Any]:
    known = model.own_vocab_size
    body: dict[str, Any] = {
        "request_id": request.request_id,
        "model": model.name,
        "token_ids": [token if token < known else model.placeholder_id for token in token_ids],
        "priority": request.priority,
    }
    if request.cache_salt is not None:
        body["cache_salt"] = request.cache_salt
    if media:
        body["features"] = feature_fields(media)
    return body


def _sampling(params: SamplingParams, model: VllmModel, seed: int) -> dict[str, Any]:
    ends = () if params.ignore_eos else model.eos_token_ids
    biases = {str(token): _NEVER for token in range(model.own_vocab_size, model.vocab_size)}
    biases |= {str(token): bias for token, bias in params.logit_bias.items()}
    sampling: dict[str, Any] = {
        "temperature": 0.0 if params.greedy else params.temperature,
        "top_p": 1.0 if params.greedy else params.top_p,
        "top_k": params.top_k,
        "min_p": params.min_p,
        "repetition_penalty": params.repetition_penalty,
        "frequency_penalty": params.frequency_penalty,
        "presence_penalty": params.presence_penalty,
        "stop_token_ids": [*params.stop_token_ids, *ends],
        "ignore_eos": params.ignore_eos,
        # vLLM takes -1 for no seed.
        "seed": seed & _MAX_SEED,
        "detokenize": False,
    }
    if biases:
        sampling["logit_bias"] = biases
    if params.logprobs is not None:
        sampling["logprobs"] = params.logprobs + _ONE_MORE if params.logprobs else 0
    return sampling


def _structured(grammar: GrammarSource) -> dict[str, Any]:
    if grammar.kind is GrammarKind.LARK:
        return {"grammar": grammar.text}
    schema = json.loads(grammar.text)
    if not isinstance(schema, dict):
        schema = {"allOf": [schema]}
    # llguidance reads its options from this keyword; the layout is that of the torch engine.
    return {"json": json.dumps({**schema, "x-guidance": LAYOUT})}


def _tokens(choice: Mapping[str, Any], model: VllmModel, num_top: int) -> Iterable[NewToken]:
    ids = choice.get("token_ids") or ()
    contents = (choice.get("logprobs") or {}).get("content") or ()
    if not contents:
        yield from (NewToken(token) for token in ids)
        return
    for token, content in zip(ids, contents, strict=True):
        best = sorted(
            (
                (one["token_id"], one["logprob"])
                for one in content["top_logprobs"]
                if one["token_id"] < model.own_vocab_size
            ),
            key=lambda pair: -pair[1],
        )
        yield NewToken(token, content["logprob"], tuple(best[:num_top]))
