"""One table: domain error -> HTTP status and OpenAI error body. Registered by `app`.

Also used by `streaming` for errors after the headers and by `middleware` for refusals before a
route. No text of a library reaches a client: what is not in the table is "internal error".
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from lamm_model.media_errors import (
    MediaDependencyError,
    MediaError,
    MediaFormatError,
    MediaTooLargeError,
)
from lamm_model.sampling_params import SamplingParamsError
from service.engine.base import (
    EngineStoppedError,
    PromptTooLongError,
    QueueFullError,
    RequestFailedError,
)
from service.exceptions import (
    AuthenticationError,
    BodyTimeoutError,
    BodyTooLargeError,
    ClientDisconnectedError,
    MediaRefusedError,
    ModelNotFoundError,
    NotReadyError,
    OverloadedError,
    RequestError,
)
from service.schemas.openai import ErrorBody, ErrorDetail
from service.validation import describe_validation

logger = logging.getLogger(__name__)

CLIENT_CLOSED_REQUEST = 499
_INVALID = "invalid_request_error"
_OVERLOADED = "overloaded_error"
_RETRY: Mapping[str, str] = {"Retry-After": "1"}
_NO_RETRY: Mapping[str, str] = {"x-should-retry": "false"}
_HTTP_MESSAGES = {404: "there is no such route", 405: "the route does not take this method"}


@dataclass(frozen=True, slots=True)
class ErrorReply:
    """What a client is told."""

    status: int
    type: str
    message: str
    param: str | None = None
    code: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def body(self) -> dict[str, Any]:
        """`{"error": {message, type, param, code}}`."""
        detail = ErrorDetail(message=self.message, type=self.type, param=self.param, code=self.code)
        return ErrorBody(error=detail).model_dump()

    def response(self) -> JSONResponse:
        """The whole HTTP answer."""
        return JSONResponse(self.body(), self.status, headers=dict(self.headers))


def translate(error: BaseException) -> ErrorReply:  # noqa: PLR0911 - a table, a row a return
    """The table."""
    if isinstance(error, RequestError):
        return _request_error(error)
    match error:
        case SamplingParamsError():
            return ErrorReply(400, _INVALID, str(error), error.param, "invalid_value")
        case PromptTooLongError():
            return ErrorReply(400, _INVALID, str(error), "messages", "context_length_exceeded")
        case QueueFullError():
            return ErrorReply(503, _OVERLOADED, str(error), None, "queue_full", _RETRY)
        case EngineStoppedError():
            message = "the engine takes no requests"
            return ErrorReply(503, "service_unavailable", message, None, "engine_stopped", _RETRY)
        case RequestFailedError():
            message = "this request failed in the engine; the log says why"
            return ErrorReply(500, "server_error", message, None, "request_failed", _NO_RETRY)
        case RequestValidationError():
            message, param = describe_validation(error.errors())
            return ErrorReply(400, _INVALID, message, param, "invalid_value")
        case HTTPException(__cause__=RequestError() as cause):
            return _request_error(cause)
        case HTTPException():
            return _http_error(error.status_code, error.headers)
    return ErrorReply(500, "server_error", "internal error", None, "internal_error", _NO_RETRY)


def install(app: FastAPI) -> None:
    """Every error of every route takes the way through the table."""

    async def handle(_: Request, error: Exception) -> JSONResponse:
        reply = translate(error)
        if reply.status >= 500 and reply.type != _OVERLOADED:
            logger.error("request failed with %d", reply.status, exc_info=error)
        return reply.response()

    for kind in (
        RequestError, SamplingParamsError, PromptTooLongError, QueueFullError, EngineStoppedError,
        RequestFailedError, RequestValidationError, HTTPException,
    ):  # fmt: skip
        app.add_exception_handler(kind, handle)

    async def gone(_: Request, __: Exception) -> Response:
        return Response(status_code=CLIENT_CLOSED_REQUEST)  # for the log; nobody reads it

    app.add_exception_handler(ClientDisconnectedError, gone)


def _request_error(error: RequestError) -> ErrorReply:  # noqa: PLR0911 - the table goes on
    reply = (error.message, error.param, error.code)
    match error:
        case MediaRefusedError():
            return _media_error(error.reason, error.param)
        case AuthenticationError():
            headers = {"WWW-Authenticate": "Bearer"}
            return ErrorReply(401, "authentication_error", *reply, headers)
        case ModelNotFoundError():
            return ErrorReply(404, _INVALID, *reply)
        case BodyTooLargeError():
            return ErrorReply(413, _INVALID, *reply, {"Connection": "close"})
        case BodyTimeoutError():
            return ErrorReply(408, _INVALID, *reply, {"Connection": "close"})
        case OverloadedError():
            return ErrorReply(503, _OVERLOADED, *reply, _RETRY)
        case NotReadyError():
            return ErrorReply(503, "service_unavailable", *reply, _RETRY)
    return ErrorReply(400, _INVALID, error.message, error.param, error.code or "invalid_value")


def _media_error(error: MediaError, param: str | None) -> ErrorReply:
    match error:
        case MediaDependencyError():
            return ErrorReply(415, _INVALID, str(error), param, "media_format_not_installed")
        case MediaFormatError():
            return ErrorReply(415, _INVALID, str(error), param, "unsupported_media_format")
        case MediaTooLargeError():
            return ErrorReply(413, _INVALID, str(error), param, "media_too_large")
    return ErrorReply(422, _INVALID, str(error), param, "media_undecodable")


def _http_error(status: int, headers: Mapping[str, str] | None) -> ErrorReply:
    message = _HTTP_MESSAGES.get(status, "the request cannot be read")
    code = {404: "not_found", 405: "method_not_allowed"}.get(status)
    return ErrorReply(status, _INVALID, message, None, code, headers or {})
