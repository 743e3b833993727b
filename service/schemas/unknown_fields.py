"""Logs the names of unknown request fields, once each.

Fields of other servers are ignored, as clients expect; the log tells the operator which.
"""

from __future__ import annotations

import logging

from pydantic import BaseModel

logger = logging.getLogger(__name__)

_MAX_NAMES = 64
_MAX_LENGTH = 64


class UnknownFields:
    """The names that one app has logged, up to a limit."""

    def __init__(self) -> None:
        self._named: set[str] = set()

    def name_once(self, body: BaseModel) -> None:
        """Logs the names, never the values, of fields that are not in the body's model."""
        for field in body.model_extra or {}:
            name = field[:_MAX_LENGTH]
            if name not in self._named and len(self._named) < _MAX_NAMES:
                self._named.add(name)
                logger.info("ignoring the unknown request field %r", name)
