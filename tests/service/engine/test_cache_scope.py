"""Callers with different keys learn nothing from what the others have cached."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.app import create_app
from service.config.settings import Settings
from tests.service.chat_requests import chat_body, image, png
from tests.service.quick_app import bearer

KEYS = "owner-key,guesser-key"
NAMES = ("Ada", "Bo", "Cyd", "Dee", "Eve", "Flo", "Gus", "Hal")
SECRETS = ("Cyd", "Ada", "Hal", "Eve", "Bo")


@contextlib.asynccontextmanager
async def served(checkpoint: Path, **changes: Any) -> AsyncIterator[httpx.AsyncClient]:
    values: dict[str, Any] = {
        "checkpoint": (f"tiny-lamm={checkpoint}",), "device": "cpu", "media_workers": 1,
        "kv_cache_bytes": 4 << 20, "max_num_seqs": 4,
    }  # fmt: skip
    settings = Settings(**values | changes)
    app = create_app(settings)
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=60) as client,
    ):
        await app.state.services.lifecycle.wait_loaded()
        assert app.state.services.lifecycle.failure is None
        yield client


async def cached(client: httpx.AsyncClient, key: str, path: str, text: str) -> int:
    """How many of the prompt's tokens the service says were cached."""
    if path == "/v1/completions":
        body = {"model": "tiny-lamm", "prompt": text}
    else:
        body = chat_body(text=text)
    answer = await client.post(path, json={**body, "max_tokens": 1}, headers=bearer(key))
    assert answer.status_code == 200, answer.text
    return int(answer.json()["usage"]["prompt_tokens_details"]["cached_tokens"])


def letter(number: int, name: str) -> str:
    return f"Letter {number}. Dear {name}, your card is lost. Please come to the desk at nine."


async def recovered(client: httpx.AsyncClient, path: str) -> int:
    """How many of the owner's names the other key finds: its only guess with the most hits."""
    found = 0
    for number, secret in enumerate(SECRETS):
        assert await cached(client, "owner-key", path, letter(number, secret)) < 16 * 3
        hits = {
            name: await cached(client, "guesser-key", path, letter(number, name)) for name in NAMES
        }
        best = max(hits.values())
        found += [name for name in NAMES if hits[name] == best] == [secret]
        assert await cached(client, "owner-key", path, letter(number, secret)) >= 16
    return found


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
async def test_no_key_finds_another_key_s_prompt(checkpoint: Path, path: str) -> None:
    async with served(checkpoint, api_keys=KEYS) as client:
        assert await recovered(client, path) == 0


async def test_keys_share_their_prompts_if_the_operator_says_so(checkpoint: Path) -> None:
    async with served(checkpoint, api_keys=KEYS, cache_scope="all") as client:
        assert await recovered(client, "/v1/chat/completions") == len(SECRETS)


async def test_no_key_finds_another_key_s_picture(checkpoint: Path) -> None:
    """`Server-Timing` tells by its times of decoding and encoding what was cached."""
    decoded: list[str | None] = []
    body = {**chat_body(image(png(9, 9))), "max_tokens": 1}

    async def send(client: httpx.AsyncClient, key: str) -> tuple[int, float]:
        answer = await client.post("/v1/chat/completions", json=body, headers=bearer(key))
        assert answer.status_code == 200, answer.text
        assert "encode;dur=" in answer.headers["server-timing"]
        found = re.search(
            r"^lamm:mm_cache_hits_total\S* ([\d.e+]+)$", (await client.get("/metrics")).text, re.M
        )
        assert found is not None
        return len(decoded), float(found[1])

    async with served(checkpoint, api_keys=KEYS, enable_prefix_caching=False) as client:
        pool = client._transport.app.state.services.models.get("tiny-lamm").processor.media.pool  # type: ignore[attr-defined]
        ask = pool.decoders.ask

        async def counted(*arguments: Any) -> Any:
            decoded.append(None)
            return await ask(*arguments)

        pool.decoders.ask = counted
        assert await send(client, "owner-key") == (1, 0.0)
        assert await send(client, "guesser-key") == (2, 0.0)
        assert await send(client, "owner-key") == (2, 1.0)


async def test_a_batch_shares_with_its_key_alone(checkpoint: Path) -> None:
    """Its lines find what their key has cached, and nothing of another key's."""
    text = letter(1, "Ada")
    body = {**chat_body(text=text), "max_tokens": 1}
    line = json.dumps(
        {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": body}
    )

    async def batched(client: httpx.AsyncClient, key: str) -> int:
        file = await client.post(
            "/v1/files", files={"file": ("in.jsonl", line)}, data={"purpose": "batch"},
            headers=bearer(key),
        )  # fmt: skip
        wanted = {
            "input_file_id": file.json()["id"], "endpoint": "/v1/chat/completions",
            "completion_window": "24h",
        }  # fmt: skip
        batch = (await client.post("/v1/batches", json=wanted, headers=bearer(key))).json()
        while batch["status"] not in ("completed", "failed"):
            batch = (await client.get(f"/v1/batches/{batch['id']}", headers=bearer(key))).json()
        output = await client.get(
            f"/v1/files/{batch['output_file_id']}/content", headers=bearer(key)
        )
        usage = json.loads(output.text)["response"]["body"]["usage"]
        return int(usage["prompt_tokens_details"]["cached_tokens"])

    async with served(checkpoint, api_keys=KEYS) as client:
        await cached(client, "owner-key", "/v1/chat/completions", text)
        assert await batched(client, "guesser-key") == 0
        assert await batched(client, "owner-key") >= 16


def test_callers_that_cannot_be_told_apart_stop_the_start(checkpoint: Path) -> None:
    with pytest.raises(ValueError, match="--cache-scope key needs API keys"):
        create_app(Settings(checkpoint=(str(checkpoint),), engine="echo", cache_scope="key"))
