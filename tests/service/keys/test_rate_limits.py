"""A key's own limits, and how long a request may wait."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from service.config.settings import Settings
from service.exceptions import RateLimitedError
from service.keys.api_keys import ApiKey, KeyLimits, Role
from service.keys.rate_limit import KeyAccount, KeyAccounts, LeakyBucket
from tests.service.chat_requests import REPLY, chat_body
from tests.service.local import BASE_URL
from tests.service.quick_app import bearer, quick_app, until_engine

URL = "/v1/chat/completions"
WORDS = len(REPLY.split())


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def key(max_concurrent: int | None = None, tokens_per_minute: int | None = None) -> ApiKey:
    return ApiKey("alice", Role.USER, b"digest", KeyLimits(max_concurrent, tokens_per_minute))


def test_a_bucket_leaks_evenly() -> None:
    clock = Clock()
    bucket = LeakyBucket(600, clock)
    bucket.add(600)
    assert bucket.seconds_until_room(1) == pytest.approx(0.1)
    clock.now = 30
    assert bucket.level == pytest.approx(300)
    assert bucket.seconds_until_room(300) == 0
    assert bucket.seconds_until_room(301) == pytest.approx(0.1)
    assert bucket.seconds_until_room(10_000) == pytest.approx(30), "more than it holds: when empty"
    clock.now = 1000
    assert bucket.level == 0
    bucket.add(-5)
    assert bucket.level == 0


def test_tokens_are_reserved_and_settled() -> None:
    clock = Clock()
    account = KeyAccount(key(tokens_per_minute=600), clock)
    account.reserve(500)
    with pytest.raises(RateLimitedError, match="uses 500 of its 600 tokens per minute") as caught:
        account.reserve(200)
    assert caught.value.retry_after_s == 10
    account.settle(500, 100)
    account.reserve(200)
    account.settle(200, 200)
    clock.now = 60
    account.reserve(6000)  # larger than the allowance, but nothing of it is in use
    with pytest.raises(RateLimitedError, match="retry in 541 s"):
        account.reserve(1)


def test_requests_at_once_are_counted() -> None:
    account = KeyAccount(key(max_concurrent=2))
    with (
        account.running(),
        account.running(),
        pytest.raises(RateLimitedError, match="'alice' has 2 running requests; its limit is 2"),
    ):
        account.running().__enter__()
    with account.running():
        pass


def test_limits_are_renewed_and_what_was_used_stays_used() -> None:
    clock = Clock()
    accounts = KeyAccounts(clock)
    accounts.of(key(tokens_per_minute=100)).reserve(90)
    with pytest.raises(RateLimitedError):
        accounts.of(key(tokens_per_minute=100)).reserve(20)
    accounts.of(key(tokens_per_minute=200)).reserve(20)
    with pytest.raises(RateLimitedError, match="uses 110 of its 120"):
        accounts.of(key(tokens_per_minute=120)).reserve(20)
    accounts.of(key()).reserve(10_000)


async def test_a_key_s_requests_at_once(settings: Settings, tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text("k-alice user alice max_concurrent=1\nk-bob user bob\n")
    async with quick_app(settings, delay=0.05, api_keys_file=path) as (app, client):

        async def ask(who: str, **more: Any) -> httpx.Response:
            return await client.post(URL, json=chat_body(**more), headers=bearer(f"k-{who}"))

        stream = asyncio.create_task(ask("alice", stream=True, ignore_eos=True, max_tokens=30))
        await until_engine(app, running=1)
        refused, other = await asyncio.gather(ask("alice"), ask("bob"))
        assert refused.status_code == 429
        assert refused.headers["retry-after"] == "1"
        error = refused.json()["error"]
        assert (error["type"], error["code"]) == ("rate_limit_error", "rate_limit_exceeded")
        assert "its limit is 1" in error["message"]
        assert other.status_code == 200
        models = await client.get("/v1/models", headers=bearer("k-alice"))
        assert models.status_code == 200, "only what the engine works for counts"
        assert (await stream).text.endswith("data: [DONE]\n\n")
        assert (await ask("alice")).status_code == 200
        metrics = (await client.get("/metrics")).text
        assert 'reason="key_concurrency"' in metrics


async def test_a_key_s_tokens_a_minute(settings: Settings) -> None:
    async with quick_app(settings, api_keys="k-one,k-two", key_tokens_per_minute=150) as (
        _,
        client,
    ):

        async def ask(who: str) -> httpx.Response:
            return await client.post(URL, json=chat_body(max_tokens=60), headers=bearer(f"k-{who}"))

        first = await ask("one")
        assert first.status_code == 200
        used = first.json()["usage"]["total_tokens"]
        assert used < 60, "much less than was reserved"
        assert (await ask("one")).status_code == 200, "what was not used was given back"
        while (answer := await ask("one")).status_code == 200:
            used += answer.json()["usage"]["total_tokens"]
            assert used < 300
        assert answer.status_code == 429
        assert 1 <= int(answer.headers["retry-after"]) <= 60
        assert "of its 150 tokens per minute" in answer.json()["error"]["message"]
        assert (await ask("two")).status_code == 200, "a key's limit is its own"
        assert 'reason="key_tokens"' in (await client.get("/metrics")).text


async def test_a_request_that_waits_too_long_is_given_up(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    async with quick_app(
        settings, delay=0.15, max_num_seqs=1, max_num_batched_tokens=8, queue_timeout_s=0.6,
        keepalive_s=0.1,
    ) as (app, client):  # fmt: skip
        long = chat_body(ignore_eos=True, max_tokens=2 * WORDS)
        first = asyncio.create_task(client.post(URL, json=long))
        await until_engine(app, running=1)
        whole, stream = await asyncio.gather(
            client.post(URL, json=chat_body()), client.post(URL, json=chat_body(stream=True))
        )
        assert whole.status_code == 503
        assert whole.headers["retry-after"] == "1"
        assert whole.json()["error"]["code"] == "queue_timeout"
        assert "the limit of 0.6 s" in whole.json()["error"]["message"]
        # Its headers went with the first keep-alive comment: the error is an event.
        assert stream.status_code == 200
        *_, last, done, _ = stream.text.split("\n\n")
        assert json.loads(last.removeprefix("data: "))["error"]["code"] == "queue_timeout"
        assert done == "data: [DONE]"
        assert ": keep-alive" in stream.text
        answer = (await first).json()
        assert answer["usage"]["completion_tokens"] == 2 * WORDS, "it runs, however long"
        assert app.state.services.engines[0].engine.stats().waiting == 0
        counted = 'reason="queue_timeout"} 2.0'
        assert counted in (await client.get("/metrics")).text, "the stream's too"
        assert "a stream was refused after its headers" in caplog.text
        assert "Traceback" not in caplog.text


async def test_the_openai_sdk_waits_and_asks_again(settings: Settings) -> None:
    async with quick_app(settings, delay=0.1, api_keys="k-one", key_max_concurrent=1) as (
        app,
        client,
    ):
        first = asyncio.create_task(
            client.post(URL, json=chat_body(ignore_eos=True), headers=bearer("k-one"))
        )
        await until_engine(app, running=1)
        messages = chat_body()["messages"]

        async def ask(retries: int) -> str | None:
            sdk = openai.AsyncOpenAI(
                base_url=f"{BASE_URL}/v1",
                api_key="k-one",
                http_client=client,  # type: ignore[arg-type] # of httpx2 in its types
                max_retries=retries,
            )
            answer = await sdk.chat.completions.create(model="tiny-lamm", messages=messages)
            return answer.choices[0].message.content

        with pytest.raises(openai.RateLimitError, match="its limit is 1"):
            await ask(0)
        retrying = asyncio.create_task(ask(5))
        await asyncio.sleep(0.2)
        first.cancel()
        assert await retrying == REPLY
