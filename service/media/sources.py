"""Sources of a medium's bytes: a `data:` URL, a stored file, or an allowed remote host.

Sources are only checked here: the size by the text of a `data:` URL (base64 is decoded in a worker
process), the existence of a file, and the host of a URL. Paths are never opened.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from lamm_model.formats.errors import MediaTooLargeError
from service.exceptions import MediaRefusedError, RequestError, StoredFileNotFoundError
from service.files.store import FileStore, StoredFile
from service.media.base64_text import SPACES, plain_base64
from service.media.remote_address import AllowedHosts, RemoteUrl, UrlRefusedError

_MAX_HEADER = 256
_BASE64 = re.compile(r"; *base64[ \t\n\f\r]*\Z", re.IGNORECASE)
_ADVICE = "send the bytes as a base64 data: URL (data:image/png;base64,...)"


@dataclass(frozen=True, slots=True)
class Upload:
    """Base64 text of one medium (`plain_base64`), within the size limit and not yet decoded."""

    base64: str


MediaSource = Upload | StoredFile | RemoteUrl


@dataclass(frozen=True, slots=True)
class MediaAccess:
    """What a request's media may refer to: its owner's files, and the allowed hosts."""

    files: FileStore
    hosts: AllowedHosts
    owner: str = ""

    def find(
        self, url: str | None, file_id: str | None, *, param: str, max_bytes: int
    ) -> MediaSource:
        """The source that a URL, or a file id in its place, refers to; blocks for the disk.

        Raises:
            RequestError: file not found, URL not allowed, or the disk cannot be read.
            MediaRefusedError: the bytes exceed `max_bytes`.
        """
        if file_id is not None:
            return self.file(file_id, param=param, max_bytes=max_bytes)
        url = url or ""
        if self.hosts and url[:8].lower().startswith(("https:", "http:")):
            try:
                return self.hosts.check(url)
            except UrlRefusedError as error:
                raise RequestError(str(error), param=param, code="url_refused") from None
        return read_data_url(url, param=param, max_bytes=max_bytes)

    def file(self, file_id: str, *, param: str, max_bytes: int) -> StoredFile:
        """The owner's file with that id; blocks for the disk.

        Raises:
            RequestError: file not found, or the disk cannot be read.
            MediaRefusedError: the bytes exceed `max_bytes`.
        """
        try:
            stored = self.files.get(self.owner, file_id)
        except StoredFileNotFoundError:
            raise StoredFileNotFoundError(file_id, f"{param}.file_id") from None
        _check_size(stored.bytes, max_bytes, param)
        return stored


def read_data_url(url: str, *, param: str, max_bytes: int) -> Upload:
    """The base64 text of a `data:` URL (RFC 2397), read as browsers do.

    Raises:
        RequestError: not a base64 data: URL.
        MediaRefusedError: the bytes exceed `max_bytes`.
    """
    url = url.strip(SPACES)
    scheme, colon, rest = url[: _MAX_HEADER * 2].partition(":")
    if not colon or scheme.lower() != "data":
        refusal = _refusal(scheme.lower() if colon else "")
        raise RequestError(refusal, param=param, code="invalid_url")
    header, comma, _ = rest.partition(",")
    if not comma or len(header) > _MAX_HEADER or not _BASE64.search(header):
        lacks = "no ;base64 before its first comma" if comma else "no comma before its data"
        raise RequestError(
            f"the data: URL has {lacks}; {_ADVICE}",
            param=param,
            code="invalid_url",
        )
    start = len(scheme) + len(header) + 2
    text = plain_base64(url[start:])
    # Up to two of these bytes may be padding.
    _check_size(len(text) * 3 // 4, max_bytes, param, slack=2)
    return Upload(text)


def _check_size(size: int, max_bytes: int, param: str, slack: int = 0) -> None:
    if size > max_bytes + slack:
        raise MediaRefusedError(
            MediaTooLargeError(f"the medium has {size} bytes; the limit is {max_bytes}"),
            param=param,
        )


def _refusal(scheme: str) -> str:
    if scheme in ("http", "https"):
        return (
            f"this server does not fetch remote URLs; {_ADVICE}, or ask the operator to "
            "allow the host with --allowed-media-host"
        )
    return f"paths and other URLs are never opened; {_ADVICE}"
