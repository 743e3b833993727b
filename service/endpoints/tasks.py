"""`GET /v1/tasks` and `POST /v1/tasks/{task}`: the vision tasks, one typed route per task."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn

from fastapi import APIRouter, Request, Response

from lamm_model.conversation import Modality
from lamm_model.tasks import TASKS, AnyTask
from service.dependencies import (
    CallerDep,
    LifecycleDep,
    ModelsDep,
    OwnerDep,
    ServedModel,
    ServedModels,
    TimeoutsDep,
)
from service.exceptions import RequestError, TaskNotFoundError
from service.http.disconnect import until_disconnect
from service.http.request_body import release_body
from service.keys.auth import USER, USER_WORK
from service.metrics import counted_rejections
from service.schemas.openai_answers import ErrorBody
from service.schemas.tasks import TaskCard, TaskList, TaskRequest
from service.tasks.catalog import cards
from service.tasks.models import TaskModels, form_schema
from service.tasks.multipart import TaskBodyRoute
from service.tasks.outcome import TaskQuestion
from service.tasks.runner import answer_task

_ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorBody} for status in (400, 401, 403, 404, 408, 413, 415, 422, 429, 503)
}


@functools.cache
def create_router() -> APIRouter:
    """The routes: the list, one per task of the registry, and one for unknown names.

    They are stateless: all apps share them.
    """
    router = APIRouter(prefix="/v1/tasks", tags=["tasks"])
    router.add_api_route(
        "", list_tasks, methods=["GET"], response_model=TaskList, dependencies=[USER]
    )
    for task in TASKS.values():
        made = TaskModels.of(task)
        router.add_api_route(
            f"/{task.name}",
            _handler(task, made.request),
            methods=["POST"],
            name=task.name,
            description=task.description,
            response_model=made.response,
            responses=_ERRORS,
            dependencies=[USER_WORK],
            route_class_override=TaskBodyRoute,
            openapi_extra={"requestBody": {"content": {"multipart/form-data": form_schema(made)}}},
        )
    router.add_api_route(
        "/{task}",
        refuse_unknown,
        methods=["POST"],
        include_in_schema=False,
        response_model=None,
        dependencies=[USER],
    )
    return router


async def list_tasks(models: ModelsDep) -> TaskList:
    """The tasks that the served models support."""
    able = tuple(
        (modality, tuple(m.name for m in models if modality in m.spec.modalities))
        for modality in Modality
    )
    return TaskList(data=list(_cards(able)))


async def refuse_unknown(task: str) -> NoReturn:
    """Refuses an unknown task.

    Raises:
        TaskNotFoundError: always.
    """
    raise TaskNotFoundError(task, *TASKS)


def _handler(task: AnyTask, request_model: type[TaskRequest]) -> Callable[..., Awaitable[Response]]:
    """The handler of one task's route; its body is `request_model`."""

    async def answer(
        body: TaskRequest,
        request: Request,
        models: ModelsDep,
        lifecycle: LifecycleDep,
        timeouts: TimeoutsDep,
        caller: CallerDep,
        owner: OwnerDep,
    ) -> Response:
        arrived = time.perf_counter()
        model = _model_for(task, body.model, models)
        question = TaskQuestion(task, body, model, arrived, caller, owner)
        with counted_rejections(model.metrics), lifecycle.admit():
            work = answer_task(question, timeouts, functools.partial(release_body, request))
            response, timing = await until_disconnect(request.receive, work)
        # An overlay may be megabytes of text.
        content = await asyncio.to_thread(response.model_dump_json)
        headers = {"Server-Timing": timing}
        return Response(content, headers=headers, media_type="application/json")

    # FastAPI parses and documents the body by this annotation.
    answer.__annotations__["body"] = request_model
    return answer


def _model_for(task: AnyTask, name: str | None, models: ServedModels) -> ServedModel:
    """The named model, or the first that supports the task.

    Raises:
        ModelNotFoundError: no model has that name.
        RequestError: no model supports the task.
    """
    if name is not None:
        return models.get(name)
    for model in models:
        if task.modality in model.spec.modalities:
            return model
    raise RequestError(
        f"task {task.name!r} takes a {task.modality.replace('_', ' ')}, which no served model "
        "supports",
        code="unsupported_modality",
    )


@functools.cache
def _cards(models_of: tuple[tuple[Modality, tuple[str, ...]], ...]) -> tuple[TaskCard, ...]:
    return tuple(cards(dict(models_of)))
