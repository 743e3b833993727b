"""The gateway in front of the replicas: reads a request, chooses a replica, relays the answer.

Ray's HTTP proxy forwards a request before its body is complete, and ends a stream silently when its
replica dies. Here the body is read first, to find its medium, and `relay` ends a broken stream with
an error event.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4
from ray.serve.handle import DeploymentHandle
from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.config.settings import Settings
from service.endpoints import files
from service.errors import translate
from service.exceptions import ClientDisconnectedError, RequestError
from service.guards import access_control, watch_keys
from service.http.disconnect import until_disconnect
from service.http.middleware import BodyLimitMiddleware, RequestContextMiddleware
from service.http.request_body import release_body
from service.http.root_path import RootPathMiddleware
from service.http.security_headers import SecurityHeadersMiddleware
from service.keys.auth import REQUEST_ID, AccessControl, needed
from service.logging_setup import configure_logging
from service.ray.exposition import merged
from service.ray.media_key import media_key
from service.ray.relay import Asked, Relay, ask_all
from service.ray.replica import REPLICA_HEADER, WholeAnswer

logger = logging.getLogger(__name__)

_PASSED_ON = (
    "type", "asgi", "http_version", "method", "scheme", "path", "raw_path", "query_string",
    "root_path", "client", "server",
)  # fmt: skip
_PROBES = frozenset({"/livez", "/readyz", "/health"})
_PROBE_WAIT_S = 2.0
_ALL_WAIT_S = 5.0
_CANCELLED = re.compile(r"/v1/requests/[^/]+")
# Smaller bodies are searched faster than handed to a thread.
_READ_INLINE = 1 << 16
# Size of a multipart form besides its file.
_FORM_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class GatewayConfig:
    """The service's settings, and the seconds that a request may wait for a replica."""

    settings: Settings
    replica_wait_s: float


def create_gateway(config: GatewayConfig, replicas: Callable[[], DeploymentHandle]) -> ASGIApp:
    """The ASGI app in front of the replicas.

    Args:
        config: body limits and API keys.
        replicas: makes the handle of `replica.Replica`; called once, when the app starts.

    Raises:
        OSError, ValueError: the keys cannot be read.
    """
    settings = config.settings
    # Replicas log each request with the name of its key; the gateway logs only failures.
    configure_logging("warning", settings.log_format)
    access = access_control(settings)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        watching = asyncio.create_task(watch_keys(access.keys))
        try:
            yield
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)

    return Starlette(
        routes=[Route("/{path:path}", _Gateway(replicas(), access, config.replica_wait_s))],
        lifespan=lifespan,
        middleware=[
            *_without_root_path(settings.root_path),
            Middleware(_OneRequestId),
            Middleware(SecurityHeadersMiddleware),
            Middleware(RequestContextMiddleware),
            Middleware(
                BodyLimitMiddleware,
                max_bytes=settings.max_body_bytes,
                max_total_bytes=settings.max_buffered_bytes,
                silence_s=settings.body_timeout_s,
                refused=_log_refusal,
                max_bytes_of={files.PATH: settings.max_file_bytes + _FORM_BYTES},
            ),
        ],
    )


def _without_root_path(root_path: str) -> list[Middleware]:
    return [Middleware(RootPathMiddleware, root_path=root_path)] if root_path else []


class _Gateway:
    """The only endpoint; an ASGI app."""

    def __init__(self, replicas: DeploymentHandle, access: AccessControl, wait_s: float) -> None:
        self._replicas, self._access, self._wait_s = replicas, access, wait_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            asked = await self._read(scope, receive)
            await until_disconnect(receive, self._answer(asked, scope, receive, send))
        except (RequestError, HTTPException) as error:
            await translate(error).response()(scope, receive, send)
        except ClientDisconnectedError:
            logger.debug("a client disconnected before the end of its answer")

    async def _read(self, scope: Scope, receive: Receive) -> Asked:
        headers = Headers(scope=scope)
        if "content-length" in headers or "transfer-encoding" in headers:
            # An unauthenticated body is not read. The replica checks the key's role.
            self._access.admit(needed([], scope), headers.get("authorization", ""))
        body = await _body(receive)
        kind = headers.get("content-type", "")
        if len(body) <= _READ_INLINE:
            key = media_key(kind, body)
        else:
            key = await asyncio.to_thread(media_key, kind, body)
        return Asked(_passed_on(scope), body, key)

    async def _answer(self, asked: Asked, scope: Scope, receive: Receive, send: Send) -> None:
        path, method = scope["path"], scope["method"]
        if path == "/metrics" and method == "GET":
            answers = await ask_all(self._replicas, asked, _ALL_WAIT_S)
            await _metrics(answers)(scope, receive, send)
        elif method == "DELETE" and _CANCELLED.fullmatch(path):
            # Only the replica that runs a request knows its id.
            answers = await ask_all(self._replicas, asked, _ALL_WAIT_S)
            await _passed(_best(answers))(scope, receive, send)
        else:
            wait_s = _PROBE_WAIT_S if path in _PROBES else self._wait_s
            relay = Relay(self._replicas, send, wait_s, lambda: release_body(Request(scope)))
            await relay.run(asked)


class _OneRequestId:
    """Leaves `X-Request-Id` to Ray's proxy, which adds it to every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:

        async def send_without(message: Message) -> None:
            if message["type"] == "http.response.start":
                del MutableHeaders(scope=message)["X-Request-Id"]
            await send(message)

        await self._app(scope, receive, send_without)


async def _body(receive: Receive) -> bytes:
    """The whole body, within the limits of `BodyLimitMiddleware`.

    Raises:
        ClientDisconnectedError: the client disconnected meanwhile.
        HTTPException: a limit is exceeded.
    """
    parts: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnectedError
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)


def _passed_on(scope: Scope) -> dict[str, object]:
    """The scope that a replica gets; its request id is the one in the gateway's log."""
    headers = MutableHeaders(raw=list(scope["headers"]))
    headers["X-Request-Id"] = scope[REQUEST_ID]
    return {name: scope[name] for name in _PASSED_ON if name in scope} | {"headers": headers.raw}


def _metrics(answers: list[WholeAnswer]) -> Response:
    refused = next((answer for answer in answers if answer.status != 200), None)
    if refused is not None:
        return _passed(refused)
    text = merged({answer.replica: answer.body.decode() for answer in answers})
    return Response(text, media_type=CONTENT_TYPE_PLAIN_0_0_4)


def _best(answers: list[WholeAnswer]) -> WholeAnswer:
    return min(answers, key=lambda answer: answer.status)


def _passed(answer: WholeAnswer) -> Response:
    """A replica's answer, unchanged."""
    response = Response(answer.body, answer.status)
    response.raw_headers = [pair for pair in answer.headers if pair[0] != REPLICA_HEADER]
    return response


def _log_refusal(reason: str) -> None:
    logger.warning("a request was refused: %s", reason)
