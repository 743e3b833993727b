"""Reads and parses JSON bodies off the event loop.

FastAPI parses a body on the event loop, first into Python objects and then into the model. Here
pydantic parses the bytes directly, large bodies in a thread, so that probes and streams of other
clients do not wait.
"""

from __future__ import annotations

import asyncio
import contextlib
from codecs import BOM_UTF8
from collections.abc import Callable, Coroutine
from email.message import Message
from typing import Any

import numpy as np
from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect
from starlette.types import Scope

from service.exceptions import ClientDisconnectedError, RequestError

MAX_VALUES = 1 << 18
# Smaller bodies are parsed faster than handed to a thread.
_PARSED_INLINE = 1 << 16
_COUNTED_AT_ONCE = 1 << 20
_RELEASE = "lamm.release_body"
_TURN = "lamm.parse_turn"


class JsonBodyRoute(APIRoute):
    """A route that parses its pydantic body here; routes without one are unchanged.

    Invalid bodies raise RequestValidationError or RequestError.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's handler, given a parsed body."""
        handle = super().get_route_handler()
        model = None if self.body_field is None else self.body_field.field_info.annotation
        if not isinstance(model, type) or not issubclass(model, BaseModel):
            return handle

        async def parse_then_handle(request: Request) -> Response:
            return await handle(_ParsedRequest(request, await _read(request, model)))

        return parse_then_handle


def release_body(request: Request) -> None:
    """Marks the request's body as no longer held, see `BodyLimitMiddleware`."""
    release: Callable[[], None] | None = request.scope.get(_RELEASE)
    if release is not None:
        release()


def on_release(scope: Scope, release: Callable[[], None]) -> None:
    """Registers `release` for `release_body`; it may be called again when the request ends."""
    scope[_RELEASE] = release


def parse_in_turn(scope: Scope, turn: asyncio.Lock) -> None:
    """Parses a large body only while no other request holds the same lock."""
    scope[_TURN] = turn


class _ParsedRequest(Request):
    """Returns the parsed model when FastAPI asks for the body."""

    def __init__(self, request: Request, parsed: BaseModel) -> None:
        super().__init__(request.scope, request.receive)
        self._parsed = parsed

    async def body(self) -> bytes:
        return b"{}"  # asked only whether there is one; the bytes themselves are gone

    async def json(self) -> Any:
        return self._parsed


async def _read(request: Request, model: type[BaseModel]) -> BaseModel:
    kind = request.headers.get("content-type", "")
    if not _is_json(kind):
        raise RequestError(
            f"the request's Content-Type is {kind[:64]!r}; it must be application/json",
            code="invalid_content_type",
        )
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
    except ClientDisconnect:
        raise ClientDisconnectedError from None
    if body.startswith(BOM_UTF8):  # as Windows tools write it; RFC 8259 lets parsers ignore it
        del body[: len(BOM_UTF8)]
    if len(body) <= _PARSED_INLINE:
        return _parse(body, model)
    # A parser holds the GIL for a whole body. Several at once would pass it among each other while
    # the event loop waits; one at a time lets the event loop in between.
    async with request.scope.get(_TURN) or contextlib.nullcontext():
        return await asyncio.to_thread(_parse_large, body, model)


def _is_json(kind: str) -> bool:
    message = Message()
    message["content-type"] = kind
    subtype = message.get_content_subtype()
    return message.get_content_maintype() == "application" and (
        subtype == "json" or subtype.endswith("+json")
    )


def _parse_large(body: bytearray, model: type[BaseModel]) -> BaseModel:
    # A body of brackets alone would become gigabytes of objects and block all threads while it is
    # parsed. Real bodies are large because of base64, which contains none of these characters.
    count = _count_values(body)
    if count > MAX_VALUES:
        raise RequestError(
            f"the request body has {count} lists, objects and commas; the limit is {MAX_VALUES}",
            code="too_many_values",
        )
    return _parse(body, model)


def _count_values(body: bytearray) -> int:
    """An upper bound of the values in a JSON text; releases the GIL meanwhile."""
    letters = np.frombuffer(body, dtype=np.uint8)
    return sum(
        int(np.count_nonzero(letters[start : start + _COUNTED_AT_ONCE] == sign))
        for start in range(0, len(letters), _COUNTED_AT_ONCE)
        for sign in b",[{"
    )


def _parse(body: bytearray, model: type[BaseModel]) -> BaseModel:
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        found = error.errors(include_url=False)
    raise RequestValidationError([{**one, "loc": ("body", *one["loc"])} for one in found])
