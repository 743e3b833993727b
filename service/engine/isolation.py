"""Runs work for several requests at once such that only the faulty ones fail. Torch-free."""

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
    """Runs items together; a failing part is run again in halves, down to items that fail alone.

    Parts keep the order of the items. A batch that is too large for the free memory succeeds in
    halves.

    Args:
        run: does a part's work; repeating it after an exception must be harmless.
        recover: called after each failure, before the next attempt. If it raises, all work ends:
            the items are not at fault then.

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
            _log.warning(
                "%d requests failed together and are retried in parts: %r", len(part), error
            )
        _forget_frames(error)
        return error
    return None


def _forget_frames(error: BaseException) -> None:
    """Frees the tensors in the frames of the failed attempt: it may have run out of memory."""
    seen: BaseException | None = error
    while seen is not None:
        seen.__traceback__ = None
        seen = seen.__cause__ or seen.__context__
