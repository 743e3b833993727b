"""`POST /v1/responses`: OpenAI's Responses API, without a store."""

from __future__ import annotations

import contextlib
import time
from typing import Annotated, Any, NoReturn

from fastapi import APIRouter, Path, Request, Response

from service.answer.responses import begun_response, collect_response, response_events
from service.answer.streaming import Envelope, respond
from service.dependencies import (
    CallerDep,
    LifecycleDep,
    ModelsDep,
    TimeoutsDep,
    UnknownFieldsDep,
)
from service.endpoints.chat import start_chat
from service.errors import translate
from service.exceptions import ResponseNotFoundError
from service.http.disconnect import until_disconnect
from service.http.request_body import JsonBodyRoute
from service.keys.auth import USER, USER_WORK
from service.metrics import counted_rejections
from service.plan.responses import translate_request
from service.schemas.events import EVENT_STREAM
from service.schemas.openai_answers import ErrorBody
from service.schemas.responses import ResponsesRequest
from service.schemas.responses_answers import ResponseObject
from service.schemas.unknown_fields import ignored_fields

PATH = "/v1/responses"
router = APIRouter(prefix=PATH, tags=["responses"], route_class=JsonBodyRoute)

_ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorBody} for status in (400, 401, 403, 404, 408, 413, 415, 422, 429, 503)
}
_ANSWERS: dict[int | str, dict[str, Any]] = {**_ERRORS, 200: {"content": {EVENT_STREAM: {}}}}
_NOT_FOUND: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorBody} for status in (401, 403, 404)
}
ResponseId = Annotated[str, Path(max_length=128)]


@router.post("", response_model=ResponseObject, responses=_ANSWERS, dependencies=[USER_WORK])
async def create_response(
    body: ResponsesRequest,
    request: Request,
    models: ModelsDep,
    lifecycle: LifecycleDep,
    timeouts: TimeoutsDep,
    caller: CallerDep,
    unknown_fields: UnknownFieldsDep,
) -> Response:
    """Answers a text or a list of items; streams typed events if `stream` is true.

    Nothing is stored: a conversation is sent whole with each request.
    """
    arrived = time.perf_counter()
    asked = translate_request(body)
    unknown_fields.name_once(body)
    ignored = ignored_fields(body)
    _forget(body)
    model = models.get(body.model)
    try:
        with contextlib.ExitStack() as running, counted_rejections(model.metrics):
            running.enter_context(lifecycle.admit())
            start = start_chat(asked.chat, request, model, arrived, timeouts, caller)
            generation = await until_disconnect(request.receive, start)
            begun = begun_response(body, generation, Envelope(model.name, model.fingerprint))
            whole = None if body.stream else collect_response(generation, begun)
            response = await respond(
                request, generation, whole, response_events(generation, begun), running
            )
            response.headers.update(ignored)
            return response
    except Exception as error:
        reply = translate(error)
        if reply.status >= 500:  # nothing in the request is at fault, or the client has gone
            raise
        return asked.renamed(reply).response()


@router.get("/{response_id}", response_model=None, responses=_NOT_FOUND, dependencies=[USER])
async def retrieve_response(response_id: ResponseId) -> NoReturn:
    """Always 404: answers are not stored."""
    raise ResponseNotFoundError(response_id)


@router.delete("/{response_id}", response_model=None, responses=_NOT_FOUND, dependencies=[USER])
async def delete_response(response_id: ResponseId) -> NoReturn:
    """Always 404: answers are not stored."""
    raise ResponseNotFoundError(response_id)


def _forget(body: ResponsesRequest) -> None:
    """Leaves the media to the chat request, which is cleared once it is planned."""
    if isinstance(body.input, list):
        body.input.clear()
    if body.model_extra:
        body.model_extra.clear()
