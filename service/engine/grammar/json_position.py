"""Where in a JSON text an answer is. Torch-free."""

from __future__ import annotations

from dataclasses import dataclass, replace

_NUMBER = frozenset(b"0123456789+-.eE")
_DIGITS = frozenset(b"0123456789")
_QUOTE, _ESCAPE, _COMMA, _COLON = b'"\\,:'
_OBJECT = ord("{")
_OPENING, _CLOSING = frozenset(b"{["), frozenset(b"}]")


@dataclass(slots=True)
class JsonPosition:
    """The place after the bytes so far. They must be the beginning of a JSON text."""

    in_string: bool = False
    in_number: bool = False
    digits: int = 0  # of the current number
    in_name: bool = False  # in the string of a property's name
    escaped: bool = False  # after a backslash
    _name_next: bool = False
    _open: bytes = b""

    @property
    def depth(self) -> int:
        """Number of open objects and lists."""
        return len(self._open)

    def copy(self) -> JsonPosition:
        """An independent copy."""
        return replace(self)

    def feed(self, text: bytes) -> None:
        """Takes the next bytes."""
        for byte in text:
            if self.in_string:
                self._feed_string(byte)
            else:
                self._feed_outside(byte)

    def _feed_string(self, byte: int) -> None:
        if self.escaped:
            self.escaped = False
        elif byte == _ESCAPE:
            self.escaped = True
        elif byte == _QUOTE:
            self.in_string = self.in_name = False

    def _feed_outside(self, byte: int) -> None:
        # The letter e is a number's only after a digit; `true` and `false` have one, too.
        self.in_number = byte in _NUMBER and (self.in_number or byte not in b"eE")
        self.digits = self.digits + (byte in _DIGITS) if self.in_number else 0
        if byte == _QUOTE:
            self.in_string, self.in_name = True, self._name_next
            self._name_next = False
        elif byte in _OPENING:
            self._open += bytes([byte])
            self._name_next = byte == _OBJECT
        elif byte in _CLOSING:
            self._open = self._open[:-1]
            self._name_next = False
        elif byte == _COMMA:
            self._name_next = self._open[-1:] == b"{"
        elif byte == _COLON:
            self._name_next = False
