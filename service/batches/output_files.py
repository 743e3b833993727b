"""Writes the output and error files of a closed batch.

The same lines give the same bytes, and so the same file id: an interrupted write is repeated.
"""

from __future__ import annotations

from collections.abc import Iterator

from service.batches.batch import Batch
from service.batches.database import Database
from service.batches.line_results import unanswered
from service.batches.line_store import LineStore
from service.files.store import FileStore, Purpose

_WRITTEN_AT_ONCE = 1 << 20


async def store_output(
    files: FileStore, database: Database, lines: LineStore, batch: Batch, good: bool
) -> str | None:
    """The id of the stored file of all answers, or of all errors; None if there are none.

    Raises:
        StorageFullError, StorageUnavailableError: the file cannot be stored now.
        BatchesUnavailableError: the database failed.
    """
    pieces = _pieces(batch, lines, good)
    expiry_s = batch.asked.output_expiry_s
    async with files.receive(batch.asked.owner, any_size=True) as upload:
        while piece := await database.run(_next, pieces):
            await upload.write(piece)
        if upload.size == 0:
            return None
        name = f"{batch.id}_{'output' if good else 'error'}.jsonl"
        stored = await upload.commit(
            name, Purpose.BATCH_OUTPUT, float("inf") if expiry_s is None else expiry_s
        )
    return stored.id


def _pieces(batch: Batch, lines: LineStore, good: bool) -> Iterator[bytes]:
    piece = bytearray()
    for ending in lines.endings(batch.number, good):
        output = unanswered(batch, ending) if ending.output is None else ending.output
        piece += f"{output}\n".encode()
        if len(piece) >= _WRITTEN_AT_ONCE:
            yield bytes(piece)
            piece.clear()
    if piece:
        yield bytes(piece)


def _next(pieces: Iterator[bytes]) -> bytes:
    return next(pieces, b"")
