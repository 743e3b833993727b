"""The parts of OpenAI's files and batches API that a benchmark needs."""

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
# Metadata key of a batch with the id of its run.
RUN_KEY = "lamm_bench_run"
_PAGE = 100
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.2, 5.0
# A restarted server continues its batches; a longer outage ends the run.
_PATIENCE_S = 120.0


@dataclass(frozen=True, slots=True)
class RemoteBatch:
    """The state of a batch on the server."""

    id: str
    status: str
    total: int
    ended: int
    file_ids: tuple[str, ...]
    problem: str | None

    @property
    def is_over(self) -> bool:
        """Whether the batch has ended."""
        return self.status in ENDED


class BatchClient:
    """Client of the batches of one server."""

    def __init__(
        self, http: httpx.AsyncClient, client: ChatClient, patience_s: float = _PATIENCE_S
    ) -> None:
        """Args:
        http: for uploads and downloads in chunks.
        client: for all other requests, which are retried.
        patience_s: longest outage of the server while waiting for a batch.
        """
        self._http, self._client, self._patience_s = http, client, patience_s

    async def submit(self, path: Path, endpoint: str, window: str, run: str) -> RemoteBatch:
        """Uploads an input file and creates a batch from it.

        Raises:
            ServerGoneError: no connection.
            RequestFailedError: the server refuses the file or has no batches API.
        """
        with path.open("rb") as content:
            try:
                stored = await self._http.post(
                    "/v1/files",
                    data={"purpose": "batch"},
                    files={"file": ("batch.jsonl", content, "application/jsonl")},
                )
            except httpx.TransportError as error:
                raise ServerGoneError(f"upload failed: {type(error).__name__}") from None
        if not stored.is_success:
            raise RequestFailedError(
                f"upload refused: HTTP {stored.status_code}: {stored.text[:300]}",
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
        """The batches of a run, oldest first.

        Raises:
            ServerGoneError, RequestFailedError: see `submit`.
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
        """Waits for the end of a batch; calls `on_progress` with its state meanwhile.

        Raises:
            ServerGoneError: the server was unreachable for longer than `patience_s`.
            RequestFailedError: the server does not know the batch.
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
        """The lines of the output and error files of a batch.

        Raises:
            ServerGoneError: the connection was lost.
            RequestFailedError: a file is missing or has malformed lines.
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
    """Splits at line feeds only: answers may contain U+2028 and other line separators."""
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
