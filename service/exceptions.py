"""Errors of a request, raised where the fact is known; `service.errors` translates them.

Messages contain the offending value and the limit, and reach the client unchanged.
"""

from __future__ import annotations

from lamm_model.formats.errors import MediaError


class RequestError(Exception):
    """A value of the request is wrong. `param` names the field, `code` is for programs."""

    param: str | None = None
    code: str | None = None

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param, self.code = param or self.param, code or self.code


class ContextLengthError(RequestError):
    """Prompt and answer do not fit the context."""

    param, code = "messages", "context_length_exceeded"


class ModelNotFoundError(RequestError):
    """The request names a model that is not served."""

    def __init__(self, requested: str, *served: str) -> None:
        names = ", ".join(repr(name) for name in served)
        there_is = f"the model is {names}" if len(served) == 1 else f"the models are {names}"
        super().__init__(
            f"model {requested[:128]!r} is not served; {there_is}",
            param="model",
            code="model_not_found",
        )


class TaskNotFoundError(RequestError):
    """The path names an unknown task."""

    def __init__(self, requested: str, *known: str) -> None:
        super().__init__(
            f"task {requested[:64]!r} not found; the tasks are {', '.join(known)}",
            param="task",
            code="task_not_found",
        )


class MediaRefusedError(RequestError):
    """A medium of the request was refused; `reason` is the cause, `param` names the medium."""

    def __init__(self, reason: MediaError, *, param: str) -> None:
        super().__init__(str(reason), param=param)
        self.reason = reason


class AuthenticationError(RequestError):
    """The API key is missing or unknown."""

    code = "invalid_api_key"


class PermissionDeniedError(RequestError):
    """The API key is valid, but its role does not allow the route."""

    def __init__(self, needed: str, role: str) -> None:
        super().__init__(
            f"the route needs a key with role '{needed}'; this key has role '{role}'",
            code="insufficient_role",
        )


class CrossSiteError(RequestError):
    """A browser sends the request for a page of another site that the operator has not allowed."""

    def __init__(self) -> None:
        super().__init__(
            "requests from pages of other sites are refused; the operator can allow a "
            "site with --allowed-origin",
            code="cross_site",
        )


class ForeignHostError(RequestError):
    """`Host` is a name that the service does not know: a web page may have chosen it."""

    def __init__(self, host: str) -> None:
        super().__init__(
            f"the Host {host[:128]!r} is not a name of this service, so a web page of another site "
            "may have sent the request; the operator can allow a name with --allowed-host",
            code="foreign_host",
        )


class ForeignOriginError(RequestError):
    """`Origin` is another site, which the operator has not allowed."""

    def __init__(self, origin: str) -> None:
        super().__init__(
            f"requests from pages of the origin {origin[:128]!r} are refused; the operator can "
            "allow an origin with --allowed-origin",
            code="foreign_origin",
        )


class RateLimitedError(RequestError):
    """The key has reached its limit; `reason` is a label of the metric that counts refusals."""

    def __init__(self, message: str, *, retry_after_s: int, reason: str) -> None:
        super().__init__(message, code="rate_limit_exceeded")
        self.retry_after_s, self.reason = retry_after_s, reason


class RequestCancelledError(RequestError):
    """The caller cancelled the request, by its id or by disconnecting."""

    def __init__(self) -> None:
        super().__init__("the request was cancelled", code="request_cancelled")


class RequestNotFoundError(RequestError):
    """The caller has no running request with that id."""

    def __init__(self, request_id: str) -> None:
        super().__init__(
            f"you have no running request {request_id[:128]!r}",
            param="request_id",
            code="request_not_found",
        )


class BodyTooLargeError(RequestError):
    """The body exceeds the limit, by its Content-Length or by the bytes received."""

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"the request body exceeds the limit of {limit} bytes", code="body_too_large"
        )


class ContentEncodingError(RequestError):
    """The body is compressed in a way that is not supported."""

    def __init__(self, encoding: str) -> None:
        super().__init__(
            f"the request's Content-Encoding is {encoding[:64]!r}; expected gzip, deflate or none",
            code="unsupported_content_encoding",
        )


class NotReadyError(RequestError):
    """The service is loading, draining or stopped."""

    def __init__(self, phase: str) -> None:
        super().__init__(f"the service is {phase} and accepts no requests", code=f"service_{phase}")


class OverloadedError(RequestError):
    """Too much is waiting already, before the engine's own queue; retry later.

    `reason` is a label of the metric that counts refusals.
    """

    def __init__(self, message: str, *, reason: str, code: str = "queue_full") -> None:
        super().__init__(message, code=code)
        self.reason = reason


class FirstTokenTimeoutError(OverloadedError):
    """The request was given up before its first token."""

    def __init__(self, limit_s: float) -> None:
        super().__init__(
            f"the request waited for its first token longer than the limit of {limit_s:g} s",
            reason="queue_timeout",
            code="queue_timeout",
        )


class BodyTimeoutError(RequestError):
    """The client stopped sending in the middle of a body."""

    def __init__(self, silence_s: float) -> None:
        super().__init__(
            f"no part of the request body arrived for {silence_s:g} s", code="body_timeout"
        )


class StoredFileNotFoundError(RequestError):
    """The caller's key has no file with that id, or it has expired."""

    def __init__(self, file_id: str, param: str = "file_id") -> None:
        super().__init__(
            f"file {file_id[:80]!r} not found, or it has expired",
            param=param,
            code="file_not_found",
        )


class FileTooLargeError(RequestError):
    """An uploaded file exceeds the limit."""

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"the file exceeds the limit of {limit} bytes", param="file", code="file_too_large"
        )


class FileQuotaError(RequestError):
    """The caller's key has reached its limit of files or bytes."""

    param, code = "file", "file_quota_exceeded"


class StorageFullError(RequestError):
    """The disk, or the share of it for uploaded files, is full."""

    code = "storage_full"


class StorageUnavailableError(RequestError):
    """The directory of uploaded files cannot be read or written."""

    code = "storage_unavailable"


class BatchNotFoundError(RequestError):
    """The caller's key has no batch with that id."""

    def __init__(self, batch_id: str) -> None:
        super().__init__(
            f"batch {batch_id[:80]!r} not found", param="batch_id", code="batch_not_found"
        )


class ResponseNotFoundError(RequestError):
    """Answers of the Responses API cannot be looked up."""

    def __init__(self, response_id: str) -> None:
        super().__init__(
            f"response {response_id[:80]!r} not found: answers are not stored",
            param="response_id",
            code="response_not_found",
        )


class BatchesUnavailableError(RequestError):
    """The batch database cannot be used now."""

    code = "batches_unavailable"


class MediaUnreachableError(MediaError):
    """A remote medium could not be fetched: no answer, a wrong one, or too slow."""


class ClientDisconnectedError(Exception):
    """The client disconnected before its answer was complete."""
