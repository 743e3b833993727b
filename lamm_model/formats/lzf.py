"""LZF decompression, which PCD's `binary_compressed` uses (Lehmann, liblzf 3.6, `lzf_d.c`)."""

from __future__ import annotations

from lamm_model.formats.errors import MediaDecodeError

_LITERAL_END = 32
_LONG_MATCH = 9  # another byte adds to the length
# The longest match, 264 bytes, takes 3.
MAX_RATIO = 88


def lzf_decompress(packed: bytes, size: int) -> bytes:
    """Exactly `size` bytes; never grows beyond `size` and one match.

    Raises:
        MediaDecodeError: the stream is truncated, refers to bytes before its beginning, or does not
            hold `size` bytes.
    """
    out = bytearray()
    at, end = 0, len(packed)
    try:
        while at < end and len(out) <= size:
            control = packed[at]
            at += 1
            if control < _LITERAL_END:
                out += packed[at : at + control + 1]
                at += control + 1
                continue
            length = (control >> 5) + 2
            if length == _LONG_MATCH:
                length += packed[at]
                at += 1
            distance = ((control & 0x1F) << 8) + packed[at] + 1
            at += 1
            start = len(out) - distance
            if start < 0:
                raise MediaDecodeError("the LZF stream refers to bytes before its beginning")
            if distance >= length:
                out += out[start : start + length]
            else:  # the match repeats what it produces
                out += (out[start:] * -(-length // distance))[:length]
    except IndexError:
        raise MediaDecodeError("the LZF stream is truncated") from None
    if at != end or len(out) != size:
        raise MediaDecodeError(f"the LZF stream does not hold the {size} bytes that it declares")
    return bytes(out)
