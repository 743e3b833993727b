"""The middleware around the routes, in its order, and the API keys that it checks."""

from __future__ import annotations

import asyncio
import logging

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from service.config.settings import Settings
from service.dependencies import Services
from service.endpoints import files
from service.http.content_encoding import ContentEncodingMiddleware
from service.http.head import HeadMiddleware
from service.http.middleware import BodyLimitMiddleware, BodyLogMiddleware, RequestContextMiddleware
from service.http.security_headers import SecurityHeadersMiddleware
from service.http.trailing_slash import TrailingSlashMiddleware
from service.keys.api_keys import ApiKeys, KeyLimits
from service.keys.auth import AccessControl, AccessMiddleware
from service.keys.sites import ANY, AllowedSites, is_loopback

logger = logging.getLogger(__name__)

_KEYS_READ_S = 2.0
# Size of a multipart form besides its file.
_FORM_BYTES = 1 << 16


def access_control(settings: Settings) -> AccessControl:
    """The keys that the settings name.

    Raises:
        OSError, ValueError: they cannot be read, or there is none.
    """
    listed = None if settings.api_keys is None else settings.api_keys.get_secret_value()
    limits = KeyLimits(settings.key_max_concurrent, settings.key_tokens_per_minute)
    keys = ApiKeys(listed, settings.api_keys_file, limits)
    return AccessControl(keys, open_metrics=not settings.protect_metrics)


async def watch_keys(keys: ApiKeys) -> None:
    """Reloads the key file when it changes; reading may wait for a network file system."""
    while True:
        await asyncio.sleep(_KEYS_READ_S)
        await asyncio.to_thread(keys.reload)


def install_middleware(app: FastAPI, settings: Settings, services: Services) -> None:
    """Adds the middleware, innermost first: each call wraps those before it."""
    refused = services.metrics.rejected
    app.add_middleware(HeadMiddleware)
    app.add_middleware(
        BodyLimitMiddleware,
        max_bytes=settings.max_body_bytes,
        max_total_bytes=settings.max_buffered_bytes,
        silence_s=settings.body_timeout_s,
        refused=refused,
        max_bytes_of={files.PATH: settings.max_file_bytes + _FORM_BYTES},
    )
    if settings.log_bodies:
        app.add_middleware(BodyLogMiddleware, max_chars=settings.log_body_chars)
    app.add_middleware(
        ContentEncodingMiddleware,
        max_bytes=max(settings.max_body_bytes, settings.max_file_bytes + _FORM_BYTES),
    )
    app.add_middleware(
        AccessMiddleware,
        access=services.access,
        refused=refused,
        sites=_allowed_sites(settings, services.access.keys.required),
    )
    if settings.allowed_origin:
        # Outside of the key check: a browser's preflight request has no key.
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.allowed_origin,
            allow_methods=("GET", "POST", "DELETE"),
            allow_headers=("Authorization", "Content-Type", "X-Request-Id"),
            expose_headers=("X-Request-Id", "Server-Timing", "Retry-After"),
        )
    app.add_middleware(TrailingSlashMiddleware)
    app.add_middleware(RequestContextMiddleware)
    app.add_middleware(SecurityHeadersMiddleware)


def _allowed_sites(settings: Settings, has_keys: bool) -> AllowedSites:
    """`Host` is checked if hosts are given, or if nothing else keeps web pages out."""
    hosts, local = settings.allowed_host, is_loopback(settings.host)
    if not (has_keys or local or hosts):
        logger.warning(
            "anyone who reaches %s may call: there are no API keys, and names are not checked. "
            "Set --api-keys-file, or the service's names with --allowed-host",
            settings.host or "this machine",
        )
    if ANY in hosts or not (hosts or (local and not has_keys)):
        return AllowedSites(settings.allowed_origin)
    return AllowedSites(settings.allowed_origin, hosts, any_address=not local)
