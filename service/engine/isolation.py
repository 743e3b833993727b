"""Work done for several requests at once, of which only the guilty one may fail. Torch-free.

Called by the model runner with a step's chunks and by the media encoder with a batch of media.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from collections.abc import Sequence as Seq
from typing import TypeVar

_log = logging.getLogger(__name__)

T = TypeVar("T")


def run_isolated(
    items: Seq[T], run: Callable[[Seq[T]], None], recover: Callable[[], None]
) -> list[tuple[T, Exception]]:
    """Runs items together; what fails is run again in halves, down to those that fail alone.

    Parts keep the order of the items. A batch that is too large for the memory that is left
    passes in halves, and nobody fails.

    Args:
        run: does a part's work; after it raised, doing the same again must do no harm.
        recover: called after each failure, before the next try. What it raises ends everything:
            then it is not the items' fault.

    Returns:
        The items that failed alone, with their errors, which no longer hold a traceback.
    """
    failed: list[tuple[T, Exception]] = []
    pending: list[Seq[T]] = [items] if items else []
    while pending:
        part = pending.pop()
        error = _attempt(run, part)
        if error is None:
            continue
        recover()
        if len(part) == 1:
            failed.append((part[0], error))
            continue
        middle = len(part) // 2
        pending += [part[middle:], part[:middle]]
    return failed


def _attempt(run: Callable[[Seq[T]], None], part: Seq[T]) -> Exception | None:
    try:
        run(part)
    except Exception as error:
        if len(part) == 1:
            _log.exception("the work of one request failed")
        else:
            _log.warning("%d together failed and are tried in parts: %r", len(part), error)
        _forget_frames(error)
        return error
    return None


def _forget_frames(error: BaseException) -> None:
    """Frees the failed try's tensors, which its frames hold: what ran out may be memory."""
    seen: BaseException | None = error
    while seen is not None:
        seen.__traceback__ = None
        seen = seen.__cause__ or seen.__context__
