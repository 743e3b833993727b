"""`POST /v1/likelihoods`: log-likelihoods of given answers after a chat prompt."""

from __future__ import annotations

import functools
import time
from typing import Any

from fastapi import APIRouter, Request

from service.answer.likelihoods import LikelihoodQuestion, answer_likelihoods
from service.dependencies import CallerDep, LifecycleDep, ModelsDep, OwnerDep, TimeoutsDep
from service.http.disconnect import until_disconnect
from service.http.request_body import JsonBodyRoute, release_body
from service.keys.auth import USER_WORK
from service.metrics import counted_rejections
from service.schemas.likelihoods import LikelihoodRequest, Likelihoods
from service.schemas.openai_answers import ErrorBody

router = APIRouter(tags=["chat"], route_class=JsonBodyRoute, dependencies=[USER_WORK])

_ANSWERS: dict[int | str, dict[str, Any]] = {503: {"model": ErrorBody}}


@router.post("/v1/likelihoods", responses=_ANSWERS)
async def score_continuations(
    body: LikelihoodRequest,
    request: Request,
    models: ModelsDep,
    lifecycle: LifecycleDep,
    timeouts: TimeoutsDep,
    caller: CallerDep,
    owner: OwnerDep,
) -> Likelihoods:
    """Returns how probable each of the given continuations is as the answer; generates nothing."""
    arrived = time.perf_counter()
    model = models.get(body.model)
    question = LikelihoodQuestion(body, model, arrived, caller, owner)
    with counted_rejections(model.metrics), lifecycle.admit():
        work = answer_likelihoods(question, timeouts, functools.partial(release_body, request))
        return await until_disconnect(request.receive, work)
