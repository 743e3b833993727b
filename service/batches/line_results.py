"""What a line comes to: the line of an output or error file, in OpenAI's shape.

Called by `feeder` for answers and by `output_files` for lines that never had one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic_core import from_json

from service.batches.batch import Batch, LineEnding, LineResult, LineStatus, TakenLine, Tokens
from service.batches.line_runner import LineAnswer

_UNANSWERED = {
    LineStatus.EXPIRED: ("batch_expired", "the batch's completion window ended before this line"),
    LineStatus.CANCELLED: ("batch_cancelled", "the batch was cancelled before this line"),
}


def line_id(batch: Batch, line: int) -> str:
    """Names a line's request, in the log too."""
    return f"batch_req_{batch.id.removeprefix('batch_')}_{line}"


def result_of(batch: Batch, line: TakenLine, answer: LineAnswer) -> LineResult:
    """A line that was answered, be it with an error."""
    good = answer.status == 200
    body = answer.body.decode("utf8")
    # Letters that JSON lets stand as they are, and many readers of lines take for their ends.
    for letter in "\x85\u2028\u2029":
        body = body.replace(letter, f"\\u{ord(letter):04x}")
    told = json.dumps(
        {"status_code": answer.status, "request_id": line_id(batch, line.line), "body": None}
    )
    # The answer as it was given: a picture in it need not be read and written again.
    response = f"{told.removesuffix('null}')}{body}}}"
    return LineResult(
        LineStatus.COMPLETED if good else LineStatus.FAILED,
        _written(batch, line.line, line.custom_id, response, "null"),
        _tokens(answer.body) if good else Tokens(),
    )


def given_up(batch: Batch, line: TakenLine) -> LineResult:
    """A line that is not tried again: the service ended too often while it was being answered."""
    error = {
        "code": "too_many_attempts",
        "message": f"the service ended {line.attempts} times while it answered this line",
    }
    output = _written(batch, line.line, line.custom_id, "null", json.dumps(error))
    return LineResult(LineStatus.FAILED, output)


def never_fits(batch: Batch, line: TakenLine, refusal: LineAnswer) -> LineResult:
    """A line that is not tried again: it was refused for want of room when nothing else ran."""
    error = {
        "code": "no_room",
        "message": f"there was no room for this line by itself: {refusal.error_message}",
    }
    output = _written(batch, line.line, line.custom_id, "null", json.dumps(error))
    return LineResult(LineStatus.FAILED, output)


def unanswered(batch: Batch, ending: LineEnding) -> str:
    """The error of a line that never had an answer."""
    code, message = _UNANSWERED[ending.status]
    error = json.dumps({"code": code, "message": message})
    return _written(batch, ending.line, ending.custom_id, "null", error)


def _written(batch: Batch, line: int, custom_id: str, response: str, error: str) -> str:
    head = json.dumps({"id": line_id(batch, line), "custom_id": custom_id}).removesuffix("}")
    return f'{head}, "response": {response}, "error": {error}}}'


def _tokens(body: bytes) -> Tokens:
    """Of the answer's `usage`; every route here has one."""
    usage: Mapping[str, Any] = from_json(body).get("usage") or {}
    details: Mapping[str, Any] = usage.get("prompt_tokens_details") or {}
    return Tokens(
        int(usage.get("prompt_tokens") or 0),
        int(details.get("cached_tokens") or 0),
        int(usage.get("completion_tokens") or 0),
    )
