"""Security headers of every answer.

No answer may be framed, sniffed, or load anything from other origins. An HTML page sets its own
Content-Security-Policy (`page_policy`), which is kept.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# Header names of RFC 9110; values from OWASP's REST security cheat sheet.
_ALWAYS: Mapping[str, str] = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
}
_UNLESS_GIVEN: Mapping[str, str] = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}
# The web page: files of this origin only, no inline code, no strings turned into elements.
APP_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)


class SecurityHeadersMiddleware:
    """Adds the headers to every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _ALWAYS.items():
                    headers[name] = value
                for name, value in _UNLESS_GIVEN.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, send_with_headers)


def page_policy(inline_scripts: Sequence[str] = ()) -> str:
    """The policy of a page that loads only from this origin.

    Args:
        inline_scripts: texts of its `<script>` elements, each allowed by its digest.
    """
    digests = [hashlib.sha256(script.encode()).digest() for script in inline_scripts]
    scripts = " ".join(
        ["'self'", *(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)]
    )
    return (
        f"default-src 'none'; script-src {scripts}; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data: blob:; connect-src 'self'; font-src 'self' data:; "
        "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    )
