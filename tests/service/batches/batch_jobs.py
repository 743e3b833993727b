"""An app with its batches open, and what the tests of batches send and read."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any, Final

import httpx
from fastapi import FastAPI

from service.config.settings import Settings
from tests.service.chat_requests import chat_body
from tests.service.quick_app import quick_app

URL = "/v1/batches"
CHAT: Final = "/v1/chat/completions"
WORDS = ("A", "A red", "A red chair", "A red chair with", "A red chair with four")
ENDED = ("completed", "failed", "expired", "cancelled")


def request_line(number: int, url: str = CHAT, **more: Any) -> dict[str, Any]:
    """Line `number` of a batch: the echo engine's answer to it is `answer_to(number)`."""
    body = chat_body(text=f"Question {number}?", max_tokens=1 + number % len(WORDS), **more)
    return {"custom_id": f"line-{number}", "method": "POST", "url": url, "body": body}


def answer_to(number: int) -> str:
    """What the echo engine says to `request_line(number)`."""
    return WORDS[number % len(WORDS)]


def jsonl(lines: Iterable[dict[str, Any] | str]) -> bytes:
    """A batch's input file; what is text already stands there as it is."""
    texts = (line if isinstance(line, str) else json.dumps(line) for line in lines)
    return "".join(f"{text}\n" for text in texts).encode()


def answers(content: bytes) -> dict[str, str]:
    """Custom id -> text of a chat answer, of an output file in which each stands once."""
    lines = [json.loads(line) for line in content.decode().splitlines()]
    found = {
        line["custom_id"]: line["response"]["body"]["choices"][0]["message"]["content"]
        for line in lines
    }
    assert len(found) == len(lines), "a line was answered twice"
    return found


@contextlib.asynccontextmanager
async def batch_app(
    settings: Settings, root: Path, **changes: Any
) -> AsyncIterator[tuple[FastAPI, httpx.AsyncClient]]:
    """An app whose files and batches lie under `root`; `changes` as of `quick_app`."""
    async with quick_app(settings, files_dir=root, **changes) as (app, client):
        services = app.state.services
        await services.files.start()
        await services.batches.start(app)
        try:
            yield app, client
        finally:
            await services.batches.stop()
            await services.files.stop()


async def upload(client: httpx.AsyncClient, content: bytes, **headers: str) -> str:
    """The id of a stored input file."""
    files: Any = {"file": ("in.jsonl", content), "purpose": (None, "batch")}
    response = await client.post("/v1/files", files=files, headers=headers)
    assert response.status_code == 200, response.text
    return str(response.json()["id"])


async def start(
    client: httpx.AsyncClient, content: bytes, endpoint: str = CHAT, window: str = "24h"
) -> str:
    """The id of a batch of these lines."""
    body = {
        "input_file_id": await upload(client, content),
        "endpoint": endpoint,
        "completion_window": window,
    }
    response = await client.post(URL, json=body)
    assert response.status_code == 200, response.text
    assert response.json()["status"] == "validating"
    return str(response.json()["id"])


async def until(client: httpx.AsyncClient, batch_id: str, *statuses: str) -> dict[str, Any]:
    """The batch, once its status is one of these (or any end)."""
    async with asyncio.timeout(60):
        while True:
            found: dict[str, Any] = (await client.get(f"{URL}/{batch_id}")).json()
            if found["status"] in (statuses or ENDED):
                return found
            assert found["status"] not in ENDED, found
            await asyncio.sleep(0.05)


async def until_answered(client: httpx.AsyncClient, batch_id: str) -> None:
    """Returns once any line is answered."""
    async with asyncio.timeout(30):
        found = await until(client, batch_id, "in_progress", "completed")
        while not found["request_counts"]["completed"]:
            await asyncio.sleep(0.02)
            found = (await client.get(f"{URL}/{batch_id}")).json()


async def content_of(client: httpx.AsyncClient, file_id: str) -> bytes:
    """A stored file's bytes."""
    response = await client.get(f"/v1/files/{file_id}/content")
    assert response.status_code == 200
    return response.content
