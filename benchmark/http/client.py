"""An asynchronous client of any OpenAI-compatible chat server, with timestamps for load tests.

Called by `quality` (whole answers, retried) and `load` (streams, timed, never retried). What comes
back stands in `client_answers`.
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
    """`attempts` tries in all; waits double from `base_delay` to `max_delay` seconds, with jitter.

    A `Retry-After` of the server takes the place of the computed wait, up to `max_retry_after`
    seconds: a server that names an hour is tried sooner, and given up sooner.
    """

    attempts: int = 6
    base_delay: float = 0.5
    max_delay: float = 20.0
    max_retry_after: float = 60.0

    def wait(self, attempt: int, told: float | None) -> float:
        """Seconds to wait after attempt `attempt` (from 0), where the server `told` so many.

        Never less than it told, and up to a quarter more: what was refused together must not come
        back together.
        """
        if told is not None:
            return min(told, self.max_retry_after) * random.uniform(1.0, 1.25)
        return min(self.max_delay, self.base_delay * (1 << attempt)) * random.uniform(0.5, 1.0)


class ChatClient:
    """At most `max_concurrency` requests of this client are in flight at once."""

    def __init__(
        self, http: httpx.AsyncClient, max_concurrency: int, retry: RetryPolicy | None = None
    ) -> None:
        self._http = http
        self._retry = retry or RetryPolicy()
        self._slots = asyncio.Semaphore(max_concurrency)
        self._urls: dict[str, httpx.URL] = {}

    async def first_model(self) -> str:
        """Id of the first model that the server lists.

        Raises:
            RequestFailedError: no answer, or none in the shape of a model list.
        """
        response = await self._retried("GET", "/v1/models", None)
        try:
            return str(response.json()["data"][0]["id"])
        except (ValueError, LookupError, TypeError):
            raise RequestFailedError(f"/v1/models names no model: {response.text[:200]}") from None

    async def is_there(self) -> bool:
        """Whether the server answers at `/v1/models`, whatever it says; asked once."""
        try:
            await self._http.get(self._url("/v1/models"))
        except httpx.TransportError:
            return False
        except httpx.DecodingError:
            return True  # its body cannot be read, which is an answer all the same
        return True

    async def complete(self, body: Mapping[str, Any] | bytes) -> ChatResult:
        """A whole answer; retried on refusals and lost connections.

        Args:
            body: the request, or the request as JSON already; it asks for no stream.

        Raises:
            ServerGoneError: no connection after every attempt.
            RequestFailedError: refused for good, or not a chat completion.
        """
        content = body if isinstance(body, bytes) else json.dumps({**body, "stream": False})
        response = await self.post(CHAT_PATH, content)
        return read_completion(response.content)

    async def get(self, path: str) -> httpx.Response:
        """A successful answer to a question without a body; retried as `complete` is.

        Raises:
            ServerGoneError, RequestFailedError: as `complete`.
        """
        return await self._retried("GET", path, None)

    async def post(self, path: str, content: bytes | str) -> httpx.Response:
        """The answer to a JSON body, retried as the policy says, when a slot is free.

        Raises:
            ServerGoneError: no connection after every attempt.
            RequestFailedError: refused for good, or out of retries.
        """
        async with self._slots:
            return await self._retried("POST", path, content)

    async def stream(self, content: bytes) -> StreamRecord:
        """One timed stream of an `encode_stream` body; no retries, no errors raised."""
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
                    f"no answer from {where}: {type(error).__name__}; is the server running, and "
                    "is --url its address?"
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
        """The whole address: httpx would parse it anew for every request."""
        if path not in self._urls:
            self._urls[path] = httpx.URL(f"{str(self._http.base_url).rstrip('/')}{path}")
        return self._urls[path]


def encode_stream(body: Mapping[str, Any]) -> bytes:
    """A streaming request's body; encoded ahead, so that no request's time includes it."""
    options = {"stream": True, "stream_options": {"include_usage": True}}
    return json.dumps({**body, **options}).encode()


def server_root(url: str) -> str:
    """The server's address without a trailing `/v1`, which the client adds itself."""
    return url.rstrip("/").removesuffix("/v1")


def shown(url: str) -> str:
    """An address for files and people, without the password that may stand in it."""
    return re.sub(r"(?<=://)[^/?#]*@", "", url)


def retry_after(value: str | None, now: datetime) -> float | None:
    """Seconds of a `Retry-After` header in either form (RFC 9110, 10.2.3); None if unusable."""
    if value is None:
        return None
    if value.strip().isdigit():
        return float(value)
    try:
        return max(0.0, (parsedate_to_datetime(value) - now).total_seconds())
    except (ValueError, TypeError):
        return None


_JSON = {"Content-Type": "application/json"}
# What another kind of server says to a path that it does not have.
_WHERE = frozenset({404, 405})
_UNDECODABLE = "the answer's body cannot be decompressed"


def _may_retry(response: httpx.Response) -> bool:
    if response.headers.get("x-should-retry") == "false":
        return False
    return response.status_code in RETRIED_STATUSES
