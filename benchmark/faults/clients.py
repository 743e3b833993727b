"""Clients of a server with injected faults. Requests are never retried."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from benchmark.http.client import CHAT_PATH, encode_stream
from benchmark.soak.requests import SoakRequests

_LOOKED_AGAIN_S = 0.02
# Tokens of a request that runs for a while.
LONG_ANSWER = 200
_IDLE = (
    "lamm:num_requests_running", "lamm:num_requests_waiting", "lamm:kv_cache_usage_perc",
    "lamm:num_requests_preparing_media",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Reply:
    """The end of one request: a status, or status 0 for a broken connection.

    `text` is the answer, the message of an error response, or the name of the connection error.
    """

    number: int
    status: int
    text: str
    seconds: float
    tokens: int = 0
    finish_reason: str | None = None
    retry_after: str | None = None

    @property
    def answered(self) -> bool:
        """Whether the answer is complete."""
        return self.status == httpx.codes.OK and self.finish_reason is not None


class Clients:
    """Clients of one server; request number n is always the same, with its own medium."""

    def __init__(self, http: httpx.AsyncClient, requests: SoakRequests) -> None:
        self._http, self._requests = http, requests
        self._next = 0

    def numbers(self, count: int) -> range:
        """Numbers of new requests."""
        first, self._next = self._next, self._next + count
        return range(first, self._next)

    async def ask(self, number: int, **more: Any) -> Reply:
        """Sends one request without streaming."""
        started = time.perf_counter()
        try:
            body = {**self._requests[number].body, **more}
            response = await self._http.post(CHAT_PATH, json=body)
            value = response.json()
        except (httpx.TransportError, ValueError) as error:
            return Reply(number, 0, type(error).__name__, time.perf_counter() - started)
        seconds, after = time.perf_counter() - started, response.headers.get("retry-after")
        if not response.is_success:
            message = str(value["error"]["message"])
            return Reply(number, response.status_code, message, seconds, retry_after=after)
        choice, tokens = value["choices"][0], int(value["usage"]["completion_tokens"])
        text, reason = str(choice["message"]["content"] or ""), choice["finish_reason"]
        return Reply(number, response.status_code, text, seconds, tokens, reason)

    async def ask_all(self, numbers: Iterable[int], **more: Any) -> list[Reply]:
        """Sends requests concurrently."""
        return list(await asyncio.gather(*(self.ask(number, **more) for number in numbers)))

    @contextlib.asynccontextmanager
    async def streaming(self, number: int, **more: Any) -> AsyncIterator[httpx.Response]:
        """A stream after its headers; leaving the context closes the connection."""
        content = encode_stream({**self._requests[number].body, **more})
        headers = {"Content-Type": "application/json"}
        async with self._http.stream("POST", CHAT_PATH, content=content, headers=headers) as answer:
            yield answer

    async def wrong(self, replies: Sequence[Reply], **more: Any) -> int:
        """Number of complete answers that differ from the answer to the same request alone."""
        count = 0
        for reply in replies:
            if reply.answered:
                alone = await self.ask(reply.number, **more)
                count += (alone.text, alone.tokens) != (reply.text, reply.tokens)
        return count

    async def status(self, path: str) -> tuple[int, dict[str, Any]]:
        """Status and body of a probe; status 0 without an answer."""
        try:
            response = await self._http.get(path)
            body: dict[str, Any] = response.json()
        except (httpx.TransportError, ValueError):
            return 0, {}
        return response.status_code, body

    async def until(self, path: str, code: int, **fields: Any) -> float:
        """Seconds until a probe answers with that HTTP status and these fields."""
        started = time.perf_counter()
        while True:
            found, body = await self.status(path)
            if found == code and all(body.get(name) == value for name, value in fields.items()):
                return time.perf_counter() - started
            await asyncio.sleep(_LOOKED_AGAIN_S)

    async def busy(self) -> dict[str, float]:
        """The load gauges above zero."""
        response = await self._http.get("/metrics")
        gauges = dict.fromkeys(_IDLE, 0.0)
        for line in response.text.splitlines():
            name, _, rest = line.partition("{")
            if name in _IDLE:
                gauges[name] += float(rest.rsplit(" ", 1)[1])
        return {name: value for name, value in gauges.items() if value > 0}

    async def until_idle(self) -> float:
        """Seconds until all load gauges are zero."""
        started = time.perf_counter()
        while await self.busy():  # noqa: ASYNC110 - no event to wait for
            await asyncio.sleep(_LOOKED_AGAIN_S)
        return time.perf_counter() - started

    @property
    def http(self) -> httpx.AsyncClient:
        """The HTTP client."""
        return self._http


async def read_rest(events: AsyncIterator[str]) -> tuple[str, str | None]:
    """The end of a stream: `done`, `error` (an error event), `cut` or `hung`; and its reason."""
    reason: str | None = None
    try:
        async for line in events:
            if not line.startswith("data: "):
                continue
            if line == "data: [DONE]":
                return "done", reason
            value = json.loads(line.removeprefix("data: "))
            if "error" in value:
                return "error", str(value["error"].get("code"))
            for choice in value.get("choices", ()):
                reason = choice.get("finish_reason") or reason
    except httpx.TimeoutException:
        return "hung", None
    except httpx.TransportError as error:
        return "cut", type(error).__name__
    return "cut", "end of the stream"


def told(replies: Sequence[Reply]) -> str:
    """Counts by status: `7 x 200, 1 x 500`."""
    counts = Counter(str(reply.status) if reply.status else reply.text for reply in replies)
    return ", ".join(f"{count} x {status}" for status, count in sorted(counts.items()))
