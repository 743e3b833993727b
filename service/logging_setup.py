"""How the service's log lines look: pretty or JSON, each with the id of the request it belongs to.

Set up once by `cli`; `middleware` says which request is being answered. Lines never hold a body, a
key or a header, and one line is one record: line breaks that a client sent are escaped.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TextIO

from pythonjsonlogger.json import JsonFormatter

# What belongs to one request follows its tasks and threads by itself; it is no state of the app.
_request_id: ContextVar[str] = ContextVar("request_id", default="")

_PRETTY = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_JSON_FIELDS = ("asctime", "levelname", "name", "message")
# Their own access log has no request id; ours has. httpx logs whole addresses.
_QUIET = ("uvicorn.access", "uvicorn.error", "httpx")


def configure_logging(level: str, style: str, stream: TextIO | None = None) -> None:
    """Installs the one handler of the root logger.

    Args:
        level: least severity that is logged: `debug`, `info`, `warning` or `error`.
        style: `json` writes an object a line, `pretty` a line for people.
        stream: where lines go; None is the standard error stream.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(_json_formatter() if style == "json" else PrettyFormatter(_PRETTY))
    handler.addFilter(_add_request_id)
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level.upper())
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))


@contextmanager
def request_logged_as(request_id: str) -> Iterator[None]:
    """Within it, every line of this request's tasks and threads names `request_id`."""
    token = _request_id.set(request_id)
    try:
        yield
    finally:
        _request_id.reset(token)


class PrettyFormatter(logging.Formatter):
    """One line a record, the request's id at its end; a traceback stands below it."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """The line, without what could break out of it."""
        line = super().formatMessage(record).replace("\r", "\\r").replace("\n", "\\n")
        request_id = getattr(record, "request_id", "")
        return f"{line} id={request_id}" if request_id else line


def _json_formatter() -> JsonFormatter:
    return JsonFormatter(
        list(_JSON_FIELDS),
        rename_fields={"asctime": "time", "levelname": "level", "name": "logger"},
        json_ensure_ascii=False,
    )


def _add_request_id(record: logging.LogRecord) -> bool:
    request_id = _request_id.get()
    if request_id and not hasattr(record, "request_id"):
        record.request_id = request_id
    return True
