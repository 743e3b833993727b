"""The XML section of an E57 file: what must not reach the library, and the number of points.

Layout (ASTM E2807, clause 8): a header of 48 bytes, and pages whose last four bytes are a checksum.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from xml.parsers import expat

from lamm_model.formats.cloud_format import MediumBytes
from lamm_model.formats.errors import MediaDecodeError

SIGNATURE = b"ASTM-E57"
_HEADER = struct.Struct("<8sIIQQQQ")
_PAGE, _CHECKSUM = 1024, 4
_COUNTED = 1 << 18
_RECORDS = re.compile(rb"<points\b[^>]{0,1000}?\brecordCount=[\"'](\d{1,18})[\"']")
# The library takes quadratic time for both. Scanners write under ten levels and a hundred fields.
_MAX_DEPTH, _MAX_FIELDS = 64, 1000
# In these, markup is as in ASCII, whoever reads it.
_ENCODINGS = ("utf-8", "us-ascii", "iso-8859-1")

Read = Callable[[int, int], bytes]


def check_xml(data: bytes) -> None:
    """Refuses XML that has a document type, very many levels or fields, or another encoding.

    A parser may open the files that the entities of a document type name.

    Raises:
        MediaDecodeError: also if there is no XML section.
    """
    if not data.startswith(SIGNATURE):
        raise MediaDecodeError(f"the file does not begin with `{SIGNATURE.decode()}`")
    xml = _section(lambda offset, count: data[offset : offset + count], len(data), len(data))
    if xml is None or not xml.startswith(b"<?xml"):
        raise MediaDecodeError("the e57 file has no XML section where its header says")
    _Checks().run(xml)


def count_points(content: MediumBytes, _: int | None) -> int | None:
    """See `PointCounter`; the points of all scans. None if the XML has more than 256 KiB."""
    xml = _section(content.read, content.size, _COUNTED)
    return None if xml is None else sum(int(found) for found in _RECORDS.findall(xml))


def _section(read: Read, size: int, longest: int) -> bytes | None:
    """The XML without its checksums; None if the header is malformed or it is too long."""
    head = read(0, _HEADER.size)
    if len(head) < _HEADER.size:
        return None
    signature, _, _, _, start, length, page = _HEADER.unpack(head)
    if signature != SIGNATURE or page != _PAGE or length > longest or start >= size:
        return None
    first, within = divmod(start, _PAGE)
    pages = -(-(within + length) // (_PAGE - _CHECKSUM)) + 1
    raw = read(first * _PAGE, pages * _PAGE)
    body = b"".join(raw[at : at + _PAGE - _CHECKSUM] for at in range(0, len(raw), _PAGE))
    xml = body[within : within + length]
    return xml if len(xml) == length else None


class _Checks:
    """One pass over the XML with a parser that opens nothing."""

    def __init__(self) -> None:
        # Fields so far of each open element; None for a vector, which may have any number.
        self._fields: list[int | None] = [0]
        self._parser = expat.ParserCreate()
        self._parser.XmlDeclHandler = self._declaration
        self._parser.StartDoctypeDeclHandler = self._document_type
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end

    def run(self, xml: bytes) -> None:
        try:
            self._parser.Parse(xml.rstrip(b"\0"), True)
        except expat.ExpatError as error:
            raise MediaDecodeError(f"the e57 XML is malformed in line {error.lineno}") from None

    def _declaration(self, _version: str, encoding: str | None, _standalone: int) -> None:
        if (encoding or _ENCODINGS[0]).lower() not in _ENCODINGS:
            raise MediaDecodeError(
                f"the e57 XML has the encoding {str(encoding)[:32]!r}; expected UTF-8"
            )

    def _document_type(self, *_: object) -> None:
        raise MediaDecodeError("the e57 XML has a document type, which is not read")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        if (fields := self._fields[-1]) is not None:
            self._fields[-1] = fields + 1
            if fields >= _MAX_FIELDS:
                raise MediaDecodeError(
                    f"the e57 XML has more than {_MAX_FIELDS} fields in the parent of {name[:32]!r}"
                )
        if len(self._fields) > _MAX_DEPTH:
            raise MediaDecodeError(f"the e57 XML has more than {_MAX_DEPTH} levels")
        self._fields.append(None if attributes.get("type") == "Vector" else 0)

    def _end(self, _name: str) -> None:
        self._fields.pop()
