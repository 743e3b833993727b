"""Finds the medium that a request is about in its body.

Nothing is decoded or validated: a wrong key costs a cache hit and nothing else.
"""

from __future__ import annotations

import binascii
import hashlib
import re
from email.message import Message

from service.media.base64_text import plain_base64

# The text of a message cannot contain this in JSON: quotes within strings are escaped.
_REFERENCE = re.compile(rb'"(?:url|image_url|file_data|file_id)"\s*:\s*"')
_JSON_ESCAPES = {b"\\/": b"/", b"\\n": b"", b"\\r": b""}
_FILE_ID = re.compile(rb"file-([0-9a-f]{64})")
_MAX_HEADERS = 1 << 12


def media_key(content_type: str, body: bytes) -> str:
    """SHA-256 (hexadecimal) of the first medium's bytes or URL; "" if there is none.

    The first one, since a conversation continues about the medium that it began with. A picture has
    the same key as a `data:` URL, as a form's file, and as the `file_id` of its upload.

    Args:
        content_type: the request's: JSON or a multipart form.
        body: the whole body.
    """
    kind = Message()
    kind["content-type"] = content_type
    if kind.get_content_maintype() == "multipart":
        return _form_key(str(kind.get_boundary("")).encode(), body)
    found = _REFERENCE.search(body)
    if found is None:
        return ""
    end = body.find(b'"', found.end())
    return _reference_key(body[found.end() : end]) if end > found.end() else ""


def _reference_key(reference: bytes) -> str:
    file_id = _FILE_ID.fullmatch(reference)
    if file_id is not None:
        return file_id[1].decode()
    if reference[:5].lower() != b"data:":
        return _digest(reference)
    text = reference[reference.find(b",") + 1 :]
    # Some clients write a slash as \/ in JSON, and base64 contains slashes and line breaks.
    for escaped, sign in _JSON_ESCAPES.items():
        text = text.replace(escaped, sign)
    try:
        return _digest(binascii.a2b_base64(plain_base64(text.decode("latin-1"))))
    except ValueError:
        return _digest(text)


def _form_key(boundary: bytes, body: bytes) -> str:
    """The key of the first part that has a file name (RFC 7578)."""
    if not boundary:
        return ""
    delimiter = b"--" + boundary
    start = body.find(delimiter)
    while start >= 0:
        start += len(delimiter)
        head_end = body.find(b"\r\n\r\n", start, start + _MAX_HEADERS)
        following = body.find(b"\r\n" + delimiter, start)
        if head_end < 0 or following < head_end:
            return ""
        if b"filename=" in body[start:head_end].lower():
            return _digest(body[head_end + 4 : following])
        start = following + 2
    return ""


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
