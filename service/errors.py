"""One table: domain error -> HTTP status and OpenAI error body.

Library messages never reach a client: errors that are not in the table are "internal error".
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import iter_route_contexts
from starlette.exceptions import HTTPException

from lamm_model.conversation import PromptError
from lamm_model.formats.errors import (
    MediaError,
    MediaFormatError,
    MediaTooLargeError,
)
from lamm_model.sampling_params import SamplingParamsError
from service import exceptions
from service.engine.base import (
    AnswerGrammarError,
    EngineStoppedError,
    GrammarError,
    GrammarQueueTimeoutError,
    PromptTooLongError,
    QueueFullError,
    RequestFailedError,
    UnsupportedByEngineError,
)
from service.schemas.openai_answers import ErrorBody, ErrorDetail
from service.schemas.validation import describe_validation

logger = logging.getLogger(__name__)

CLIENT_CLOSED_REQUEST = 499
_INVALID = "invalid_request_error"
_SHOWN = 96
_OVERLOADED = "overloaded_error"
_RETRY: Mapping[str, str] = {"Retry-After": "1"}
_NO_RETRY: Mapping[str, str] = {"x-should-retry": "false"}
_CLOSE: Mapping[str, str] = {"Connection": "close"}
_HTTP_MESSAGES = {404: "route not found", 405: "method not allowed on this route"}


@dataclass(frozen=True, slots=True)
class ErrorReply:
    """An error as a client sees it; a `message` of "" in the table is the error's own."""

    status: int
    type: str
    code: str | None = None
    param: str | None = None
    message: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)

    def body(self) -> dict[str, Any]:
        """`{"error": {message, type, param, code}}`."""
        detail = ErrorDetail(message=self.message, type=self.type, param=self.param, code=self.code)
        return ErrorBody(error=detail).model_dump()

    def response(self) -> JSONResponse:
        """The HTTP response."""
        return JSONResponse(self.body(), self.status, headers=dict(self.headers))


def translate(error: BaseException) -> ErrorReply:
    """The table's reply; "internal error" for an error that is not in it."""
    if isinstance(error, HTTPException):
        if not isinstance(error.__cause__, exceptions.RequestError):
            return _http_error(error.status_code, error.headers)
        error = error.__cause__
    if isinstance(error, RequestValidationError):
        message, param = describe_validation(error.errors())
        return ErrorReply(400, _INVALID, "invalid_value", param, message)
    reason = error.reason if isinstance(error, exceptions.MediaRefusedError) else error
    row = next((_ROWS[kind] for kind in type(reason).__mro__ if kind in _ROWS), _INTERNAL)
    param = (
        error.param
        if isinstance(
            error, (exceptions.RequestError, SamplingParamsError, UnsupportedByEngineError)
        )
        else row.param
    )
    code = error.code if isinstance(error, exceptions.RequestError) and error.code else row.code
    headers = row.headers
    if isinstance(error, exceptions.RateLimitedError):
        headers = {"Retry-After": str(error.retry_after_s)}
    message = row.message or str(error)
    return replace(row, code=code, param=param, message=message, headers=headers)


def install(app: FastAPI) -> None:
    """Registers the table for the errors of every route."""

    async def handle(request: Request, error: Exception) -> JSONResponse:
        reply = translate(error)
        if reply.code == "not_found":
            reply = replace(reply, message=_no_route(request))
        # Why an engine stopped is in the log already.
        stopped = isinstance(error, (exceptions.NotReadyError, EngineStoppedError))
        expected = reply.type == _OVERLOADED or stopped
        if reply.status >= 500 and not expected:
            logger.error("request failed with %d", reply.status, exc_info=error)
        return reply.response()

    for kind in (*_ROWS, RequestValidationError, HTTPException):
        app.add_exception_handler(kind, handle)

    async def gone(_: Request, __: Exception) -> JSONResponse:
        # A client that disconnected reads nothing; one that cancelled by id reads this.
        return translate(exceptions.RequestCancelledError()).response()

    app.add_exception_handler(exceptions.ClientDisconnectedError, gone)


def _no_route(request: Request) -> str:
    """The message of an unknown path, with the API's routes; each task is one."""
    paths: dict[str, set[str]] = {}
    for route in iter_route_contexts(request.app.routes):
        if route.path is not None and route.path.startswith("/v1/"):
            is_task = route.path.startswith("/v1/tasks/")
            path = "/v1/tasks/{task}" if is_task else route.path
            paths.setdefault(path, set()).update(route.methods or ())
    known = ", ".join(f"{'|'.join(sorted(paths[path]))} {path}" for path in sorted(paths))
    asked = f"{request.method} {request.url.path}"
    return f"route {asked[:_SHOWN]!r} not found; the API's routes are {known}"


