"""`POST /v1/chat/completions`."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator, Mapping
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from service.dependencies import LifecycleDep, ModelsDep, ServedModel, TimeoutsDep
from service.disconnect import until_disconnect
from service.engine.base import EngineStoppedError, QueueFullError
from service.exceptions import ContextLengthError, NotReadyError, OverloadedError
from service.generation import Generation
from service.metrics import Metrics
from service.request_body import JsonBodyRoute, release_body
from service.schemas.openai import ChatCompletion, ChatCompletionRequest, ErrorBody
from service.streaming import Envelope, EventStream, collect

logger = logging.getLogger(__name__)
router = APIRouter(tags=["chat"], route_class=JsonBodyRoute)

_ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorBody} for status in (400, 401, 404, 408, 413, 415, 422, 503)
}
_REJECTIONS: Mapping[type[Exception], str] = {
    QueueFullError: "queue_full",
    EngineStoppedError: "engine_stopped",
    NotReadyError: "not_ready",
    ContextLengthError: "context_length_exceeded",
}


@router.post("/v1/chat/completions", response_model=ChatCompletion, responses=_ERRORS)
async def create_chat_completion(
    body: ChatCompletionRequest,
    request: Request,
    models: ModelsDep,
    lifecycle: LifecycleDep,
    timeouts: TimeoutsDep,
) -> Response:
    """Answers a conversation about text, pictures and clouds; streams where `stream` is true."""
    arrived = time.perf_counter()
    _name_unknown_fields(request, body)
    model = models.get(body.model)
    usage = body.stream_options is not None and body.stream_options.include_usage
    envelope = Envelope(model.name, model.fingerprint, usage)
    with contextlib.ExitStack() as running, _counted_rejections(model.metrics):
        running.enter_context(lifecycle.admit())
        start = _start(body, request, model, arrived, timeouts.keepalive_s)
        generation = await until_disconnect(request.receive, start)
        if body.stream:
            return EventStream(generation, envelope, running.pop_all().close)
        try:
            answer = await until_disconnect(request.receive, collect(generation, envelope))
        finally:
            await generation.close()
    headers = {"Server-Timing": generation.server_timing()}
    return JSONResponse(answer.model_dump(), headers=headers)


async def _start(
    body: ChatCompletionRequest,
    request: Request,
    model: ServedModel,
    arrived: float,
    silence_s: float,
) -> Generation:
    planned = await model.processor.plan(body)
    # The base64 of its media would wait in the engine's queue with it, and stay for its answer.
    body.messages.clear()
    if body.model_extra:
        body.model_extra.clear()
    release_body(request)
    generation = Generation(model.engine, planned, model.metrics, arrived)
    try:
        await generation.start(silence_s)
    except BaseException:
        await generation.close()
        raise
    return generation


@contextlib.contextmanager
def _counted_rejections(metrics: Metrics) -> Iterator[None]:
    try:
        yield
    except OverloadedError as error:
        metrics.rejected(error.reason)
        raise
    except Exception as error:
        if type(error) in _REJECTIONS:
            metrics.rejected(_REJECTIONS[type(error)])
        raise


def _name_unknown_fields(request: Request, body: ChatCompletionRequest) -> None:
    """Logs each field that is not known once in the life of the app, and not endlessly many."""
    named: set[str] = request.app.state.unknown_fields
    for name in body.model_extra or {}:
        if name not in named and len(named) < 64:
            named.add(name)
            logger.info("ignoring the unknown request field %r", name[:64])
