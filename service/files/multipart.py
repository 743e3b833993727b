"""Streams a multipart form with one file (RFC 7578).

FastAPI would spool the whole file to a temporary place first.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from service.exceptions import RequestError

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

_MAX_FIELDS, _MAX_FIELD_BYTES = 16, 1024
_WRITTEN_AT_ONCE = 1 << 20


@dataclass(frozen=True, slots=True)
class FileForm:
    """The form's fields besides the file's bytes."""

    filename: str
    fields: dict[str, str]


async def read_file_form(
    content_type: str,
    body: AsyncIterator[bytes],
    write: Callable[[bytes], Awaitable[None]],
    written: Callable[[], None],
) -> FileForm:
    """Reads the form's fields; the bytes of its part `file` go to `write`, in order.

    Args:
        content_type: header of the request.
        body: the request's body.
        write: takes the next bytes of the file.
        written: called when no received bytes are held any longer.

    Raises:
        RequestError: not a multipart form, a malformed one, or not exactly one file.
    """
    kind, options = parse_options_header(content_type)
    boundary = options.get(b"boundary")
    if kind != b"multipart/form-data" or not boundary:
        raise RequestError(
            f"the request's Content-Type is {content_type[:64]!r}; it must be "
            "multipart/form-data with a boundary",
            code="invalid_content_type",
        )
    parts = _Parts()
    try:
        parser = MultipartParser(boundary, parts.callbacks())
        async for chunk in body:
            parser.write(chunk)
            # Bytes after the last part are discarded.
            if len(parts.content) >= _WRITTEN_AT_ONCE or (parts.complete and parts.content):
                await write(parts.take_content())
            if not parts.content:
                written()
        parser.finalize()
    except FormParserError:
        raise RequestError("the multipart form is malformed", code="invalid_form") from None
    if not parts.complete:
        raise RequestError("the multipart form is incomplete", code="invalid_form")
    if parts.filename is None:
        raise RequestError("file is missing", param="file", code="invalid_value")
    await write(parts.take_content())
    return FileForm(parts.filename, parts.texts())


@dataclass(slots=True)
class _Parts:
    """Handles the parser's events; the size of each part is limited."""

    content: bytearray = field(default_factory=bytearray)
    filename: str | None = None
    complete: bool = False
    _fields: dict[str, bytearray] = field(default_factory=dict)
    _count: int = 0
    _sink: bytearray = field(default_factory=bytearray)
    _limit: int | None = _MAX_FIELD_BYTES
    _name: str = ""
    _header: bytearray = field(default_factory=bytearray)
    _value: bytearray = field(default_factory=bytearray)
    _disposition: bytes = b""

    def callbacks(self) -> MultipartCallbacks:
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._on_header,
            "on_header_value": self._on_value,
            "on_header_end": self._on_header_end,
            "on_headers_finished": self._on_headers,
            "on_part_data": self._on_data,
            "on_end": self._on_end,
        }

    def take_content(self) -> bytes:
        taken = bytes(self.content)
        self.content.clear()
        return taken

    def texts(self) -> dict[str, str]:
        return {name: value.decode("utf8", "replace") for name, value in self._fields.items()}

    def _begin(self) -> None:
        self._disposition = b""

    def _on_header(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _on_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = bytes(self._value)
        self._header.clear()
        self._value.clear()

    def _on_headers(self) -> None:
        _, options = parse_options_header(self._disposition)
        self._name = options.get(b"name", b"").decode("utf8", "replace")
        if self._name == "file":
            if self.filename is not None:
                raise RequestError("the form has more than one file", param="file")
            self.filename = options.get(b"filename", b"").decode("utf8", "replace")
            self._sink, self._limit = self.content, None
            return
        self._count += 1
        if self._count > _MAX_FIELDS:
            raise RequestError(f"the form has more than {_MAX_FIELDS} fields", code="invalid_form")
        self._sink, self._limit = self._fields.setdefault(self._name, bytearray()), _MAX_FIELD_BYTES

    def _on_data(self, data: bytes, start: int, end: int) -> None:
        if self._limit is not None and len(self._sink) + end - start > self._limit:
            raise RequestError(
                f"the form's field {self._name[:64]!r} is longer than {self._limit} bytes",
                param=self._name[:64],
            )
        self._sink += data[start:end]

    def _on_end(self) -> None:
        self.complete = True
