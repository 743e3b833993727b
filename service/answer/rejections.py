"""Counts refused requests by reason."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

from service.engine.base import EngineStoppedError, QueueFullError
from service.exceptions import ContextLengthError, NotReadyError, OverloadedError, RateLimitedError
from service.metrics import Metrics

_REJECTIONS: Mapping[type[Exception], str] = {
    QueueFullError: "queue_full",
    EngineStoppedError: "engine_stopped",
    NotReadyError: "not_ready",
    ContextLengthError: "context_length_exceeded",
}


@contextlib.contextmanager
def counted_rejections(metrics: Metrics) -> Iterator[None]:
    """Counts a refusal that is raised within the context."""
    try:
        yield
    except (OverloadedError, RateLimitedError) as error:
        metrics.rejected(error.reason)
        raise
    except Exception as error:
        if type(error) in _REJECTIONS:
            metrics.rejected(_REJECTIONS[type(error)])
        raise
