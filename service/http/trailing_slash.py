"""Reads an API path with a trailing slash as the path without it."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send


class TrailingSlashMiddleware:
    """Removes one trailing slash from paths below `/v1`, before any check of them.

    Clients whose base URL ends with a slash write it. A redirect would lose the body or the key in
    some of them.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            path, raw = scope["path"], scope.get("raw_path") or b"/"
            is_api = path.startswith(f"{scope.get('root_path', '')}/v1/")
            # An encoded slash is part of a name.
            if is_api and path.endswith("/") and raw.endswith(b"/"):
                scope["path"], scope["raw_path"] = path[:-1], raw[:-1]
        await self._app(scope, receive, send)
