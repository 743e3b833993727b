"""The path prefix under which a reverse proxy publishes the service."""

from __future__ import annotations

from collections.abc import Iterable

from fastapi.routing import iter_route_contexts
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send


class RootPathMiddleware:
    """Removes the prefix from a request's path, before anything else looks at it.

    Proxies may remove it or leave it, and probes reach the service without one: paths with and
    without the prefix are the same.
    """

    def __init__(self, app: ASGIApp, root_path: str) -> None:
        """`root_path` begins with a slash and ends without one."""
        self._app, self._root_path = app, root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].startswith(f"{self._root_path}/"):
            raw: bytes = scope.get("raw_path") or b""
            scope["path"] = scope["path"].removeprefix(self._root_path)
            scope["raw_path"] = raw.removeprefix(self._root_path.encode())
        await self._app(scope, receive, send)


def check_root_path(root_path: str, routes: Iterable[BaseRoute]) -> None:
    """Checks that no route begins with the prefix, which would then be ambiguous.

    Raises:
        ValueError: a route does; the message names it.
    """
    for route in iter_route_contexts(list(routes)):
        if route.path is not None and f"{route.path}/".startswith(f"{root_path}/"):
            raise ValueError(
                f"root_path is {root_path!r}, but the route {route.path} begins with it; choose "
                "another prefix"
            )
