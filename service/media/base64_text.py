"""The base64 of `data:` URLs, in the spellings that browsers and common encoders write."""

from __future__ import annotations

import binascii
import re

from lamm_model.formats.errors import MediaDecodeError

SPACES = " \t\n\f\r"
# Other characters need no escape in a URL. Each is replaced by itself: decoding every escape would
# need memory for each of millions of them.
_ESCAPES = {"%2B": "+", "%2F": "/", "%3D": "=", "%0A": "", "%0D": "", "%20": "", "%09": ""}
_URL_SAFE = {"-": "+", "_": "/"}
_OTHER = re.compile(rb"[^A-Za-z0-9+/=]")


def plain_base64(text: str) -> str:
    """The text in the standard alphabet (RFC 4648), padded and without white space.

    Takes what browsers take: white space, percent escapes and missing padding (WHATWG Infra,
    forgiving-base64 decode), and the URL-safe alphabet. Text that is not base64 stays invalid.
    """
    # The usual text has none of these signs, and is not copied.
    if "%" in text:
        for escape, sign in _ESCAPES.items():
            text = text.replace(escape, sign).replace(escape.lower(), sign)
    for space in SPACES:
        text = text.replace(space, "")
    for sign, standard in _URL_SAFE.items():
        text = text.replace(sign, standard)
    # One character over a multiple of 4 holds no byte: the decoder refuses it.
    missing = -len(text) % 4
    return text if missing == 3 or text.endswith("=") else text + "=" * missing


def decode_base64(text: bytes) -> bytes:
    """The bytes of `plain_base64`.

    Raises:
        MediaDecodeError: the text is not base64; the message has the sign or the length.
    """
    try:
        if len(text) % 4:
            raise binascii.Error
        return binascii.a2b_base64(text, strict_mode=True)
    except binascii.Error:
        raise MediaDecodeError(
            f"the data: URL does not hold valid base64: {_fault(text)}"
        ) from None


def _fault(text: bytes) -> str:
    found = _OTHER.search(text)
    if found is not None:
        sign = text[found.start() : found.start() + 4].decode("utf8", "replace")[0]
        return (
            f"it has {sign!r} at position {found.start()} (without white space); expected A-Z a-z "
            "0-9 + / or the URL-safe - _"
        )
    padding = text.find(b"=")
    if padding >= 0:
        return (
            f"it has '=' at position {padding} of {len(text)} (without white space); expected at "
            "most two, at the end, that make the length a multiple of 4"
        )
    return f"its length is {len(text)} (without white space), one more than a multiple of 4"
