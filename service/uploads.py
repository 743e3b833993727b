"""Obtains the bytes of a medium from what the client sent; for now that is a `data:` URL.

Called by `input_processor`. Sizes are checked on the text of the URL: base64 is decoded later, in a
worker process. No address is fetched and no path is opened.
"""

from __future__ import annotations

from dataclasses import dataclass

from lamm_model.media_errors import MediaTooLargeError
from service.exceptions import MediaRefusedError, RequestError

_MAX_HEADER = 256
_ADVICE = "send the bytes as a base64 data: URL (data:image/png;base64,...)"


@dataclass(frozen=True, slots=True)
class Upload:
    """Base64 text of one medium, within the size limit but not yet decoded."""

    base64: str


def read_data_url(url: str, *, param: str, max_bytes: int) -> Upload:
    """The base64 text of a `data:` URL (RFC 2397).

    Raises:
        RequestError: not a base64 data: URL.
        MediaRefusedError: the bytes exceed `max_bytes`.
    """
    scheme, colon, rest = url[: _MAX_HEADER * 2].partition(":")
    if not colon or scheme.lower() != "data":
        refusal = _refusal(scheme.lower() if colon else "")
        raise RequestError(refusal, param=param, code="invalid_url")
    header, comma, _ = rest.partition(",")
    if not comma or len(header) > _MAX_HEADER or not header.lower().endswith(";base64"):
        raise RequestError(
            f"the data: URL is not marked ;base64, before its first comma; {_ADVICE}",
            param=param,
            code="invalid_url",
        )
    start = len(scheme) + len(header) + 2
    size = (len(url) - start) * 3 // 4
    if size > max_bytes + 2:
        raise MediaRefusedError(
            MediaTooLargeError(f"the medium has {size} bytes; the limit is {max_bytes}"),
            param=param,
        )
    return Upload(url[start:])


def _refusal(scheme: str) -> str:
    if scheme in ("http", "https"):
        return f"remote addresses are not fetched by this server; {_ADVICE}"
    return f"paths and other addresses are never opened; {_ADVICE}"
