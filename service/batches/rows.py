"""Rows of the batch table, as records."""

from __future__ import annotations

import json
import re

import sqlalchemy as sa

from service.batches.batch import UNFINISHED, Batch, BatchStatus, LineProblem, NewBatch, Tokens
from service.batches.tables import batches as _b
from service.exceptions import BatchNotFoundError

_ID = re.compile(r"batch_[0-9a-f]{32}")


def unfinished() -> sa.ColumnElement[bool]:
    """Whether a row's batch has not ended."""
    return _b.c.status.in_([status.value for status in UNFINISHED])


def owned_batch(connection: sa.Connection, owner: str, batch_id: str) -> Batch:
    """The owner's batch with that id.

    Raises:
        BatchNotFoundError: there is none, or it is another owner's.
    """
    if not _ID.fullmatch(batch_id):
        raise BatchNotFoundError(batch_id)  # PostgreSQL cannot even be asked for some texts
    row = connection.execute(
        sa.select(_b).where(_b.c.owner == owner, _b.c.id == batch_id)
    ).one_or_none()
    if row is None:
        raise BatchNotFoundError(batch_id)
    return read_batch(row)


def read_batch(row: sa.Row[tuple[object, ...]]) -> Batch:
    """The record of a row of `tables.batches`."""
    values = dict(row._mapping)
    asked = {name: values.pop(name) for name in NewBatch.__dataclass_fields__}
    asked["metadata"] = json.loads(asked["metadata"]) if asked["metadata"] else None
    problems = json.loads(values.pop("problems") or "[]")
    tokens = Tokens(*(values.pop(f"{kind}_tokens") for kind in ("input", "cached", "output")))
    status, outcome = values.pop("status"), values.pop("outcome")
    for unread in ("worker", "leased_until"):
        del values[unread]
    return Batch(
        status=BatchStatus(status),
        outcome=None if outcome is None else BatchStatus(outcome),
        asked=NewBatch(**asked),
        problems=tuple(LineProblem(**problem) for problem in problems),
        tokens=tokens,
        **values,
    )
