"""`/v1/batches`: many requests in a file, answered when there is room, in OpenAI's format."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Query

from lamm_model.tasks import TASKS
from service.batches.batch import Batch, NewBatch
from service.dependencies import BatchesDep, LifecycleDep, OwnerDep
from service.exceptions import RequestError
from service.http.request_body import JsonBodyRoute
from service.keys.auth import USER
from service.schemas.batches import (
    BatchErrorEntry,
    BatchErrors,
    BatchList,
    BatchObject,
    BatchUsage,
    CreateBatchRequest,
    InputTokensDetails,
    OutputTokensDetails,
    RequestCounts,
)
from service.schemas.openai_answers import ErrorBody

router = APIRouter(
    prefix="/v1/batches", tags=["batches"], route_class=JsonBodyRoute, dependencies=[USER]
)

ENDPOINTS = (
    "/v1/chat/completions", "/v1/completions", "/v1/responses",
    *(f"/v1/tasks/{task}" for task in TASKS),
)  # fmt: skip
_MAX_PAGE, _DEFAULT_PAGE = 100, 20
_UNIT_S = {"h": 3600, "m": 60}
_ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorBody} for status in (400, 401, 403, 404, 408, 413, 429, 503)
}
_FOUND_ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorBody} for status in (400, 401, 403, 404, 503)
}
# Names of a batch's timestamps, in the record and in the answer.
_MOMENTS = (
    "in_progress_at", "finalizing_at", "completed_at", "failed_at", "expired_at",
    "cancelling_at", "cancelled_at",
)  # fmt: skip


@router.post("", responses=_ERRORS)
async def create_batch(
    body: CreateBatchRequest, batches: BatchesDep, owner: OwnerDep, lifecycle: LifecycleDep
) -> BatchObject:
    """Creates a batch from an uploaded file of requests, which is validated and then run."""
    if body.endpoint not in ENDPOINTS:
        raise RequestError(
            f"endpoint is {body.endpoint[:64]!r}; it must be one of {', '.join(ENDPOINTS)}",
            param="endpoint",
        )
    now, expires = int(time.time()), body.output_expires_after
    asked = NewBatch(
        owner=owner,
        endpoint=body.endpoint,
        input_file_id=body.input_file_id,
        completion_window=body.completion_window,
        metadata=body.metadata,
        created_at=now,
        expires_at=now + _window_s(body.completion_window, batches.limits.max_window_s),
        output_expiry_s=None if expires is None else expires.seconds,
    )
    with lifecycle.admit():
        return _object(await batches.create(asked))


@router.get("", responses=_FOUND_ERRORS)
async def list_batches(
    batches: BatchesDep,
    owner: OwnerDep,
    after: Annotated[str | None, Query(max_length=128)] = None,
    limit: Annotated[int, Query(ge=1, le=_MAX_PAGE)] = _DEFAULT_PAGE,
) -> BatchList:
    """Lists the key's batches, newest first; `after` is the last id of the previous page."""
    found = await batches.list_batches(owner, after, limit + 1)
    page = [_object(batch) for batch in found[:limit]]
    return BatchList(
        data=page,
        first_id=page[0].id if page else None,
        last_id=page[-1].id if page else None,
        has_more=len(found) > limit,
    )


@router.get("/{batch_id}", responses=_FOUND_ERRORS)
async def retrieve_batch(batch_id: str, batches: BatchesDep, owner: OwnerDep) -> BatchObject:
    """Returns a batch with its progress."""
    return _object(await batches.get(owner, batch_id))


@router.post("/{batch_id}/cancel", responses=_FOUND_ERRORS)
async def cancel_batch(batch_id: str, batches: BatchesDep, owner: OwnerDep) -> BatchObject:
    """Cancels a batch; finished answers are in its output file."""
    return _object(await batches.cancel(owner, batch_id))


def _window_s(window: str, limit_s: float) -> int:
    seconds = int(window[:-1]) * _UNIT_S[window[-1]]
    if seconds > limit_s:
        raise RequestError(
            f"completion_window is {window!r}; it must be at most {limit_s / 3600:g} hours",
            param="completion_window",
        )
    return seconds


def _object(batch: Batch) -> BatchObject:
    problems = [BatchErrorEntry(**asdict(problem)) for problem in batch.problems]
    return BatchObject(
        id=batch.id,
        endpoint=batch.asked.endpoint,
        errors=BatchErrors(data=problems) if problems else None,
        input_file_id=batch.asked.input_file_id,
        completion_window=batch.asked.completion_window,
        status=batch.status.value,
        output_file_id=batch.output_file_id,
        error_file_id=batch.error_file_id,
        created_at=batch.asked.created_at,
        expires_at=batch.asked.expires_at,
        request_counts=RequestCounts(
            total=batch.total, completed=batch.completed, failed=batch.failed
        ),
        usage=_usage(batch) if batch.completed else None,
        metadata=batch.asked.metadata,
        **{name: getattr(batch, name) for name in _MOMENTS},
    )


def _usage(batch: Batch) -> BatchUsage:
    tokens = batch.tokens
    return BatchUsage(
        input_tokens=tokens.input,
        input_tokens_details=InputTokensDetails(cached_tokens=tokens.cached),
        output_tokens=tokens.output,
        output_tokens_details=OutputTokensDetails(),
        total_tokens=tokens.input + tokens.output,
    )
