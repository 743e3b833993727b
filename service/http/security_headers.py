"""Headers that tell browsers what not to do with an answer. Installed by `app`, outermost.

Nothing that this service answers may be framed, sniffed, or loaded from elsewhere. A page of its
own names what it loads in a policy of its own (`page_policy`), which is left as it is.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# RFC 9110 names; OWASP's REST cheat sheet lists them for interfaces that answer with data.
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
# The web page's own: files of this service alone, nothing inline, and no text made into elements.
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
        """ASGI."""

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
    """The policy of a page that loads from this service alone.

    Args:
        inline_scripts: texts of its `<script>` elements; each is allowed by its digest, so that no
            other one runs.
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
