"""What can be wrong with a request, raised where the fact is known; `service.errors` translates.

Messages are our own words with the offending value and the limit: they reach the client unchanged.
"""

from __future__ import annotations

from lamm_model.formats.errors import MediaError


class RequestError(Exception):
    """A value of the request is wrong. `param` names the part, `code` is for programs."""

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.message, self.param, self.code = message, param, code


class ContextLengthError(RequestError):
    """Prompt and answer do not fit the context."""

    def __init__(self, message: str, *, param: str = "messages") -> None:
        super().__init__(message, param=param, code="context_length_exceeded")


class ModelNotFoundError(RequestError):
    """The request names a model that is not served."""

    def __init__(self, requested: str, *served: str) -> None:
        names = ", ".join(repr(name) for name in served)
        there_is = f"the model is {names}" if len(served) == 1 else f"the models are {names}"
        super().__init__(
            f"model {requested[:128]!r} is not served here; {there_is}",
            param="model",
            code="model_not_found",
        )


class TaskNotFoundError(RequestError):
    """The path names a task that there is not."""

    def __init__(self, requested: str, *known: str) -> None:
        super().__init__(
            f"there is no task {requested[:64]!r}; there are {', '.join(known)}",
            param="task",
            code="task_not_found",
        )


class MediaRefusedError(RequestError):
    """One medium of the request was refused; `reason` says why, `param` which one."""

    def __init__(self, reason: MediaError, *, param: str) -> None:
        super().__init__(str(reason), param=param)
        self.reason = reason


class AuthenticationError(RequestError):
    """No API key, or not one of the operator's."""

    def __init__(self, message: str) -> None:
        super().__init__(message, code="invalid_api_key")


class PermissionDeniedError(RequestError):
    """The API key is known, but its role does not reach this route."""

    def __init__(self, needed: str, role: str) -> None:
        super().__init__(
            f"the route needs a key with the role '{needed}'; this key's role is '{role}'",
            code="insufficient_role",
        )


class CrossSiteError(RequestError):
    """A browser sends this for a page of another site, which the operator has not allowed."""

    def __init__(self) -> None:
        super().__init__(
            "pages of other sites may not call this service; --allowed-origin names those that may",
            code="cross_site",
        )


class RateLimitedError(RequestError):
    """The caller's own limit is reached; `reason` is the label of the metric that counts it."""

    def __init__(self, message: str, *, retry_after_s: int, reason: str) -> None:
        super().__init__(message, code="rate_limit_exceeded")
        self.retry_after_s, self.reason = retry_after_s, reason


class RequestCancelledError(RequestError):
    """The request's own caller ended it, by its id or by going away."""

    def __init__(self) -> None:
        super().__init__("the request was cancelled", code="request_cancelled")


class RequestNotFoundError(RequestError):
    """The caller has no request of that id running."""

    def __init__(self, request_id: str) -> None:
        super().__init__(
            f"no request {request_id[:128]!r} of yours is running",
            param="request_id",
            code="request_not_found",
        )


class BodyTooLargeError(RequestError):
    """The body is larger than the limit, by its header or by count while it came in."""

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"the request body is larger than the limit of {limit} bytes", code="body_too_large"
        )


class NotReadyError(RequestError):
    """The service is loading, draining or stopped."""

    def __init__(self, phase: str) -> None:
        super().__init__(f"the service is {phase} and takes no requests", code=f"service_{phase}")


class OverloadedError(RequestError):
    """Too much waits already, before the engine's own queue; later there may be room.

    `reason` is the label of the metric that counts it.
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
    """The client stopped sending in the middle of a request's body."""

    def __init__(self, silence_s: float) -> None:
        super().__init__(
            f"nothing of the request body came for {silence_s:g} s", code="body_timeout"
        )


class StoredFileNotFoundError(RequestError):
    """No file of that id is stored for the caller's key, or it has expired."""

    def __init__(self, file_id: str, param: str = "file_id") -> None:
        super().__init__(
            f"there is no file {file_id[:80]!r}, or it has expired",
            param=param,
            code="file_not_found",
        )


class FileTooLargeError(RequestError):
    """An uploaded file is larger than the limit."""

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"the file is larger than the limit of {limit} bytes",
            param="file",
            code="file_too_large",
        )


class FileQuotaError(RequestError):
    """The caller's key has as many files, or bytes in them, as it may have."""

    def __init__(self, message: str) -> None:
        super().__init__(message, param="file", code="file_quota_exceeded")


class StorageFullError(RequestError):
    """The disk, or the share of it that uploaded files may take, is full."""

    def __init__(self, message: str) -> None:
        super().__init__(message, code="storage_full")


class StorageUnavailableError(RequestError):
    """The directory of uploaded files cannot be read or written."""

    def __init__(self, message: str) -> None:
        super().__init__(message, code="storage_unavailable")


class BatchNotFoundError(RequestError):
    """The caller's key has no batch of that id."""

    def __init__(self, batch_id: str) -> None:
        super().__init__(
            f"there is no batch {batch_id[:80]!r}", param="batch_id", code="batch_not_found"
        )


class BatchesUnavailableError(RequestError):
    """The database of batches cannot be used now."""

    def __init__(self, message: str) -> None:
        super().__init__(message, code="batches_unavailable")


class MediaUnreachableError(MediaError):
    """A remote medium could not be fetched: no answer, the wrong one, or too slow."""


class ClientDisconnectedError(Exception):
    """The client went away before its answer was there; nobody is left to tell."""
