"""OpenAI's files and batches over HTTP, as far as a benchmark needs them. For `batch_asker`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from benchmark.errors import RequestFailedError, ServerGoneError
from benchmark.http.client import ChatClient

ENDED = frozenset({"completed", "failed", "expired", "cancelled"})
# The key of a batch's metadata that says which run made it.
RUN_KEY = "lamm_bench_run"
_PAGE = 100
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.2, 5.0
# A batch outlives its server: one that is started anew within so long goes on with it.
_PATIENCE_S = 120.0


@dataclass(frozen=True, slots=True)
class RemoteBatch:
    """A batch as the server tells of it."""

    id: str
    status: str
    total: int
    ended: int
    file_ids: tuple[str, ...]
    problem: str | None

    @property
    def is_over(self) -> bool:
        """Whether nothing more will come of it."""
        return self.status in ENDED


class BatchClient:
    """One server's batches."""

    def __init__(
        self, http: httpx.AsyncClient, client: ChatClient, patience_s: float = _PATIENCE_S
    ) -> None:
        """Args:
        http: for what is sent and read in parts.
        client: for everything else: it retries.
        patience_s: how long a server may be away while a batch is waited for.
        """
        self._http, self._client, self._patience_s = http, client, patience_s

    async def submit(self, path: Path, endpoint: str, window: str, run: str) -> RemoteBatch:
        """Uploads an input file and has a batch made of it.

        Raises:
            ServerGoneError: no connection.
            RequestFailedError: the server refuses it, or knows no batches.
        """
        with path.open("rb") as content:
            try:
                stored = await self._http.post(
                    "/v1/files",
                    data={"purpose": "batch"},
                    files={"file": ("batch.jsonl", content, "application/jsonl")},
                )
            except httpx.TransportError as error:
                raise ServerGoneError(f"the upload failed: {type(error).__name__}") from None
        if not stored.is_success:
            raise RequestFailedError(
                f"the input file is refused: HTTP {stored.status_code}: {stored.text[:300]}",
                stored.status_code,
            )
        body = {
            "input_file_id": _object(stored)["id"],
            "endpoint": endpoint,
            "completion_window": window,
            "metadata": {RUN_KEY: run},
        }
        response = await self._client.post("/v1/batches", json.dumps(body))
        return _batch(_object(response))

    async def of_run(self, run: str) -> list[RemoteBatch]:
        """The batches that a run has made here, oldest first.

        Raises:
            ServerGoneError, RequestFailedError: as `submit`.
        """
        found: list[RemoteBatch] = []
        after = ""
        while True:
            response = await self._client.get(f"/v1/batches?limit={_PAGE}{after}")
            page = _object(response)
            for one in page.get("data", ()):
                if (one.get("metadata") or {}).get(RUN_KEY) == run:
                    found.append(_batch(one))
            if not page.get("has_more") or not page.get("data"):
                return found[::-1]
            after = f"&after={page['data'][-1]['id']}"

    async def wait(
        self, batch: RemoteBatch, on_progress: Callable[[RemoteBatch], None]
    ) -> RemoteBatch:
        """The batch once it is over; `on_progress` is told how far it is.

        Raises:
            ServerGoneError: the server was away for longer than patience lasts.
            RequestFailedError: it does not know the batch.
        """
        wait_s, loop = _FIRST_WAIT_S, asyncio.get_running_loop()
        seen_at = loop.time()
        while not batch.is_over:
            await asyncio.sleep(wait_s)
            wait_s = min(_LONGEST_WAIT_S, 1.5 * wait_s)
            try:
                batch = _batch(_object(await self._client.get(f"/v1/batches/{batch.id}")))
            except RequestFailedError as error:
                away = isinstance(error, ServerGoneError) or error.status == 503
                if not away or loop.time() - seen_at > self._patience_s:
                    raise
                continue
            seen_at = loop.time()
            on_progress(batch)
        return batch

    async def lines(self, batch: RemoteBatch) -> AsyncIterator[dict[str, Any]]:
        """Each line of the batch's output and error files.

        Raises:
            ServerGoneError: the connection was lost.
            RequestFailedError: a file is gone, or has other lines.
        """
        for file_id in batch.file_ids:
            path = f"/v1/files/{file_id}/content"
            try:
                async with self._http.stream("GET", path) as response:
                    if not response.is_success:
                        raise RequestFailedError(
                            f"GET {path}: HTTP {response.status_code}", response.status_code
                        )
                    async for line in _lines(response.aiter_bytes()):
                        yield _line(line.decode("utf8", "replace"))
            except httpx.TransportError as error:
                raise ServerGoneError(f"GET {path}: {type(error).__name__}") from None


async def _lines(parts: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Lines that end with a line feed alone: an answer may hold U+2028 and its like as they are."""
    rest = bytearray()
    async for part in parts:
        *ended, begun = part.split(b"\n")
        for end in ended:
            yield bytes(rest + end)
            rest.clear()
        rest += begun
    if rest:
        yield bytes(rest)


def _line(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise RequestFailedError(f"not a JSON object: {text[:200]}")
    return value


def _object(response: httpx.Response) -> dict[str, Any]:
    return _line(response.text)


def _batch(value: dict[str, Any]) -> RemoteBatch:
    counts = value.get("request_counts") or {}
    problems = (value.get("errors") or {}).get("data") or []
    files = (value.get("output_file_id"), value.get("error_file_id"))
    try:
        return RemoteBatch(
            id=str(value["id"]),
            status=str(value["status"]),
            total=int(counts.get("total") or 0),
            ended=int(counts.get("completed") or 0) + int(counts.get("failed") or 0),
            file_ids=tuple(str(file) for file in files if file),
            problem=_shown(problems[0]) if problems else None,
        )
    except (LookupError, TypeError, ValueError):
        raise RequestFailedError(f"not a batch: {str(value)[:200]}") from None


def _shown(problem: dict[str, Any]) -> str:
    where = f"line {problem['line']}: " if problem.get("line") else ""
    return f"{where}{problem.get('message')}"