def _http_error(status: int, headers: Mapping[str, str] | None) -> ErrorReply:
    message = _HTTP_MESSAGES.get(status, "the request cannot be read")
    code = {404: "not_found", 405: "method_not_allowed"}.get(status)
    return ErrorReply(status, _INVALID, code, None, message, headers or {})


_ROWS: Mapping[type[Exception], ErrorReply] = {
    # The request is wrong.
    exceptions.RequestError: ErrorReply(400, _INVALID, "invalid_value"),
    SamplingParamsError: ErrorReply(400, _INVALID, "invalid_value"),
    PromptError: ErrorReply(400, _INVALID, "unsupported_conversation", "messages"),
    PromptTooLongError: ErrorReply(400, _INVALID, "context_length_exceeded", "messages"),
    UnsupportedByEngineError: ErrorReply(400, _INVALID, "unsupported_value"),
    AnswerGrammarError: ErrorReply(400, _INVALID, "unsupported_schema", "response_format"),
    GrammarError: ErrorReply(400, _INVALID, "unsupported_schema", "response_format"),
    exceptions.AuthenticationError: ErrorReply(
        401, "authentication_error", headers={"WWW-Authenticate": "Bearer"}
    ),
    exceptions.PermissionDeniedError: ErrorReply(403, "permission_error"),
    exceptions.CrossSiteError: ErrorReply(403, "permission_error"),
    exceptions.ForeignHostError: ErrorReply(403, "permission_error"),
    exceptions.ForeignOriginError: ErrorReply(403, "permission_error"),
    exceptions.ModelNotFoundError: ErrorReply(404, _INVALID),
    exceptions.TaskNotFoundError: ErrorReply(404, _INVALID),
    exceptions.RequestNotFoundError: ErrorReply(404, _INVALID),
    exceptions.BodyTimeoutError: ErrorReply(408, _INVALID, headers=_CLOSE),
    exceptions.BodyTooLargeError: ErrorReply(413, _INVALID, headers=_CLOSE),
    exceptions.ContentEncodingError: ErrorReply(
        415, _INVALID, headers={**_CLOSE, "Accept-Encoding": "gzip, deflate"}
    ),
    exceptions.RateLimitedError: ErrorReply(429, "rate_limit_error"),
    exceptions.RequestCancelledError: ErrorReply(
        CLIENT_CLOSED_REQUEST, _INVALID, headers=_NO_RETRY
    ),
    exceptions.FileTooLargeError: ErrorReply(413, _INVALID, headers=_CLOSE),
    exceptions.FileQuotaError: ErrorReply(403, "insufficient_quota", headers=_CLOSE),
    exceptions.StoredFileNotFoundError: ErrorReply(404, _INVALID),
    exceptions.BatchNotFoundError: ErrorReply(404, _INVALID),
    exceptions.ResponseNotFoundError: ErrorReply(404, _INVALID),
    # A medium is wrong.
    MediaError: ErrorReply(422, _INVALID, "media_undecodable"),
    MediaFormatError: ErrorReply(415, _INVALID, "unsupported_media_format"),
    MediaTooLargeError: ErrorReply(413, _INVALID, "media_too_large"),
    exceptions.MediaUnreachableError: ErrorReply(422, _INVALID, "media_unreachable"),
    # The service cannot answer now, or ever.
    exceptions.StorageFullError: ErrorReply(507, "server_error", headers=_NO_RETRY),
    exceptions.StorageUnavailableError: ErrorReply(503, "service_unavailable", headers=_RETRY),
    exceptions.BatchesUnavailableError: ErrorReply(503, "service_unavailable", headers=_RETRY),
    exceptions.OverloadedError: ErrorReply(503, _OVERLOADED, headers=_RETRY),
    QueueFullError: ErrorReply(503, _OVERLOADED, "queue_full", headers=_RETRY),
    GrammarQueueTimeoutError: ErrorReply(503, _OVERLOADED, "queue_timeout", headers=_RETRY),
    exceptions.NotReadyError: ErrorReply(503, "service_unavailable", headers=_RETRY),
    EngineStoppedError: ErrorReply(
        503, "service_unavailable", "engine_stopped",
        message="the engine accepts no requests", headers=_RETRY,
    ),
    RequestFailedError: ErrorReply(
        500, "server_error", "request_failed",
        message="this request failed in the engine; see the server's log", headers=_NO_RETRY,
    ),
}  # fmt: skip
_INTERNAL = ErrorReply(
    500, "server_error", "internal_error", message="internal error", headers=_NO_RETRY
)
