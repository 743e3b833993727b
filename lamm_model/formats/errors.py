"""Errors of media decoding.

No message repeats the text of a library; all are safe to show to a client.
"""

from __future__ import annotations


class MediaError(ValueError):
    """Base class: a picture or cloud is refused."""


class MediaFormatError(MediaError):
    """The format is not supported, or its description is incomplete (HTTP 415)."""


class MediaTooLargeError(MediaError):
    """More bytes, pixels or points than the limit, found before decoding (HTTP 413)."""


class MediaDecodeError(MediaError):
    """Corrupt, truncated or empty content, or values out of range (HTTP 422)."""
