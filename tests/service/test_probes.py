"""What probes and small requests wait for under load: the event loop, and nothing else."""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import anyio.to_thread
import httpx
import pytest

from service.schemas.openai import ChatCompletionRequest
from service.startup.interpreter import settle_interpreter
from tests.service.chat_requests import chat_body, image, png

URL = "/v1/chat/completions"
JSON = {"Content-Type": "application/json"}
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture
def no_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    """The framework's pool of threads, to which it hands plain functions, takes nothing."""

    async def refuse(function: Any, *_args: Any, **_options: Any) -> None:
        raise AssertionError(f"{function} waits for a thread")

    monkeypatch.setattr(anyio.to_thread, "run_sync", refuse)


@pytest.mark.parametrize(
    "path", ["/livez", "/readyz", "/health", "/metrics", "/version", "/v1/models", "/v1/files"]
)
async def test_reading_waits_for_no_thread(
    client: httpx.AsyncClient, no_pool: None, path: str
) -> None:
    answer = await client.get(path)
    assert answer.status_code == 200, answer.text


async def test_a_request_s_needs_wait_for_no_thread(
    client: httpx.AsyncClient, no_pool: None
) -> None:
    assert (await client.post(URL, json=chat_body(image()))).status_code == 200


async def test_large_bodies_are_parsed_one_at_a_time(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A parser holds the interpreter's lock: two of them would leave the event loop out."""
    busy, most, lock = 0, 0, threading.Lock()
    parse = ChatCompletionRequest.model_validate_json

    def counted(body: bytes) -> ChatCompletionRequest:
        nonlocal busy, most
        with lock:
            busy += 1
            most = max(most, busy)
        time.sleep(0.03)
        with lock:
            busy -= 1
        return parse(body)

    monkeypatch.setattr(ChatCompletionRequest, "model_validate_json", counted)
    content = json.dumps(chat_body(image(png() + bytes(100_000)))).encode()
    answers = await asyncio.gather(
        *(client.post(URL, content=content, headers=JSON) for _ in range(4))
    )
    assert [answer.status_code for answer in answers] == [200] * 4
    assert most == 1


@pytest.fixture
def interpreter() -> Iterator[None]:
    """Gives this process its own settings back."""
    interval = sys.getswitchinterval()
    yield
    sys.setswitchinterval(interval)
    gc.unfreeze()


async def test_what_was_loaded_is_left_out_of_collections(interpreter: None) -> None:
    settle_interpreter()
    assert gc.get_freeze_count() > 10_000
    assert sys.getswitchinterval() == pytest.approx(0.001)
