"""The items of a JSON list or JSON Lines file of any length, one by one, in bounded memory.

The file may be compressed by gzip; other formats are told by their first bytes.

Bytes that are not UTF-8 become lone surrogates (PEP 383) within their string, so that one bad
record does not hide the others.
"""

from __future__ import annotations

import codecs
import gzip
import json
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

MAX_ITEM_CHARACTERS = 16 * 1024 * 1024
BLOCK_BYTES = 1 << 18


class JsonStreamError(ValueError):
    """The text cannot be read further; `index` is the position of the faulty item."""

    def __init__(self, index: int, fault: str) -> None:
        super().__init__(fault)
        self.index = index


@dataclass(frozen=True, slots=True)
class JsonItem:
    """One item: its position in the file from 0, the line it begins on from 1, and its value."""

    index: int
    line: int
    value: Any


def iter_json_items(
    file: Path,
    *,
    list_only: bool = False,
    max_item_characters: int = MAX_ITEM_CHARACTERS,
    block_bytes: int = BLOCK_BYTES,
    on_bytes: Callable[[int], object] | None = None,
) -> Iterator[JsonItem]:
    """Items of a file that holds one JSON list, or JSON values one after another (JSON Lines).

    At most about two items are in memory.

    Args:
        file: the file; it holds a list if its first character is `[`.
        list_only: refuses a file that does not hold a list.
        max_item_characters: limit on one item's text.
        block_bytes: size of a read, at least.
        on_bytes: called with the size of every block read, for a progress bar.

    Raises:
        JsonStreamError: not a JSON list, not JSON at some item, or an item above the limit. The
            items before it were yielded.
        OSError: the file cannot be read.
    """
    with file.open("rb") as raw:
        stream = _decompressed(raw)
        window = _Window(stream, max_item_characters, block_bytes, on_bytes)
        if window.next_character() == "[":
            yield from _list_items(window)
        elif list_only:
            raise JsonStreamError(0, f"does not begin a JSON list {window.place()}")
        else:
            index = 0
            while window.next_character():
                yield JsonItem(index, window.line, window.decode(index))
                index += 1


def _decompressed(raw: BinaryIO) -> BinaryIO:
    """The bytes of the text.

    Raises:
        JsonStreamError: the file has another known format.
    """
    start = raw.read(_MAGIC_BYTES)
    raw.seek(0)
    for magic, name in _FORMATS.items():
        if start.startswith(magic):
            raise JsonStreamError(0, f"is {name}; expected JSON in UTF-8, plain or in gzip")
    return cast("BinaryIO", gzip.GzipFile(fileobj=raw)) if start.startswith(_GZIP) else raw


def _list_items(window: _Window) -> Iterator[JsonItem]:
    window.skip(1)
    index = 0
    if window.next_character() == "]":
        window.skip(1)
    else:
        while True:
            window.next_character()
            yield JsonItem(index, window.line, window.decode(index))
            index += 1
            separator = window.next_character()
            if separator not in (",", "]"):
                expected = f"expected ',' or ']' after item {index - 1}"
                raise JsonStreamError(index, f"{expected} {window.place()}")
            window.skip(1)
            if separator == "]":
                break
    if window.next_character():
        raise JsonStreamError(index, f"text follows the end of the list {window.place()}")


_GZIP = b"\x1f\x8b"
_FORMATS = {
    b"PAR1": "a Parquet file",
    b"ARROW1": "an Arrow file",
    b"PK\x03\x04": "a zip archive",
    b"\x28\xb5\x2f\xfd": "compressed by zstd",
    b"\xfd7zXZ": "compressed by xz",
    b"BZh": "compressed by bzip2",
    b"\xff\xfe": "text in UTF-16",
    b"\xfe\xff": "text in UTF-16",
}
_MAGIC_BYTES = 8

