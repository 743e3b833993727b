"""An asynchronous client of any OpenAI-compatible chat server.

Whole answers are retried; streams are timed and never retried.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Any

import httpx

from benchmark.errors import RequestFailedError, ServerGoneError
from benchmark.http.chat_answers import (
    ChatResult,
    StreamRecord,
    read_completion,
    read_stream,
    refusal,
)

RETRIED_STATUSES = frozenset({408, 429, 500, 502, 503, 504})
CHAT_PATH = "/v1/chat/completions"


class Backend(StrEnum):
    """API of a server: LAMM's, or the standard fields of OpenAI's chat API only."""

    LAMM = "lamm"
    OPENAI_CHAT = "openai-chat"


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """`attempts` in total; delays double from `base_delay` to `max_delay` seconds, with jitter.

    `Retry-After` replaces the computed delay, up to `max_retry_after` seconds: a server that names
    an hour is retried sooner and given up sooner.
    """

    attempts: int = 6
    base_delay: float = 0.5
    max_delay: float = 20.0
    max_retry_after: float = 60.0

    def wait(self, attempt: int, told: float | None) -> float:
        """Seconds to wait after attempt `attempt` (from 0); `told` is the server's Retry-After.

        Adds up to a quarter, so that requests refused together do not return together.
        """
        if told is not None:
            return min(told, self.max_retry_after) * random.uniform(1.0, 1.25)
        return min(self.max_delay, self.base_delay * (1 << attempt)) * random.uniform(0.5, 1.0)


class ChatClient:
    """A client with at most `max_concurrency` requests in flight."""

    def __init__(
        self, http: httpx.AsyncClient, max_concurrency: int, retry: RetryPolicy | None = None
    ) -> None:
        self._http = http
        self._retry = retry or RetryPolicy()
        self._slots = asyncio.Semaphore(max_concurrency)
        self._urls: dict[str, httpx.URL] = {}

    async def first_model(self) -> str:
        """Id of the first model in `/v1/models`.

        Raises:
            RequestFailedError: no answer, or no model in it.
        """
        response = await self._retried("GET", "/v1/models", None)
        try:
            return str(response.json()["data"][0]["id"])
        except (ValueError, LookupError, TypeError):
            raise RequestFailedError(f"/v1/models names no model: {response.text[:200]}") from None

    async def is_there(self) -> bool:
        """Whether the server answers at `/v1/models` with any status; not retried."""
        try:
            await self._http.get(self._url("/v1/models"))
        except httpx.TransportError:
            return False
        except httpx.DecodingError:
            return True  # an answer, although its body cannot be decoded
        return True

    async def complete(self, body: Mapping[str, Any] | bytes) -> ChatResult:
        """A whole answer; retried on refusals and lost connections.

        Args:
            body: the request without `stream`, as a mapping or as JSON.

        Raises:
            ServerGoneError: no connection after every attempt.
            RequestFailedError: refused permanently, or not a chat completion.
        """
        content = body if isinstance(body, bytes) else json.dumps({**body, "stream": False})
        response = await self.post(CHAT_PATH, content)
        return read_completion(response.content)

    async def get(self, path: str) -> httpx.Response:
        """A successful answer to a GET request; retried.

        Raises:
            ServerGoneError, RequestFailedError: see `complete`.
        """
        return await self._retried("GET", path, None)

    async def post(self, path: str, content: bytes | str) -> httpx.Response:
        """A successful answer to a JSON body, sent when a slot is free; retried.

        Raises:
            ServerGoneError: no connection after every attempt.
            RequestFailedError: refused permanently, or out of retries.
        """
        async with self._slots:
            return await self._retried("POST", path, content)

    async def stream(self, content: bytes) -> StreamRecord:
        """One timed stream for a body from `encode_stream`; never retried, never raises."""
        async with self._slots:
            record = StreamRecord(start=time.perf_counter())
            try:
                async with self._http.stream(
                    "POST", CHAT_PATH, content=content, headers=_JSON
                ) as response:
                    if response.status_code != httpx.codes.OK:
                        await response.aread()
                        record.error = refusal(response)
                    else:
                        await read_stream(response, record)
            except httpx.TransportError as error:
                record.error = f"connection lost: {type(error).__name__}"
            except httpx.DecodingError:
                record.error = _UNDECODABLE
            record.end = record.end or time.perf_counter()
        return record

    async def _retried(self, method: str, path: str, content: bytes | str | None) -> httpx.Response:
        failure = RequestFailedError(f"{method} {path} was never sent")
        headers = None if content is None else _JSON
        url = self._url(path)
        for attempt in range(self._retry.attempts):
            told: float | None = None
            try:
                response = await self._http.request(method, url, content=content, headers=headers)
            except httpx.TransportError as error:
                where = shown(str(url))
                failure = ServerGoneError(
                    f"no answer from {where}: {type(error).__name__}; check that the server "
                    "is running and that --url is its address"
                )
            except httpx.DecodingError:
                raise RequestFailedError(f"{method} {path}: {_UNDECODABLE}") from None
            else:
                if response.is_success:
                    return response
                where = f" ({method} {shown(str(url))})" if response.status_code in _WHERE else ""
                failure = RequestFailedError(refusal(response) + where, response.status_code)
                if not _may_retry(response):
                    raise failure
                told = retry_after(response.headers.get("retry-after"), datetime.now(UTC))
            if attempt + 1 < self._retry.attempts:
                await asyncio.sleep(self._retry.wait(attempt, told))
        raise failure

    def _url(self, path: str) -> httpx.URL:
        """The parsed URL, kept because httpx would parse it for every request."""
        if path not in self._urls:
            self._urls[path] = httpx.URL(f"{str(self._http.base_url).rstrip('/')}{path}")
        return self._urls[path]


def encode_stream(body: Mapping[str, Any]) -> bytes:
    """The body of a streaming request, encoded in advance to keep it out of the measured time."""
    options = {"stream": True, "stream_options": {"include_usage": True}}
    return json.dumps({**body, **options}).encode()


def server_root(url: str) -> str:
    """The server's address without a trailing `/v1`, which the client adds."""
    return url.rstrip("/").removesuffix("/v1")


def shown(url: str) -> str:
    """A URL without user name and password, for output."""
    return re.sub(r"(?<=://)[^/?#]*@", "", url)


def retry_after(value: str | None, now: datetime) -> float | None:
    """Seconds in a `Retry-After` header of either form (RFC 9110, 10.2.3); None if invalid."""
    if value is None:
        return None
    if value.strip().isdigit():
        return float(value)
    try:
        return max(0.0, (parsedate_to_datetime(value) - now).total_seconds())
    except (ValueError, TypeError):
        return None


_JSON = {"Content-Type": "application/json"}
# Statuses of a path that the server does not have: its URL is added to the message.
_WHERE = frozenset({404, 405})
_UNDECODABLE = "the body of the answer cannot be decompressed"


def _may_retry(response: httpx.Response) -> bool:
    if response.headers.get("x-should-retry") == "false":
        return False
    return response.status_code in RETRIED_STATUSES
