"""`DELETE /v1/requests/{request_id}`: ends a request that is running."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path

from service.dependencies import AccessDep, CallerDep
from service.exceptions import RequestNotFoundError
from service.keys.api_keys import Role
from service.keys.auth import USER
from service.schemas.requests import CancelledRequest

router = APIRouter(prefix="/v1/requests", tags=["chat"], dependencies=[USER])


@router.delete("/{request_id}")
async def cancel_request(
    request_id: Annotated[str, Path(max_length=128)], access: AccessDep, caller: CallerDep
) -> CancelledRequest:
    """Ends the caller's requests with this `X-Request-Id`, as their disconnecting would.

    A key ends its own requests alone, an admin's key anyone's. Where no keys are asked for, who
    knows an id may end its request.
    """
    count = access.running.cancel(request_id, caller.owner, any_owner=caller.role is Role.ADMIN)
    if count == 0:
        raise RequestNotFoundError(request_id)
    return CancelledRequest(id=request_id, cancelled=count)
