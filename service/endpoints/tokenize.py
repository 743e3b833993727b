"""`POST /tokenize`, `/detokenize` and `/v1/chat/completions/estimate`."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Request

from lamm_model.conversation import Modality
from service.dependencies import ModelsDep, OwnerDep, ServedModel, UnknownFieldsDep
from service.exceptions import RequestError
from service.http.request_body import JsonBodyRoute, release_body
from service.keys.auth import USER
from service.schemas.openai import ChatCompletionRequest
from service.schemas.tokens import (
    DetokenizeRequest,
    DetokenizeResponse,
    Estimate,
    EstimateDetails,
    TokenizeRequest,
    TokenizeResponse,
)

router = APIRouter(tags=["tokens"], route_class=JsonBodyRoute)


@router.post("/tokenize", response_model_exclude_none=True, dependencies=[USER])
async def tokenize(
    body: TokenizeRequest, models: ModelsDep, unknown_fields: UnknownFieldsDep
) -> TokenizeResponse:
    """Returns the token ids of a text, with the token that begins a prompt before them.

    A text longer than any context is refused.
    """
    unknown_fields.name_once(body)
    model = models.get(body.model)
    model.check_characters(body.prompt, "prompt")
    return await asyncio.to_thread(_tokenized, body, model)


@router.post("/detokenize", dependencies=[USER])
async def detokenize(
    body: DetokenizeRequest, models: ModelsDep, unknown_fields: UnknownFieldsDep
) -> DetokenizeResponse:
    """Returns the text of token ids."""
    unknown_fields.name_once(body)
    model = models.get(body.model)
    largest, size = max(body.tokens, default=0), model.spec.vocab_size
    if largest >= size:
        raise RequestError(
            f"tokens has the token id {largest}; the vocabulary has {size}", param="tokens"
        )
    text = await asyncio.to_thread(model.tokenizer.decode, body.tokens)
    return DetokenizeResponse(prompt=text)


@router.post("/v1/chat/completions/estimate", dependencies=[USER])
async def estimate(
    body: ChatCompletionRequest,
    request: Request,
    models: ModelsDep,
    owner: OwnerDep,
    unknown_fields: UnknownFieldsDep,
) -> Estimate:
    """Counts the tokens of a chat request by modality, and tells whether it fits; runs nothing.

    A text longer than any context is refused as in the chat request itself.
    """
    unknown_fields.name_once(body)
    model = models.get(body.model)
    prompt = await model.processor.prompt(body, owner)
    release_body(request)
    tokens = len(prompt.ids)
    images, clouds = (prompt.media_tokens[modality] for modality in Modality)
    room = model.max_model_len - tokens
    asked = body.max_completion_tokens or body.max_tokens
    default = max(min(max(model.default_max_tokens, body.min_tokens), room), 0)
    return Estimate(
        model=model.name,
        prompt_tokens=tokens,
        prompt_tokens_details=EstimateDetails(
            text_tokens=tokens - images - clouds, image_tokens=images, point_cloud_tokens=clouds
        ),
        max_tokens=asked or default,
        max_model_len=model.max_model_len,
        fits=room >= max(asked or 1, body.min_tokens),
    )


def _tokenized(body: TokenizeRequest, model: ServedModel) -> TokenizeResponse:
    ids = model.tokenizer.encode(body.prompt)
    if body.add_special_tokens:
        ids = [model.spec.bos_token_id, *ids]
    pieces = None
    if body.return_token_strs:
        pieces = [model.tokenizer.id_to_piece(token) or "" for token in ids]
    return TokenizeResponse(
        count=len(ids), max_model_len=model.max_model_len, tokens=ids, token_strs=pieces
    )
