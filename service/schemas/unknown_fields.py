"""Names unknown request fields: in the log once each, and in a header of every answer.

Fields of other servers are ignored, as clients expect; the log tells the operator which, and the
header the client.
"""

from __future__ import annotations

import logging

from pydantic import BaseModel

HEADER = "x-lamm-ignored-fields"
logger = logging.getLogger(__name__)

# SDKs set it by themselves in chat; nothing is stored, which only `true` needs to be told.
_STORE = "store"
_MAX_NAMES = 64
_MAX_SHOWN = 16
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


def ignored_fields(body: BaseModel) -> dict[str, str]:
    """The header with the names of the fields that are not in the body's model; {} without any.

    Characters that a header cannot have are question marks there.
    """
    extra = body.model_extra or {}
    names = [name for name in extra if name != _STORE or extra[name] not in (None, False)]
    shown = [_plain(name[:_MAX_LENGTH]) for name in names[:_MAX_SHOWN]]
    return {HEADER: ", ".join(shown)} if shown else {}


def _plain(name: str) -> str:
    return "".join(one if "!" <= one <= "~" and one != "," else "?" for one in name)
