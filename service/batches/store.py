"""Batches in the database: created, found, listed, claimed by a worker, and finished.

Blocks; call it in a thread. Every change names the states that it starts from, so that of two
concurrent changes (a cancel and an end) only one takes effect.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from dataclasses import asdict

import sqlalchemy as sa

from service.batches.batch import Batch, BatchStatus, LineProblem, LineStatus, NewBatch
from service.batches.database import Database
from service.batches.rows import owned_batch, read_batch, unfinished
from service.batches.tables import batches as _b
from service.batches.tables import lines as _l
from service.exceptions import BatchNotFoundError, RateLimitedError, RequestError

_RETRY_S = 60
_STATUS_OF = {
    BatchStatus.COMPLETED: _b.c.completed_at,
    BatchStatus.EXPIRED: _b.c.expired_at,
    BatchStatus.CANCELLED: _b.c.cancelled_at,
}


class BatchStore:
    """All batches of one database, as seen by one worker."""

    def __init__(self, database: Database, worker: str, lease_s: float) -> None:
        """
        Args:
            database: where batches are stored.
            worker: identifies this process among those that share the database.
            lease_s: seconds until a silent worker loses its batches.
        """
        self._database, self._worker, self._lease_s = database, worker, lease_s

    def create(self, asked: NewBatch, max_unfinished: int) -> Batch:
        """Stores a new batch, to be validated.

        Raises:
            RateLimitedError: the owner has reached its limit of unfinished batches.
        """
        batch_id = f"batch_{uuid.uuid4().hex}"
        values = asdict(asked)
        values["metadata"] = None if asked.metadata is None else json.dumps(asked.metadata)
        with self._database.writing() as connection:
            made = connection.execute(
                sa.insert(_b).values(id=batch_id, status=BatchStatus.VALIDATING.value, **values)
            )
            count = connection.execute(
                sa.select(sa.func.count()).where(_b.c.owner == asked.owner, unfinished())
            ).scalar_one()
            if count > max_unfinished:
                raise RateLimitedError(
                    f"{count - 1} batches are unfinished; the limit is {max_unfinished}",
                    retry_after_s=_RETRY_S,
                    reason="key_batches",
                )
            number = made.inserted_primary_key[0] if made.inserted_primary_key else 0
        return Batch(number, batch_id, BatchStatus.VALIDATING, asked)

    def get(self, owner: str, batch_id: str) -> Batch:
        """As `owned_batch`."""
        with self._database.reading() as connection:
            return owned_batch(connection, owner, batch_id)

    def list_batches(self, owner: str, after: str | None, limit: int) -> list[Batch]:
        """The owner's batches behind `after`, newest first; at most `limit`.

        Raises:
            RequestError: `after` is not one of them.
        """
        query = sa.select(_b).where(_b.c.owner == owner).order_by(_b.c.number.desc()).limit(limit)
        with self._database.reading() as connection:
            if after is not None:
                try:
                    last = owned_batch(connection, owner, after)
                except BatchNotFoundError:
                    raise RequestError(
                        f"after is {after[:80]!r}; no batch has that id", param="after"
                    ) from None
                query = query.where(_b.c.number < last.number)
            return [read_batch(row) for row in connection.execute(query)]

    def request_cancel(self, owner: str, batch_id: str, now: int) -> Batch:
        """Marks a batch to be cancelled; one that is being cancelled, or was, stays as it is.

        Raises:
            BatchNotFoundError: as `get`.
            RequestError: it has ended otherwise, or is about to.
        """
        open_states = (BatchStatus.VALIDATING, BatchStatus.IN_PROGRESS)
        with self._database.writing() as connection:
            found = owned_batch(connection, owner, batch_id)
            connection.execute(
                sa.update(_b)
                .where(_b.c.number == found.number, _b.c.status.in_(open_states))
                .values(status=BatchStatus.CANCELLING.value, cancelling_at=now)
            )
            batch = owned_batch(connection, owner, batch_id)
        if batch.status not in (BatchStatus.CANCELLING, BatchStatus.CANCELLED):
            raise RequestError(
                f"the batch is {batch.status.value} and can no longer be cancelled",
                param="batch_id",
                code="batch_not_cancellable",
            )
        return batch

    def free_all(self) -> None:
        """Releases every batch, whoever claimed it; for a database that no other process uses."""
        with self._database.writing() as connection:
            connection.execute(sa.update(_b).where(unfinished()).values(leased_until=None))

    def claim(self, more: int) -> list[Batch]:
        """This worker's unfinished batches, oldest first, with their leases renewed.

        Also claims up to `more` unclaimed ones. A batch whose lease has expired is unclaimed.
        """
        clock = self._database.clock
        until, half = clock + self._lease_s, clock + self._lease_s / 2
        nobodys = sa.or_(_b.c.leased_until.is_(None), _b.c.leased_until < clock)
        with self._database.writing() as connection:
            connection.execute(
                sa.update(_b)
                .where(self._own(), unfinished(), _b.c.leased_until < half)
                .values(leased_until=until)
            )
            found = sa.select(_b.c.number).where(nobodys, unfinished()).order_by(_b.c.number)
            connection.execute(
                sa.update(_b)
                .where(_b.c.number.in_(found.limit(more)))
                # Checked again: another worker may have claimed them in between.
                .where(nobodys, unfinished())
                .values(worker=self._worker, leased_until=until)
            )
            rows = connection.execute(
                sa.select(_b).where(self._own(), unfinished()).order_by(_b.c.number)
            ).all()
        return [read_batch(row) for row in rows]

    def release_all(self) -> None:
        """Releases all batches for the next worker."""
        with self._database.writing() as connection:
            connection.execute(
                sa.update(_b).where(self._own(), unfinished()).values(leased_until=None)
            )

    def begin_progress(self, number: int, now: int) -> bool:
        """Starts a batch whose lines are valid and stored. False if it was cancelled."""
        values: dict[str, object] = {"status": BatchStatus.IN_PROGRESS.value, "in_progress_at": now}
        return self._change(number, (BatchStatus.VALIDATING,), values)

    def fail(self, number: int, problems: Sequence[LineProblem], now: int) -> bool:
        """Fails a batch whose input is invalid; only the problems are kept."""
        told = json.dumps([asdict(problem) for problem in problems])
        values = {"status": BatchStatus.FAILED.value, "failed_at": now, "problems": told}
        return self._change(number, (BatchStatus.VALIDATING,), values, forget_lines=True)

    def close(self, number: int, outcome: BatchStatus, now: int) -> bool:
        """Closes a batch none of whose lines runs any more; unanswered lines get no answer.

        Args:
            number: the batch's.
            outcome: completed, expired or cancelled.
            now: seconds since 1970.
        """
        unanswered = {
            BatchStatus.EXPIRED: LineStatus.EXPIRED, BatchStatus.CANCELLED: LineStatus.CANCELLED,
        }  # fmt: skip
        cancelled = outcome is BatchStatus.CANCELLED
        before = BatchStatus.CANCELLING if cancelled else BatchStatus.IN_PROGRESS
        # A cancelled batch stays `cancelling` while it is finalised, as OpenAI's API has it.
        status = before if cancelled else BatchStatus.FINALIZING
        with self._database.writing() as connection:
            closed = connection.execute(
                sa.update(_b)
                .where(_b.c.number == number, _b.c.status == before, _b.c.outcome.is_(None))
                .where(self._own())
                .values(status=status.value, outcome=outcome.value, finalizing_at=now)
            ).rowcount
            if not closed or outcome not in unanswered:
                return bool(closed)
            left = connection.execute(
                sa.update(_l)
                .where(_l.c.batch == number, _l.c.status == LineStatus.PENDING.value)
                .values(status=unanswered[outcome].value, body=None)
            ).rowcount
            connection.execute(
                sa.update(_b).where(_b.c.number == number).values(failed=_b.c.failed + left)
            )
        return True

    def finish(
        self, batch: Batch, output_file_id: str | None, error_file_id: str | None, now: int
    ) -> bool:
        """Gives a batch with stored files its outcome, and deletes its lines."""
        if batch.outcome is None:
            raise ValueError(f"batch {batch.id} has no outcome yet")
        values: dict[str, object] = {
            "status": batch.outcome.value,
            _STATUS_OF[batch.outcome].name: now,
            "output_file_id": output_file_id,
            "error_file_id": error_file_id,
        }
        before = (BatchStatus.FINALIZING, BatchStatus.CANCELLING)
        return self._change(batch.number, before, values, forget_lines=True)

    def forget_ended(self, before: int) -> None:
        """Deletes batches that ended before that time (seconds since 1970)."""
        ended_at = sa.func.coalesce(_b.c.failed_at, *_STATUS_OF.values())
        with self._database.writing() as connection:
            connection.execute(sa.delete(_b).where(ended_at < before, sa.not_(unfinished())))

    def _change(
        self,
        number: int,
        before: Sequence[BatchStatus],
        values: dict[str, object],
        forget_lines: bool = False,
    ) -> bool:
        """Changes this worker's batch if its state is in `before`; returns whether it was."""
        with self._database.writing() as connection:
            changed = connection.execute(
                sa.update(_b)
                .where(_b.c.number == number, _b.c.status.in_(before), self._own())
                .values(**values)
            ).rowcount
            if changed and forget_lines:
                connection.execute(sa.delete(_l).where(_l.c.batch == number))
        return bool(changed)

    def _own(self) -> sa.ColumnElement[bool]:
        return _b.c.worker == self._worker
