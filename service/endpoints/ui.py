"""`GET /` and `GET /ui/...`: the web page and its files, which are package data.

The page is open to everyone, since a browser has no key to send; its API requests need a key if
keys are required. Each file is a route of its own, so that no path reaches anything else.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from service.http.security_headers import APP_POLICY
from service.keys.auth import OPEN, USER

PAGE = "index.html"
_FOLDER = "web_ui"
_MEDIA_TYPES: Mapping[str, str] = {
    "css": "text/css; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "jpg": "image/jpeg",
    "json": "application/json",
    "ply": "application/octet-stream",
    "npy": "application/octet-stream",
    "png": "image/png",
    "svg": "image/svg+xml",
}


@dataclass(frozen=True, slots=True)
class Asset:
    """One file of the page; `tag` is its digest, for the `ETag` header."""

    name: str
    content: bytes
    media_type: str
    tag: str

    def response(self, known_tags: str) -> Response:
        """The file, or 304 if `known_tags` (If-None-Match, RFC 9110) contains its tag."""
        # Names do not change between versions, so browsers must revalidate.
        headers = {"Cache-Control": "no-cache", "ETag": self.tag}
        if self.name == PAGE:
            headers["Content-Security-Policy"] = APP_POLICY
        tags = {tag.strip().removeprefix("W/") for tag in known_tags.split(",")}
        if tags & {self.tag, "*"}:
            return Response(status_code=304, headers=headers)
        return Response(self.content, headers=headers, media_type=self.media_type)


@functools.cache
def create_router(enabled: bool) -> APIRouter:
    """The routes of the page and its files; unless `enabled`, a redirect to the documentation.

    They hold no state: every app gets the same ones.
    """
    router = APIRouter(include_in_schema=False)
    if not enabled:
        router.add_api_route("/", documentation, methods=["GET"], dependencies=[USER])
        return router
    for asset in assets():
        path = "/" if asset.name == PAGE else f"/ui/{asset.name}"
        router.add_api_route(
            path, _handler(asset), methods=["GET"], response_model=None, dependencies=[OPEN]
        )
    return router


@functools.cache
def assets() -> tuple[Asset, ...]:
    """Every file of the page, by name.

    Raises:
        ValueError: a file's suffix has no media type here.
    """
    return tuple(_asset(name, file) for name, file in _walk(files("service") / _FOLDER, ""))


async def documentation() -> RedirectResponse:
    """Redirects to the documentation, by a relative address: a proxy may add a path prefix."""
    return RedirectResponse("docs")


def prefix_router(root_path: str) -> APIRouter:
    """A redirect from the path prefix to the page, whose relative links need the final slash."""

    async def add_slash() -> RedirectResponse:
        return RedirectResponse(f"{root_path.rpartition('/')[2]}/")

    router = APIRouter(include_in_schema=False)
    router.add_api_route(root_path, add_slash, methods=["GET"], dependencies=[OPEN])
    return router


def _handler(asset: Asset) -> Callable[[Request], Awaitable[Response]]:
    async def serve(request: Request) -> Response:
        return asset.response(request.headers.get("if-none-match", ""))

    return serve


def _walk(folder: Traversable, prefix: str) -> Iterator[tuple[str, Traversable]]:
    for entry in sorted(folder.iterdir(), key=lambda one: one.name):
        if entry.is_dir():
            yield from _walk(entry, f"{prefix}{entry.name}/")
        else:
            yield f"{prefix}{entry.name}", entry


def _asset(name: str, file: Traversable) -> Asset:
    suffix = name.rpartition(".")[2]
    if suffix not in _MEDIA_TYPES:
        raise ValueError(f"{name} has no media type; known suffixes: {', '.join(_MEDIA_TYPES)}")
    content = file.read_bytes()
    tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    return Asset(name, content, _MEDIA_TYPES[suffix], tag)
