"""`DELETE /v1/requests/{request_id}`."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel


class CancelledRequest(BaseModel):
    """How many running requests of that id were ended; clients may give one to several."""

    id: str
    object: Literal["request.cancelled"] = "request.cancelled"
    cancelled: int
