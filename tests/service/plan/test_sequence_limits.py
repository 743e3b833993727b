"""Requests of more answers at once than the engine's seats and its queue together."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from service.config.settings import Settings
from tests.service.batches.batch_jobs import (
    CHAT,
    batch_app,
    content_of,
    jsonl,
    request_line,
    start,
    until,
)
from tests.service.chat_requests import chat_body
from tests.service.quick_app import quick_app

SMALL: dict[str, Any] = {"max_num_seqs": 2, "max_waiting_requests": 4}


async def test_more_answers_than_ever_fit_are_the_requests_fault(settings: Settings) -> None:
    async with quick_app(settings, **SMALL) as (_, client):
        assert (await client.post(CHAT, json=chat_body(n=6))).status_code == 200
        for stream in (False, True):
            refused = await client.post(CHAT, json=chat_body(n=7, stream=stream))
            assert refused.status_code == 400
            error = refused.json()["error"]
            assert (error["type"], error["code"], error["param"]) == (
                "invalid_request_error", "too_many_sequences", "n",
            )  # fmt: skip
            assert "7 answers" in error["message"]
            assert "6 at once (2 running, 4 waiting)" in error["message"]


@pytest.mark.parametrize(
    ("more", "count", "param"),
    [
        ({"prompt": ["a", "b", "c"], "n": 2}, 6, None),
        ({"prompt": ["a", "b", "c", "d"], "n": 2}, 8, "prompt"),
        ({"prompt": [[5], [6], [7], [8], [9], [10], [11]]}, 7, "prompt"),
        ({"prompt": [5, 6, 7, 8, 9, 10, 11]}, 1, None),
        ({"prompt": "a", "n": 7}, 7, "n"),
    ],
)
async def test_completions_count_each_prompt(
    settings: Settings, more: dict[str, Any], count: int, param: str | None
) -> None:
    async with quick_app(settings, **SMALL) as (_, client):
        answer = await client.post(
            "/v1/completions", json={"model": "tiny-lamm", "max_tokens": 2, **more}
        )
        if param is None:
            assert answer.status_code == 200
            assert len(answer.json()["choices"]) == count
            return
        assert answer.status_code == 400
        error = answer.json()["error"]
        assert (error["code"], error["param"]) == ("too_many_sequences", param)
        assert f"{count} answers" in error["message"]


async def test_such_a_line_is_answered_at_once(settings: Settings, tmp_path: Path) -> None:
    async with batch_app(settings, tmp_path, **SMALL) as (_, client):
        lines = [request_line(0), request_line(1, n=8), request_line(2)]
        batch = await until(client, await start(client, jsonl(lines)))
        assert batch["request_counts"] == {"total": 3, "completed": 2, "failed": 1}
        line = json.loads(await content_of(client, batch["error_file_id"]))
        assert line["response"]["status_code"] == 400
        assert line["response"]["body"]["error"]["code"] == "too_many_sequences"
