"""`/v1/batches` over the app: OpenAI's client, results, refusals, cancel, expiry, owners."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import pytest_asyncio
from fastapi import FastAPI

from service.app import create_app
from service.config.settings import Settings
from service.engine.echo_engine import EchoEngine
from service.startup.configs import engine_config
from tests.service.batches.batch_jobs import (
    CHAT,
    URL,
    answer_to,
    answers,
    batch_app,
    content_of,
    jsonl,
    request_line,
    start,
    until,
    until_answered,
    upload,
)
from tests.service.chat_requests import chat_body, data_url, png
from tests.service.local import BASE_URL
from tests.service.quick_app import bearer

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(
    settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[tuple[FastAPI, httpx.AsyncClient]]:
    """One app for the tests that change nothing of it."""
    root = tmp_path_factory.mktemp("state")
    async with batch_app(settings, root, batch_max_line_bytes=4096, batch_max_lines=50) as both:
        yield both


@pytest_asyncio.fixture(loop_scope="module")
async def client(served: tuple[FastAPI, httpx.AsyncClient]) -> httpx.AsyncClient:
    return served[1]


async def test_openais_client_works_unchanged(served: tuple[FastAPI, httpx.AsyncClient]) -> None:
    http = httpx.AsyncClient(transport=httpx.ASGITransport(served[0]))
    async with openai.AsyncOpenAI(
        api_key="any",
        base_url=f"{BASE_URL}/v1",
        http_client=http,  # type: ignore[arg-type] # of httpx2 in its types
    ) as client:
        lines = [*(request_line(number) for number in range(12)), request_line(12, temperature=9)]
        file = await client.files.create(file=("in.jsonl", jsonl(lines)), purpose="batch")
        batch = await client.batches.create(
            input_file_id=file.id,
            endpoint=CHAT,
            completion_window="24h",
            metadata={"run": "one"},
            output_expires_after={"anchor": "created_at", "seconds": 3600},
        )
        assert (batch.status, batch.metadata, batch.endpoint) == (
            "validating",
            {"run": "one"},
            CHAT,
        )
        assert (batch.expires_at or 0) - batch.created_at == 86400
        async with asyncio.timeout(60):
            while batch.status != "completed":
                await asyncio.sleep(0.05)
                batch = await client.batches.retrieve(batch.id)
        assert batch.request_counts is not None
        assert batch.request_counts.model_dump() == {"total": 13, "completed": 12, "failed": 1}
        assert batch.usage is not None
        assert batch.usage.output_tokens == sum(1 + number % 5 for number in range(12))
        assert batch.usage.total_tokens == batch.usage.input_tokens + batch.usage.output_tokens
        assert batch.in_progress_at is not None
        assert batch.completed_at is not None
        output = await client.files.content(batch.output_file_id or "")
        assert answers(output.content) == {f"line-{n}": answer_to(n) for n in range(12)}
        ids = [json.loads(line)["custom_id"] for line in output.text.splitlines()]
        assert ids == [f"line-{n}" for n in range(12)], "in the input's order"
        stored = await client.files.retrieve(batch.output_file_id or "")
        assert stored.purpose == "batch_output"
        assert (stored.expires_at or 0) - stored.created_at == 3600
        [failed] = (await client.files.content(batch.error_file_id or "")).text.splitlines()
        refused = json.loads(failed)
        assert (refused["custom_id"], refused["error"]) == ("line-12", None)
        assert refused["response"]["status_code"] == 400
        assert refused["response"]["body"]["error"]["param"] == "temperature"
        assert refused["response"]["request_id"] == refused["id"]
        assert batch.id in [one.id async for one in client.batches.list(limit=1)]
        with pytest.raises(openai.BadRequestError, match="can no longer be cancelled"):
            await client.batches.cancel(batch.id)
        with pytest.raises(openai.NotFoundError, match="not found"):
            await client.batches.retrieve("batch_0")


async def test_answers_are_those_of_the_routes_themselves(client: httpx.AsyncClient) -> None:
    asked = request_line(3)
    live = (await client.post(CHAT, json=asked["body"])).json()
    batch = await until(client, await start(client, jsonl([asked])))
    line = json.loads(await content_of(client, batch["output_file_id"]))
    body = line["response"]["body"]
    for both in (live, body):
        del both["id"], both["created"]
    assert body == live
    assert line["error"] is None
    assert batch["error_file_id"] is None


async def test_text_completions(client: httpx.AsyncClient) -> None:
    body = {"model": "tiny-lamm", "prompt": "What", "max_tokens": 2}
    line = {"custom_id": "a", "method": "POST", "url": "/v1/completions", "body": body}
    batch = await until(client, await start(client, jsonl([line]), "/v1/completions"))
    found = json.loads(await content_of(client, batch["output_file_id"]))
    assert found["response"]["body"]["choices"][0]["text"] == "A red"


async def test_responses(client: httpx.AsyncClient) -> None:
    body = {"model": "tiny-lamm", "input": "What", "max_output_tokens": 2}
    line = {"custom_id": "a", "method": "POST", "url": "/v1/responses", "body": body}
    batch = await until(client, await start(client, jsonl([line]), "/v1/responses"))
    found = json.loads(await content_of(client, batch["output_file_id"]))
    answer = found["response"]["body"]
    assert (answer["object"], answer["status"]) == ("response", "incomplete")
    assert answer["output"][0]["content"][0]["text"] == "A red"
    for name in ("input_tokens", "output_tokens", "total_tokens"):
        assert batch["usage"][name] == answer["usage"][name] > 0


async def test_tasks_with_stored_pictures(settings: Settings, tmp_path: Path) -> None:
    """The whole app: pictures are decoded by its own processes."""
    ours = Settings(**{**settings.model_dump(), "files_dir": tmp_path})
    app = create_app(ours, EchoEngine(engine_config(ours), "A red chair."))
    async with app.router.lifespan_context(app):
        await app.state.services.lifecycle.wait_loaded()
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url=BASE_URL) as client:
            files: Any = {"file": ("a.png", png()), "purpose": (None, "vision")}
            picture = (await client.post("/v1/files", files=files)).json()["id"]
            sources = [{"file_id": picture}, {"url": data_url(png(), "image/png")}]
            lines = [
                {
                    "custom_id": f"{number}",
                    "method": "POST",
                    "url": "/v1/tasks/caption",
                    "body": {"image_url": source, "inputs": {}},
                }
                for number, source in enumerate(sources)
            ]
            batch_id = await start(client, jsonl(lines), "/v1/tasks/caption")
            batch = await until(client, batch_id)
            assert batch["request_counts"] == {"total": 2, "completed": 2, "failed": 0}
            output = await content_of(client, batch["output_file_id"])
            for line in output.splitlines():
                body = json.loads(line)["response"]["body"]
                assert (body["text"], body["scores"]) == ("A red chair.", [])
                assert body["score"]["calibrated"] is False


@pytest.mark.parametrize(
    ("line", "code", "param"),
    [
        ("{", "invalid_json_line", None),
        ("[1]", "invalid_json_line", None),
        ('{"custom_id": NaN}', "invalid_json_line", None),
        ("[" * 3000, "invalid_json_line", None),
        (json.dumps(request_line(1)).replace("line-1", "x" * 5000), "line_too_long", None),
        ({**request_line(1), "custom_id": ""}, "invalid_custom_id", "custom_id"),
        ({**request_line(1), "custom_id": 7}, "invalid_custom_id", "custom_id"),
        ({**request_line(1), "custom_id": "a\0"}, "invalid_custom_id", "custom_id"),
        ({**request_line(1), "custom_id": "line-0"}, "duplicate_custom_id", "custom_id"),
        ({**request_line(1), "method": "GET"}, "invalid_method", "method"),
        ({**request_line(1), "url": "/v1/completions"}, "mismatched_url", "url"),
        ({**request_line(1), "body": "text"}, "invalid_body", "body"),
        (request_line(1, stream=True), "unsupported_value", "body.stream"),
    ],
)
async def test_a_bad_line_is_named_and_nothing_runs(
    client: httpx.AsyncClient, line: Any, code: str, param: str | None
) -> None:
    content = jsonl([request_line(0), "", line, request_line(9)])
    batch = await until(client, await start(client, content), "failed")
    [problem] = batch["errors"]["data"]
    assert (problem["line"], problem["code"], problem["param"]) == (3, code, param)
    assert problem["message"]
    assert batch["output_file_id"] is None
    assert batch["request_counts"]["completed"] == 0
    assert batch["failed_at"] is not None


async def test_files_that_are_too_long_or_empty(client: httpx.AsyncClient) -> None:
    many = await until(client, await start(client, jsonl(map(request_line, range(51)))), "failed")
    [problem] = many["errors"]["data"]
    assert (problem["line"], problem["code"]) == (51, "too_many_lines")
    empty = await until(client, await start(client, b"\n\n"), "failed")
    assert [one["code"] for one in empty["errors"]["data"]] == ["empty_file"]
    broken = await until(client, await start(client, jsonl(["{"] * 49)), "failed")
    assert [one["line"] for one in broken["errors"]["data"]] == list(range(1, 50))


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"endpoint": "/v1/embeddings"}, "endpoint"),
        ({"completion_window": "1d"}, "completion_window"),
        ({"completion_window": "169h"}, "completion_window"),
        ({"metadata": {"a" * 65: "b"}}, None),
        ({"metadata": {str(number): "b" for number in range(17)}}, "metadata"),
        ({"input_file_id": None}, "input_file_id"),
    ],
)
async def test_requests_that_are_refused(
    client: httpx.AsyncClient, change: dict[str, Any], param: str | None
) -> None:
    file_id = await upload(client, jsonl([request_line(0)]))
    body = {"input_file_id": file_id, "endpoint": CHAT, "completion_window": "24h", **change}
    response = await client.post(URL, json=body)
    assert response.status_code == 400, response.text
    if param is not None:
        assert response.json()["error"]["param"] == param


async def test_the_input_must_be_there_and_for_batches(client: httpx.AsyncClient) -> None:
    body = {"endpoint": CHAT, "completion_window": "30m", "input_file_id": f"file-{'0' * 64}"}
    assert (await client.post(URL, json=body)).status_code == 404
    files: Any = {"file": ("a.png", png()), "purpose": (None, "vision")}
    picture = (await client.post("/v1/files", files=files)).json()["id"]
    refused = await client.post(URL, json={**body, "input_file_id": picture})
    assert refused.status_code == 400
    assert "must be 'batch'" in refused.json()["error"]["message"]


async def test_pages(client: httpx.AsyncClient) -> None:
    ids = [await start(client, jsonl([request_line(number)])) for number in range(3)]
    first = (await client.get(URL, params={"limit": 2})).json()
    assert [one["id"] for one in first["data"]] == [ids[2], ids[1]]
    assert (first["first_id"], first["last_id"], first["has_more"]) == (ids[2], ids[1], True)
    second = (await client.get(URL, params={"limit": 1, "after": ids[1]})).json()
    assert [one["id"] for one in second["data"]] == [ids[0]]
    assert (await client.get(URL, params={"after": "batch_x"})).status_code == 400
    for batch_id in ids:
        await until(client, batch_id, "completed")


async def test_cancelling_keeps_what_is_answered(settings: Settings, tmp_path: Path) -> None:
    lines = [request_line(number) for number in range(60)]
    async with batch_app(settings, tmp_path, delay=0.02, batch_max_in_flight=2) as (app, client):
        batch_id = await start(client, jsonl(lines))
        await until_answered(client, batch_id)
        cancelled = await client.post(f"{URL}/{batch_id}/cancel")
        assert cancelled.json()["status"] == "cancelling"
        assert (await client.post(f"{URL}/{batch_id}/cancel")).status_code == 200
        batch = await until(client, batch_id, "cancelled")
        assert app.state.services.lifecycle.in_flight == 0
        counts = batch["request_counts"]
        assert counts["total"] == counts["completed"] + counts["failed"] == 60
        assert 0 < counts["completed"] < 60
        output = answers(await content_of(client, batch["output_file_id"]))
        assert len(output) == counts["completed"]
        errors = await content_of(client, batch["error_file_id"])
        left = [json.loads(line) for line in errors.splitlines()]
        assert {one["error"]["code"] for one in left} == {"batch_cancelled"}
        both = {*output, *(one["custom_id"] for one in left)}
        assert both == {line["custom_id"] for line in lines}
        assert (batch["cancelling_at"], batch["cancelled_at"]) > (0, 0)


async def test_what_is_late_is_told(settings: Settings, tmp_path: Path) -> None:
    async with batch_app(settings, tmp_path, delay=0.05, batch_max_in_flight=1) as (app, client):
        batch_id = await start(client, jsonl(map(request_line, range(40))), window="1m")
        await until(client, batch_id, "in_progress")
        app.state.services.batches.clock = lambda: 4e9
        batch = await until(client, batch_id, "expired")
        errors = (await content_of(client, batch["error_file_id"])).splitlines()
        assert {json.loads(line)["error"]["code"] for line in errors} == {"batch_expired"}
        assert len(errors) == batch["request_counts"]["failed"] > 0
        assert batch["expired_at"] is not None


async def test_one_key_never_sees_anothers_batches(settings: Settings, tmp_path: Path) -> None:
    keys = {"api_keys": "alice,bob", "batch_max_unfinished": 1, "delay": 0.05}
    async with batch_app(settings, tmp_path, **keys) as (_, client):
        client.headers.update(bearer("alice"))
        content = jsonl(map(request_line, range(20)))
        batch_id = await start(client, content)
        file_id = await upload(client, content)
        body = {"input_file_id": file_id, "endpoint": CHAT, "completion_window": "24h"}
        refused = await client.post(URL, json=body)
        assert refused.status_code == 429
        assert int(refused.headers["retry-after"]) > 0
        for method, path in (("GET", batch_id), ("POST", f"{batch_id}/cancel")):
            other = await client.request(method, f"{URL}/{path}", headers=bearer("bob"))
            assert other.status_code == 404
        assert (await client.get(URL, headers=bearer("bob"))).json()["data"] == []
        assert (await client.post(URL, json=body, headers=bearer("bob"))).status_code == 404
        assert (await client.get(URL, headers=bearer("eve"))).status_code == 401
        done = await until(client, batch_id, "completed")
        output = f"/v1/files/{done['output_file_id']}/content"
        assert (await client.get(output, headers=bearer("bob"))).status_code == 404
        assert len(answers(await content_of(client, done["output_file_id"]))) == 20


async def test_a_keys_lines_are_limited(settings: Settings, tmp_path: Path) -> None:
    few = {"batch_max_unfinished_lines": 12, "delay": 0.2}
    async with batch_app(settings, tmp_path, **few) as (_, client):
        first = await start(client, jsonl(map(request_line, range(10))))
        await until(client, first, "in_progress")
        second = await until(client, await start(client, jsonl(map(request_line, range(3)))))
        assert second["status"] == "failed"
        [problem] = second["errors"]["data"]
        assert (problem["code"], problem["line"]) == ("line_limit_exceeded", None)
        await client.post(f"{URL}/{first}/cancel")
        await until(client, first, "cancelled")


async def test_lines_of_a_key_that_was_taken_away_rest(settings: Settings, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("alice\nbob\n")
    changes = {"api_keys_file": keys, "delay": 0.05, "batch_max_in_flight": 1}
    async with batch_app(settings, tmp_path / "state", **changes) as (app, client):
        client.headers.update(bearer("alice"))
        batch_id = await start(client, jsonl(map(request_line, range(14))))
        await until(client, batch_id, "in_progress")
        keys.write_text("bob\n")
        known = app.state.services.access.keys
        known.reload(force=True)
        await asyncio.sleep(1.0)
        store, owner = app.state.services.batches, hashlib.sha256(b"alice").hexdigest()
        before = (await store.get(owner, batch_id)).completed
        await asyncio.sleep(0.6)
        assert (await store.get(owner, batch_id)).completed == before < 14
        keys.write_text("bob\nalice\n")
        known.reload(force=True)
        done = await until(client, batch_id, "completed")
        assert done["request_counts"]["completed"] == 14


async def test_metrics(client: httpx.AsyncClient) -> None:
    await until(client, await start(client, jsonl([request_line(0)])))
    text = (await client.get("/metrics")).text
    assert 'lamm:batch_lines_total{model_name="tiny-lamm",status="completed"}' in text
    assert 'lamm:batches{model_name="tiny-lamm",status="in_progress"} 0.0' in text


async def test_priority_of_a_line_is_behind_all_others(
    served: tuple[FastAPI, httpx.AsyncClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    app, client = served
    engine, seen = app.state.services.engines[0].engine, []
    generate = engine.generate

    def noted(request: Any) -> Any:
        seen.append(request.priority)
        return generate(request)

    monkeypatch.setattr(engine, "generate", noted)
    await client.post(CHAT, json=chat_body())
    await until(client, await start(client, jsonl([request_line(0), request_line(1, priority=7)])))
    assert seen == [0, 100, 100]
