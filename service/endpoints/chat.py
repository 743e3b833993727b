"""`POST /v1/chat/completions`."""

from __future__ import annotations

import contextlib
import time
from typing import Any

from fastapi import APIRouter, Request, Response

from service.answer.generation import Generation
from service.answer.streaming import Envelope, collect, events, respond
from service.dependencies import (
    CallerDep,
    LifecycleDep,
    ModelsDep,
    ServedModel,
    Timeouts,
    TimeoutsDep,
    UnknownFieldsDep,
    owner_of,
)
from service.http.disconnect import until_disconnect
from service.http.request_body import JsonBodyRoute, release_body
from service.keys.auth import USER_WORK, Caller
from service.metrics import counted_rejections
from service.schemas.events import EVENT_STREAM
from service.schemas.openai import ChatCompletionRequest
from service.schemas.openai_answers import ChatCompletion, ErrorBody
from service.schemas.unknown_fields import ignored_fields

router = APIRouter(tags=["chat"], route_class=JsonBodyRoute, dependencies=[USER_WORK])

_ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorBody} for status in (400, 401, 404, 408, 413, 415, 422, 503)
}
_ANSWERS: dict[int | str, dict[str, Any]] = {**_ERRORS, 200: {"content": {EVENT_STREAM: {}}}}


@router.post("/v1/chat/completions", response_model=ChatCompletion, responses=_ANSWERS)
async def create_chat_completion(
    body: ChatCompletionRequest,
    request: Request,
    models: ModelsDep,
    lifecycle: LifecycleDep,
    timeouts: TimeoutsDep,
    caller: CallerDep,
    unknown_fields: UnknownFieldsDep,
) -> Response:
    """Answers a conversation about text, pictures and clouds; streams if `stream` is true."""
    arrived = time.perf_counter()
    unknown_fields.name_once(body)
    ignored = ignored_fields(body)
    model = models.get(body.model)
    usage = body.stream_options is not None and body.stream_options.include_usage
    envelope = Envelope(model.name, model.fingerprint, usage)
    with contextlib.ExitStack() as running, counted_rejections(model.metrics):
        running.enter_context(lifecycle.admit())
        start = start_chat(body, request, model, arrived, timeouts, caller)
        generation = await until_disconnect(request.receive, start)
        whole = None if body.stream else collect(generation, envelope)
        response = await respond(request, generation, whole, events(generation, envelope), running)
        response.headers.update(ignored)
        return response


async def start_chat(
    body: ChatCompletionRequest,
    request: Request,
    model: ServedModel,
    arrived: float,
    timeouts: Timeouts,
    caller: Caller,
) -> Generation:
    """Plans a chat request and starts its answer; the request's body is released in between.

    Raises as `InputProcessor.plan` and `Generation.start`.
    """
    planned = await model.processor.plan(body, owner_of(request), patient=caller.patient)
    # Otherwise the base64 of its media would stay in memory until the answer is complete.
    body.messages.clear()
    if body.model_extra:
        body.model_extra.clear()
    release_body(request)
    generation = Generation(
        model.engine,
        planned,
        model.metrics,
        arrived,
        account=caller.account,
        queue_timeout_s=timeouts.queue_s,
    )
    await generation.start(timeouts.keepalive_s)
    return generation
