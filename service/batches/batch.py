"""The records of a batch and its lines.

A batch goes validating -> in_progress -> finalizing -> its outcome, in OpenAI's terms.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class BatchStatus(StrEnum):
    """States of a batch."""

    VALIDATING = "validating"
    FAILED = "failed"
    IN_PROGRESS = "in_progress"
    FINALIZING = "finalizing"
    COMPLETED = "completed"
    EXPIRED = "expired"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"


# States in which a worker still has work to do.
UNFINISHED = (
    BatchStatus.VALIDATING,
    BatchStatus.IN_PROGRESS,
    BatchStatus.FINALIZING,
    BatchStatus.CANCELLING,
)


class LineStatus(StrEnum):
    """States of a line; it is `pending` until its answer is committed."""

    PENDING = "pending"
    COMPLETED = "completed"
    FAILED = "failed"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """Limits per key, and retention times."""

    max_lines: int
    max_line_bytes: int
    max_unfinished: int
    max_unfinished_lines: int
    max_window_s: float
    retention_s: float


@dataclass(frozen=True, slots=True)
class LineProblem:
    """Why an input file is refused; `line` counts from 1, None for the whole file."""

    code: str
    message: str
    line: int | None = None
    param: str | None = None


@dataclass(frozen=True, slots=True)
class Tokens:
    """Sums of tokens over answered lines."""

    input: int = 0
    cached: int = 0
    output: int = 0


@dataclass(frozen=True, slots=True)
class NewBatch:
    """A client's request for a batch. Times are seconds since 1970; `output_expiry_s` counts from
    the batch's end.

    `owner` is the owner of the files that it reads and writes (`dependencies.owner_of`).
    """

    owner: str
    endpoint: str
    input_file_id: str
    completion_window: str
    metadata: dict[str, str] | None
    created_at: int
    expires_at: int
    output_expiry_s: int | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch as stored in the database. `number` orders batches by creation."""

    number: int
    id: str
    status: BatchStatus
    asked: NewBatch
    total: int = 0
    completed: int = 0
    failed: int = 0
    tokens: Tokens = field(default_factory=Tokens)
    outcome: BatchStatus | None = None
    problems: tuple[LineProblem, ...] = ()
    output_file_id: str | None = None
    error_file_id: str | None = None
    in_progress_at: int | None = None
    finalizing_at: int | None = None
    completed_at: int | None = None
    failed_at: int | None = None
    expired_at: int | None = None
    cancelling_at: int | None = None
    cancelled_at: int | None = None


@dataclass(frozen=True, slots=True)
class InputLine:
    """A valid line of an input file; `body` is the request as JSON text."""

    line: int
    custom_id: str
    body: str


@dataclass(frozen=True, slots=True)
class TakenLine:
    """A line to run now; `attempts` of it ended with the process or the engine."""

    line: int
    custom_id: str
    body: str
    attempts: int


@dataclass(frozen=True, slots=True)
class LineResult:
    """A line's outcome: status, line of the output or error file, and tokens."""

    status: LineStatus
    output: str
    tokens: Tokens = field(default_factory=Tokens)


@dataclass(frozen=True, slots=True)
class LineEnding:
    """A line of a closed batch; `output` is None if it was never answered."""

    line: int
    custom_id: str
    status: LineStatus
    output: str | None
