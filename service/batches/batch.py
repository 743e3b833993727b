"""What is known of a batch and of its lines: the values that the other files here pass around.

A batch goes validating -> in_progress -> finalizing -> its outcome; OpenAI's words for each.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class BatchStatus(StrEnum):
    """Where a batch stands."""

    VALIDATING = "validating"
    FAILED = "failed"
    IN_PROGRESS = "in_progress"
    FINALIZING = "finalizing"
    COMPLETED = "completed"
    EXPIRED = "expired"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"


# What a worker still has to do something about.
UNFINISHED = (
    BatchStatus.VALIDATING,
    BatchStatus.IN_PROGRESS,
    BatchStatus.FINALIZING,
    BatchStatus.CANCELLING,
)


class LineStatus(StrEnum):
    """Where a line stands; a line is `pending` until its answer is committed."""

    PENDING = "pending"
    COMPLETED = "completed"
    FAILED = "failed"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """What one key may ask for, and how long things are kept."""

    max_lines: int
    max_line_bytes: int
    max_unfinished: int
    max_unfinished_lines: int
    max_window_s: float
    retention_s: float


@dataclass(frozen=True, slots=True)
class LineProblem:
    """Why an input file is refused; `line` counts from 1, None where it is the whole file's."""

    code: str
    message: str
    line: int | None = None
    param: str | None = None


@dataclass(frozen=True, slots=True)
class Tokens:
    """Tokens of answered lines together."""

    input: int = 0
    cached: int = 0
    output: int = 0


@dataclass(frozen=True, slots=True)
class NewBatch:
    """What a client asks for; times in seconds since 1970, `output_expiry_s` from the batch's end.

    `owner` is whose files it reads and writes (`dependencies.owner_of`).
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
    """A batch as the database has it. `number` orders batches by creation."""

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
    """A sound line of an input file; `body` is the request as JSON text."""

    line: int
    custom_id: str
    body: str


@dataclass(frozen=True, slots=True)
class TakenLine:
    """A line to be answered now; `attempts` of it ended with the process or with the engine."""

    line: int
    custom_id: str
    body: str
    attempts: int


@dataclass(frozen=True, slots=True)
class LineResult:
    """What a line came to: its status, its line of the output or error file, and its tokens."""

    status: LineStatus
    output: str
    tokens: Tokens = field(default_factory=Tokens)


@dataclass(frozen=True, slots=True)
class LineEnding:
    """A line of a closed batch; `output` is None where it was never answered."""

    line: int
    custom_id: str
    status: LineStatus
    output: str | None