_SPACE = re.compile(r"[ \t\n\r]*")
# Text cut off in an item fails within its last word (`-Infinity`, `\ud83d\ude00`), or in a string.
_LONGEST_WORD = 16
_NUMBER_LOOKAHEAD = 3
_UNTERMINATED = "Unterminated string"


class _Window:
    """The part of the text that is being decoded."""

    def __init__(
        self,
        stream: BinaryIO,
        limit: int,
        block_bytes: int,
        on_bytes: Callable[[int], object] | None,
    ) -> None:
        self._stream, self._limit, self._on_bytes = stream, limit, on_bytes
        self._block_bytes = block_bytes
        self._text_decoder = codecs.getincrementaldecoder("utf-8-sig")("surrogateescape")
        self._decoder = json.JSONDecoder()
        self._text, self._position, self._ended = "", 0, False
        self._counted, self._line, self._decoded = 0, 1, 0

    @property
    def line(self) -> int:
        """Line of the current position, from 1."""
        self._line += self._text.count("\n", self._counted, self._position)
        self._counted = self._position
        return self._line

    def place(self) -> str:
        found = self._text[self._position : self._position + 20]
        if not found:
            return f"at line {self.line}: the file ends here; is it whole?"
        return f"at line {self.line}: {found!r}"

    def next_character(self) -> str:
        """Skips white space; returns the next character, or "" at the end."""
        while True:
            space = _SPACE.match(self._text, self._position)
            self._position = space.end() if space else self._position
            if self._position < len(self._text):
                return self._text[self._position]
            if not self._read_more():
                return ""

    def skip(self, count: int) -> None:
        self._position += count

    def decode(self, index: int) -> Any:
        """Decodes the value at the current position and moves past it."""
        while True:
            try:
                value, end = self._decoder.raw_decode(self._text, self._position)
            except json.JSONDecodeError as error:
                cut = (
                    error.msg.startswith(_UNTERMINATED)
                    or error.pos > len(self._text) - _LONGEST_WORD
                )
                if not cut or not self._more_of_item(index):
                    raise JsonStreamError(index, self._fault(error)) from None
            except (RecursionError, ValueError) as error:
                # Nested beyond Python's stack, or an integer of over 4300 digits.
                fault = f"cannot be decoded ({type(error).__name__}) {self.place()}"
                raise JsonStreamError(index, fault) from None
            else:
                # A number at the end of the block may go on in the next one, as `1` in `1e+9`.
                if end + _NUMBER_LOOKAHEAD <= len(self._text) or not self._more_of_item(index):
                    self._position = end
                    self._decoded += 1
                    return value

    def _fault(self, error: json.JSONDecodeError) -> str:
        endless = error.msg.startswith(_UNTERMINATED)
        if self._ended and (endless or error.pos >= len(self._text.rstrip())):
            return f"the file ends within the item at line {self.line}; is it whole?"
        line = self.line + self._text.count("\n", self._position, error.pos)
        found = self._text[error.pos : error.pos + 20]
        return f"not JSON at line {line}: {error.msg}: {found!r}"

    def _more_of_item(self, index: int) -> bool:
        held = len(self._text) - self._position
        if held > self._limit:
            fault = f"the item at line {self.line} is longer than {self._limit} characters"
            raise JsonStreamError(index, fault)
        return self._read_more(held)

    def _read_more(self, held: int = 0) -> bool:
        """Reads at least `held` bytes, so that a long item is retried only a few times."""
        if self._ended:
            return False
        data = self._read(max(self._block_bytes, held))
        if self._on_bytes is not None and data:
            self._on_bytes(len(data))
        self._ended = not data
        more = self._text_decoder.decode(data, final=self._ended)
        if self._ended and not more:
            return False
        _ = self.line  # counts the lines of the text dropped below
        self._text = self._text[self._position :] + more
        self._position = self._counted = 0
        return True

    def _read(self, size: int) -> bytes:
        try:
            return self._stream.read(size)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            fault = f"the gzip file is corrupt or truncated after line {self.line}: {error}"
            raise JsonStreamError(self._decoded, fault) from None
