"""Server-sent events from bytes, as the WHATWG HTML standard (section 9.2) frames them.

Called by the client's streaming; knows nothing of chat.
"""

from __future__ import annotations

import codecs


class SseParser:
    """Feeds on chunks cut anywhere (even inside a UTF-8 character) and gives whole events' data."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._pending = ""
        self._data: list[str] = []

    def feed(self, chunk: bytes) -> list[str]:
        """Data of the events that this chunk completes; comments and other fields are skipped."""
        self._pending += self._decoder.decode(chunk)
        # A chunk may end between CR and LF: the pair is one line end, so the CR waits.
        held = "\r" if self._pending.endswith("\r") else ""
        text = self._pending.removesuffix("\r").replace("\r\n", "\n").replace("\r", "\n")
        *lines, rest = text.split("\n")
        self._pending = rest + held
        return [event for line in lines if (event := self._line(line)) is not None]

    def _line(self, line: str) -> str | None:
        if line:
            field, _, value = line.partition(":")
            if field == "data":
                self._data.append(value.removeprefix(" "))
            return None
        event, self._data = ("\n".join(self._data) if self._data else None), []
        return event
