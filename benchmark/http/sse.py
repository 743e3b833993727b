"""Parser of server-sent events (WHATWG HTML standard, section 9.2)."""

from __future__ import annotations

import codecs


class SseParser:
    """Reads chunks that are cut anywhere, even inside a UTF-8 character, and returns events."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._pending = ""
        self._data: list[str] = []

    def feed(self, chunk: bytes) -> list[str]:
        """The data of the events that this chunk completes; skips comments and other fields."""
        self._pending += self._decoder.decode(chunk)
        # A chunk may end between CR and LF, which together are one line end: keep the CR.
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
