"""Reads a batch's input file line by line, and reports what is wrong with each.

Blocks; call it in a thread. Memory: one line, and sixteen bytes per previous line. Format: OpenAI's
batch input, JSON Lines with `custom_id`, `method`, `url` and `body`.
"""

from __future__ import annotations

import hashlib
import json
from codecs import BOM_UTF8
from collections.abc import Iterator
from typing import Any, BinaryIO

from pydantic_core import from_json

from service.batches.batch import BatchLimits, InputLine, LineProblem
from service.http.request_body import MAX_VALUES
from service.schemas.json_fault import json_fault

# Behind all requests with a default priority; see `Priorities` in docs/chat.md.
PRIORITY = 100
MAX_PROBLEMS = 100
MAX_CUSTOM_ID = 256
_SKIPPED_AT_ONCE = 1 << 20
_SHOWN = 64


class InvalidLineError(Exception):
    """A line that cannot be run."""

    def __init__(self, code: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.code, self.message, self.param = code, message, param


def read_lines(
    file: BinaryIO, endpoint: str, limits: BatchLimits
) -> Iterator[InputLine | LineProblem | None]:
    """Each line as a request to `endpoint`, or its problem; None for an empty line.

    Ends early, with a problem, if there are too many lines or too many problems.
    """
    seen: dict[bytes, int] = {}
    found = problems = 0
    for number, text in _numbered_lines(file, limits.max_line_bytes):
        line = text.removeprefix(BOM_UTF8) if text is not None and number == 1 else text
        if line is not None and not line.strip():
            yield None  # who asks may stop: a file may have a hundred million of them
            continue
        found += 1
        if found > limits.max_lines:
            limit = limits.max_lines
            yield LineProblem("too_many_lines", f"the file has more than {limit} lines", number)
            return
        try:
            if line is None:
                raise InvalidLineError(
                    "line_too_long", f"the line is longer than {limits.max_line_bytes} bytes"
                )
            yield _sound_line(line, number, endpoint, seen)
        except InvalidLineError as error:
            problems += 1
            yield LineProblem(error.code, error.message, number, error.param)
            if problems == MAX_PROBLEMS:
                yield LineProblem(
                    "too_many_errors", "too many errors; the rest of the file was not checked"
                )
                return
    if found == 0:
        yield LineProblem("empty_file", "the file has no lines")


def _numbered_lines(file: BinaryIO, max_bytes: int) -> Iterator[tuple[int, bytes | None]]:
    """(number from 1, line) of a file; None for a line that is too long."""
    number = 0
    while line := file.readline(max_bytes + 1):
        number += 1
        if len(line) <= max_bytes or line.endswith(b"\n"):
            yield number, line
            continue
        while (rest := file.readline(_SKIPPED_AT_ONCE)) and not rest.endswith(b"\n"):
            pass
        yield number, None


def _sound_line(line: bytes, number: int, endpoint: str, seen: dict[bytes, int]) -> InputLine:
    values = sum(line.count(sign) for sign in (b",", b"[", b"{"))
    if values > MAX_VALUES:
        raise InvalidLineError(
            "too_many_values",
            f"the line has {values} lists, objects and commas; the limit is {MAX_VALUES}",
        )
    try:
        request = from_json(line, allow_inf_nan=False)
    except ValueError as error:
        raise InvalidLineError("invalid_json_line", f"the line {json_fault(error, line)}") from None
    if not isinstance(request, dict):
        raise InvalidLineError("invalid_json_line", "the line is not a JSON object")
    custom_id = _custom_id(request)
    digest = hashlib.blake2b(custom_id.encode(), digest_size=16).digest()
    if digest in seen:
        raise InvalidLineError(
            "duplicate_custom_id",
            f"custom_id {custom_id[:_SHOWN]!r} is already used on line {seen[digest]}",
            "custom_id",
        )
    seen[digest] = number
    _check_target(request, endpoint)
    return InputLine(number, custom_id, _body(request))


def _custom_id(request: dict[str, Any]) -> str:
    custom_id = request.get("custom_id")
    if not isinstance(custom_id, str) or not 0 < len(custom_id) <= MAX_CUSTOM_ID:
        raise InvalidLineError(
            "invalid_custom_id",
            f"custom_id must be a string of 1 to {MAX_CUSTOM_ID} characters",
            "custom_id",
        )
    # PostgreSQL accepts no NUL in texts, and no encoding accepts half a surrogate pair.
    if "\0" in custom_id or any("\ud800" <= letter <= "\udfff" for letter in custom_id):
        raise InvalidLineError(
            "invalid_custom_id",
            "custom_id must be valid Unicode without NUL characters",
            "custom_id",
        )
    return custom_id


def _check_target(request: dict[str, Any], endpoint: str) -> None:
    if request.get("method") != "POST":
        shown = str(request.get("method"))[:_SHOWN]
        raise InvalidLineError(
            "invalid_method", f"method is {shown!r}; it must be 'POST'", "method"
        )
    if request.get("url") != endpoint:
        shown = str(request.get("url"))[:_SHOWN]
        raise InvalidLineError(
            "mismatched_url", f"url is {shown!r}; the batch's endpoint is {endpoint!r}", "url"
        )


def _body(request: dict[str, Any]) -> str:
    """The request's body as JSON, with a batch's priority or a lower one."""
    body = request.get("body")
    if not isinstance(body, dict):
        raise InvalidLineError("invalid_body", "body must be a JSON object", "body")
    if body.get("stream"):
        raise InvalidLineError(
            "unsupported_value", "stream is true; batches do not support streaming", "body.stream"
        )
    given = body.get("priority")
    if given is None:  # null is the same as no priority
        given = PRIORITY
    if not isinstance(given, int):
        # Routes also accept "-5" and -5.0, which would put the line before live requests.
        raise InvalidLineError(
            "invalid_value", "priority must be an integer, not a string", "body.priority"
        )
    body["priority"] = max(given, PRIORITY)
    return json.dumps(body, separators=(",", ":"))
