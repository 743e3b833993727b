"""Lines of batches in the database: stored, taken, answered once, and read in order at the end.

Blocks; call it in a thread. An answer and its count are one transaction, and only an unanswered
line accepts one: whatever is killed at any time, no counted answer is lost and none occurs twice.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import sqlalchemy as sa

from service.batches.batch import (
    BatchStatus,
    InputLine,
    LineEnding,
    LineResult,
    LineStatus,
    TakenLine,
)
from service.batches.database import Database
from service.batches.tables import batches as _b
from service.batches.tables import lines as _l

_PAGE = 16  # an output may hold a picture
_ANSWERING = (BatchStatus.IN_PROGRESS.value, BatchStatus.CANCELLING.value)


class _TooLate(Exception):
    """Rolls back: the line has an answer, or the batch is closed or another worker's."""


class LineStore:
    """All lines of one database, as seen by one worker."""

    def __init__(self, database: Database, worker: str) -> None:
        """`worker` is the same as `BatchStore`'s: lines of other workers' batches are not
        changed.
        """
        self._database, self._worker = database, worker

    def clear(self, number: int) -> bool:
        """Removes lines that an earlier attempt to load the input has stored.

        False, and nothing is removed, if the batch is another worker's or no longer validating.
        """
        with self._database.writing() as connection:
            if not self._read_into(connection, number, total=sa.literal(0)):
                return False
            connection.execute(sa.delete(_l).where(_l.c.batch == number))
        return True

    def add(self, number: int, lines: Sequence[InputLine]) -> bool:
        """Stores and counts more lines of a batch's input; False as in `clear`."""
        rows = [
            {
                "batch": number,
                "line": line.line,
                "custom_id": line.custom_id,
                "body": line.body,
                "status": LineStatus.PENDING.value,
                "attempts": 0,
            }
            for line in lines
        ]
        with self._database.writing() as connection:
            if not self._read_into(connection, number, total=_b.c.total + len(rows)):
                return False
            connection.execute(sa.insert(_l), rows)
        return True

    def count_unfinished(self, owner: str, but: int) -> int:
        """The number of lines in an owner's unfinished batches, one batch excluded."""
        unfinished = (*_ANSWERING, BatchStatus.VALIDATING.value)
        query = sa.select(sa.func.coalesce(sa.func.sum(_b.c.total), 0)).where(
            _b.c.owner == owner, _b.c.number != but, _b.c.status.in_(unfinished)
        )
        with self._database.reading() as connection:
            return int(connection.execute(query).scalar_one())

    def take(self, number: int, after: int, running: Collection[int]) -> TakenLine | None:
        """The first unanswered line behind `after` that is not running; None if there is none.

        The attempt is recorded first, to identify a line that kills the process.
        """
        query = (
            sa.select(_l.c.line, _l.c.custom_id, _l.c.body, _l.c.attempts)
            .where(_l.c.batch == number, _l.c.status == LineStatus.PENDING.value)
            .where(_l.c.line > after, _l.c.line.not_in(list(running)))
            .order_by(_l.c.line)
            .limit(1)
        )
        with self._database.reading() as connection:
            row = connection.execute(query).one_or_none()
        if row is None:
            return None
        self._count_attempt(number, row.line, 1)
        return TakenLine(row.line, row.custom_id, row.body, row.attempts)

    def put_back(self, number: int, line: int) -> None:
        """Puts back a line that failed through no fault of its own: the attempt does not count."""
        self._count_attempt(number, line, -1)

    def answer(self, number: int, line: int, result: LineResult) -> bool:
        """Commits a line's result. False if it has one, or if the batch has ended or is another
        worker's.
        """
        try:
            self._commit(number, line, result)
        except _TooLate:
            return False
        return True

    def endings(self, number: int, good: bool) -> Iterator[LineEnding]:
        """The ending of each answered line, or of each other one, in order. Blocks at every
        page.
        """
        status = _l.c.status
        chosen = status == LineStatus.COMPLETED.value
        query = (
            sa.select(_l.c.line, _l.c.custom_id, status, _l.c.output)
            .where(_l.c.batch == number, chosen if good else sa.not_(chosen))
            .order_by(_l.c.line)
            .limit(_PAGE)
        )
        last = 0
        while True:
            with self._database.reading() as connection:
                page = connection.execute(query.where(_l.c.line > last)).all()
            for row in page:
                yield LineEnding(row.line, row.custom_id, LineStatus(row.status), row.output)
            if len(page) < _PAGE:
                return
            last = page[-1].line

    def _read_into(
        self, connection: sa.Connection, number: int, total: sa.ColumnElement[int]
    ) -> bool:
        # A stalled worker must not overwrite results after another took its batch over.
        changed = connection.execute(
            sa.update(_b)
            .where(_b.c.number == number, _b.c.worker == self._worker)
            .where(_b.c.status == BatchStatus.VALIDATING.value)
            .values(total=total)
        ).rowcount
        return bool(changed)

    def _commit(self, number: int, line: int, result: LineResult) -> None:
        good, tokens = result.status is LineStatus.COMPLETED, result.tokens
        with self._database.writing() as connection:
            # The batch's row first: whoever closes it waits for this, or this finds it closed.
            counted = connection.execute(
                sa.update(_b)
                .where(_b.c.number == number, _b.c.worker == self._worker)
                .where(_b.c.status.in_(_ANSWERING), _b.c.outcome.is_(None))
                .values(
                    completed=_b.c.completed + int(good),
                    failed=_b.c.failed + int(not good),
                    input_tokens=_b.c.input_tokens + tokens.input,
                    cached_tokens=_b.c.cached_tokens + tokens.cached,
                    output_tokens=_b.c.output_tokens + tokens.output,
                )
            ).rowcount
            answered = connection.execute(
                sa.update(_l)
                .where(_l.c.batch == number, _l.c.line == line)
                .where(_l.c.status == LineStatus.PENDING.value)
                .values(status=result.status.value, output=result.output, body=None)
            ).rowcount
            if not (counted and answered):
                raise _TooLate

    def _count_attempt(self, number: int, line: int, change: int) -> None:
        with self._database.writing() as connection:
            connection.execute(
                sa.update(_l)
                .where(_l.c.batch == number, _l.c.line == line)
                .where(_l.c.status == LineStatus.PENDING.value)
                .values(attempts=_l.c.attempts + change)
            )
