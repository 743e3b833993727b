"""Why a medium was refused. Torch-free: raised by the decoders, translated to HTTP by the service.

Every message is our own, holds the offending value and the limit, and is safe to show a client.
"""

from __future__ import annotations


class MediaError(ValueError):
    """Base of every refusal of a picture or a cloud."""


class MediaFormatError(MediaError):
    """Not one of the formats that are read (HTTP 415)."""


class MediaTooLargeError(MediaError):
    """More bytes, pixels or points than the limit, found before they were materialised (413)."""


class MediaDecodeError(MediaError):
    """The right format, but corrupt, truncated, empty or holding impossible values (HTTP 422)."""
