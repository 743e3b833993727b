"""`DELETE /v1/requests/{request_id}`."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel


class CancelledRequest(BaseModel):
    """Number of running requests that were cancelled; several may share an id."""

    id: str
    object: Literal["request.cancelled"] = "request.cancelled"
    cancelled: int
