"""`POST /v1/completions`: OpenAI's text completions."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Any

from fastapi import APIRouter, Request, Response

from service.answer.completions import collect_completion, completion_events, plan_completion
from service.answer.generation import Generation
from service.answer.streaming import Envelope, respond
from service.dependencies import (
    CallerDep,
    LifecycleDep,
    ModelsDep,
    OwnerDep,
    TimeoutsDep,
    UnknownFieldsDep,
)
from service.http.disconnect import until_disconnect
from service.http.request_body import JsonBodyRoute, release_body
from service.keys.auth import USER_WORK
from service.metrics import counted_rejections
from service.schemas.completions import Completion, CompletionRequest
from service.schemas.events import EVENT_STREAM
from service.schemas.openai_answers import ErrorBody
from service.schemas.unknown_fields import ignored_fields

router = APIRouter(tags=["chat"], route_class=JsonBodyRoute, dependencies=[USER_WORK])

_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"content": {EVENT_STREAM: {}}},
    503: {"model": ErrorBody},
}


@router.post("/v1/completions", response_model=Completion, responses=_ANSWERS)
async def create_completion(
    body: CompletionRequest,
    request: Request,
    models: ModelsDep,
    lifecycle: LifecycleDep,
    timeouts: TimeoutsDep,
    caller: CallerDep,
    owner: OwnerDep,
    unknown_fields: UnknownFieldsDep,
) -> Response:
    """Continues one text or several; streams if `stream` is true."""
    arrived = time.perf_counter()
    unknown_fields.name_once(body)
    ignored = ignored_fields(body)
    model = models.get(body.model)
    usage = body.stream_options is not None and body.stream_options.include_usage
    envelope = Envelope(model.name, model.fingerprint, usage)
    with contextlib.ExitStack() as running, counted_rejections(model.metrics):
        running.enter_context(lifecycle.admit())
        planned = await asyncio.to_thread(plan_completion, body, model, owner)
        release_body(request)
        generation = Generation(
            model.engine,
            planned,
            model.metrics,
            arrived,
            account=caller.account,
            queue_timeout_s=timeouts.queue_s,
            strip=False,
        )
        await until_disconnect(request.receive, generation.start(timeouts.keepalive_s))
        whole = None if body.stream else collect_completion(generation, envelope)
        stream = completion_events(generation, envelope)
        response = await respond(request, generation, whole, stream, running)
        response.headers.update(ignored)
        return response
