"""Lines of output and error files, in OpenAI's format."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic_core import from_json

from service.batches.batch import Batch, LineEnding, LineResult, LineStatus, TakenLine, Tokens
from service.batches.line_runner import LineAnswer

_UNANSWERED = {
    LineStatus.EXPIRED: ("batch_expired", "the batch expired before this line was run"),
    LineStatus.CANCELLED: ("batch_cancelled", "the batch was cancelled before this line was run"),
}


def line_id(batch: Batch, line: int) -> str:
    """The id of a line's request, also used in the log."""
    return f"batch_req_{batch.id.removeprefix('batch_')}_{line}"


def result_of(batch: Batch, line: TakenLine, answer: LineAnswer) -> LineResult:
    """The result of a line that was answered, possibly with an error."""
    good = answer.status == 200
    body = answer.body.decode("utf8")
    # JSON allows these characters unescaped, but many line readers take them for line ends.
    for letter in "\x85\u2028\u2029":
        body = body.replace(letter, f"\\u{ord(letter):04x}")
    told = json.dumps(
        {"status_code": answer.status, "request_id": line_id(batch, line.line), "body": None}
    )
    # The answer's own bytes: a picture in it need not be parsed and written again.
    response = f"{told.removesuffix('null}')}{body}}}"
    return LineResult(
        LineStatus.COMPLETED if good else LineStatus.FAILED,
        _written(batch, line.line, line.custom_id, response, "null"),
        _tokens(answer.body) if good else Tokens(),
    )


def given_up(batch: Batch, line: TakenLine) -> LineResult:
    """The result of a line that is not retried: the service ended too often while it ran."""
    error = {
        "code": "too_many_attempts",
        "message": f"the service ended {line.attempts} times while this line ran",
    }
    output = _written(batch, line.line, line.custom_id, "null", json.dumps(error))
    return LineResult(LineStatus.FAILED, output)


def never_fits(batch: Batch, line: TakenLine, refusal: LineAnswer) -> LineResult:
    """The result of a line that is not retried: it found no room while nothing else ran."""
    error = {
        "code": "no_room",
        "message": f"the line was refused although nothing else ran: {refusal.error_message}",
    }
    output = _written(batch, line.line, line.custom_id, "null", json.dumps(error))
    return LineResult(LineStatus.FAILED, output)


def unanswered(batch: Batch, ending: LineEnding) -> str:
    """The error of a line that was never answered."""
    code, message = _UNANSWERED[ending.status]
    error = json.dumps({"code": code, "message": message})
    return _written(batch, ending.line, ending.custom_id, "null", error)


def _written(batch: Batch, line: int, custom_id: str, response: str, error: str) -> str:
    head = json.dumps({"id": line_id(batch, line), "custom_id": custom_id}).removesuffix("}")
    return f'{head}, "response": {response}, "error": {error}}}'


def _tokens(body: bytes) -> Tokens:
    """From the answer's `usage`, which every route has."""
    usage: Mapping[str, Any] = from_json(body).get("usage") or {}
    # The Responses API has other names.
    names = ("input", "output") if "input_tokens" in usage else ("prompt", "completion")
    details: Mapping[str, Any] = usage.get(f"{names[0]}_tokens_details") or {}
    return Tokens(
        int(usage.get(f"{names[0]}_tokens") or 0),
        int(details.get("cached_tokens") or 0),
        int(usage.get(f"{names[1]}_tokens") or 0),
    )
