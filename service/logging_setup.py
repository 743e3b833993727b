"""Log formatting: pretty or JSON, with the id of the request that a line belongs to.

Lines never contain a body, a key or a header. One line is one record: line breaks that a client
sent are escaped.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TextIO

from pythonjsonlogger.json import JsonFormatter

# A context variable is inherited by the request's tasks and threads.
_request_id: ContextVar[str] = ContextVar("request_id", default="")

_PRETTY = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_JSON_FIELDS = ("asctime", "levelname", "name", "message")
# uvicorn's access log has no request id; ours has. httpx logs whole URLs.
_QUIET = ("uvicorn.access", "uvicorn.error", "httpx", "httpcore")


def configure_logging(level: str, style: str, stream: TextIO | None = None) -> None:
    """Installs the root logger's only handler.

    Args:
        level: lowest severity to log: `debug`, `info`, `warning` or `error`.
        style: `json` writes one object per line, `pretty` lines for people.
        stream: where lines go; None is standard error.
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
    """Within the context, each line of this request's tasks and threads has `request_id`."""
    token = _request_id.set(request_id)
    try:
        yield
    finally:
        _request_id.reset(token)


class PrettyFormatter(logging.Formatter):
    """One line per record, with the request's id at its end; a traceback follows below it."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """The line with control characters escaped."""
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
