"""What can be wrong with a request, raised where the fact is known; `service.errors` translates.

Messages are our own words with the offending value and the limit: they reach the client unchanged.
"""

from __future__ import annotations

from lamm_model.media_errors import MediaError


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


class MediaRefusedError(RequestError):
    """One medium of the request was refused; `reason` says why, `param` which one."""

    def __init__(self, reason: MediaError, *, param: str) -> None:
        super().__init__(str(reason), param=param)
        self.reason = reason


class AuthenticationError(RequestError):
    """No API key, or not one of the operator's."""

    def __init__(self, message: str) -> None:
        super().__init__(message, code="invalid_api_key")


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


class BodyTimeoutError(RequestError):
    """The client stopped sending in the middle of a request's body."""

    def __init__(self, silence_s: float) -> None:
        super().__init__(
            f"nothing of the request body came for {silence_s:g} s", code="body_timeout"
        )


class ClientDisconnectedError(Exception):
    """The client went away before its answer was there; nobody is left to tell."""
