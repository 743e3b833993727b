"""`DELETE /v1/requests/{request_id}`: cancels a running request."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path

from service.dependencies import AccessDep, CallerDep
from service.exceptions import RequestNotFoundError
from service.keys.api_keys import Role
from service.keys.auth import USER
from service.schemas.openai_answers import CancelledRequest

router = APIRouter(prefix="/v1/requests", tags=["chat"], dependencies=[USER])


@router.delete("/{request_id}")
async def cancel_request(
    request_id: Annotated[str, Path(max_length=128)], access: AccessDep, caller: CallerDep
) -> CancelledRequest:
    """Cancels the caller's requests with this `X-Request-Id`, as a disconnect would.

    A key cancels its own requests only, an admin's key anyone's. If no keys are required, anyone
    who knows an id may cancel its request.
    """
    count = access.running.cancel(request_id, caller.owner, any_owner=caller.role is Role.ADMIN)
    if count == 0:
        raise RequestNotFoundError(request_id)
    return CancelledRequest(id=request_id, cancelled=count)
