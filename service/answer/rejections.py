"""Counts what is refused before it runs, by its reason. Called by `endpoints`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

from service.engine.base import EngineStoppedError, QueueFullError
from service.exceptions import (
    ContextLengthError,
    NotReadyError,
    OverloadedError,
    RateLimitedError,
)
from service.metrics import Metrics

_REJECTIONS: Mapping[type[Exception], str] = {
    QueueFullError: "queue_full",
    EngineStoppedError: "engine_stopped",
    NotReadyError: "not_ready",
    ContextLengthError: "context_length_exceeded",
}


@contextlib.contextmanager
def counted_rejections(metrics: Metrics) -> Iterator[None]:
    """Counts what is refused within it, by its reason."""
    try:
        yield
    except (OverloadedError, RateLimitedError) as error:
        metrics.rejected(error.reason)
        raise
    except Exception as error:
        if type(error) in _REJECTIONS:
            metrics.rejected(_REJECTIONS[type(error)])
        raise
