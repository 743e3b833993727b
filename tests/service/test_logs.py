"""Log lines: pretty or JSON, with the request's id, and without what people wrote."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from typing import Any

import pytest

from service.config.settings import Settings
from service.logging_setup import configure_logging, request_logged_as
from tests.service.chat_requests import chat_body
from tests.service.quick_app import bearer, quick_app

URL = "/v1/chat/completions"
SECRET = "the-answer-to-everything"


def lines(style: str, level: str = "info") -> io.StringIO:
    stream = io.StringIO()
    configure_logging(level, style, stream)
    return stream


async def test_json_lines(settings: Settings) -> None:
    stream = lines("json")
    async with quick_app(settings, api_keys="k-secret") as (_, client):
        headers = {**bearer("k-secret"), "X-Request-Id": "abc"}
        await client.post(URL, json=chat_body(frobnicate=1), headers=headers)
        await client.get("/livez")
    records = [json.loads(line) for line in stream.getvalue().splitlines()]
    named, chat, probe = [one for one in records if one["logger"].startswith("service.")]
    assert "'frobnicate'" in named["message"]
    assert (named["level"], named["request_id"]) == ("INFO", "abc")
    assert chat["logger"] == "service.access"
    fields = ("method", "path", "status", "key", "request_id")
    assert [chat[field] for field in fields] == ["POST", URL, 200, "key-1", "abc"]
    assert chat["duration_ms"] > 0
    assert "time" in chat
    assert probe["request_id"] not in ("", "abc")
    assert "k-secret" not in stream.getvalue()


def test_pretty_lines_are_one_a_record() -> None:
    stream = lines("pretty")
    logger = logging.getLogger("service.test")
    with request_logged_as("id-7"):
        logger.info("first\nINFO service: forged\r")
    logger.info("second")
    first, second = stream.getvalue().splitlines()
    assert first.endswith("service.test: first\\nINFO service: forged\\r id=id-7")
    assert second.endswith("service.test: second")


async def test_threads_and_tasks_of_a_request_have_its_id() -> None:
    stream = lines("json")
    logger = logging.getLogger("service.test")

    async def work(request_id: str) -> None:
        with request_logged_as(request_id):
            await asyncio.gather(
                asyncio.to_thread(logger.info, "thread of %s", request_id),
                asyncio.create_task(asyncio.to_thread(logger.info, "task of %s", request_id)),
            )

    await asyncio.gather(work("a"), work("b"))
    records = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert len(records) == 4
    assert all(one["message"].endswith(f"of {one['request_id']}") for one in records)


async def test_bodies_are_not_logged(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    async with quick_app(settings) as (_, client):
        for sent in (chat_body(text=SECRET), chat_body(text=SECRET, stream=True),
                     chat_body(text=SECRET, unknown=SECRET), {SECRET: 1}):  # fmt: skip
            await client.post(URL, json=sent)
        await client.post("/v1/completions", json={"model": "tiny-lamm", "prompt": SECRET})
    own = [record for record in caplog.records if record.name.startswith("service")]
    assert own
    assert not [record for record in own if SECRET in record.getMessage()]


async def test_bodies_are_logged_where_asked_and_cut_short(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    async with quick_app(settings, log_bodies=True, log_body_chars=60) as (_, client):
        answer = await client.post(URL, json=chat_body(text="x " * 50 + SECRET))
    [line] = [r.getMessage() for r in caplog.records if r.name == "service.bodies"]
    assert line.startswith("request body (")
    assert '{"model":"tiny-lamm"' in line
    assert f'response body ({len(answer.content)} bytes) \'{{"id":"chatcmpl-' in line
    assert SECRET not in line
    assert len(line) < 250


class Leaky(Exception):
    """What a library would raise."""


async def test_a_library_s_error_text_stays_here(
    settings: Settings, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with quick_app(settings) as (app, client):
        engine = app.state.services.engines[0].engine

        async def broken(_: Any) -> Any:
            raise Leaky("/srv/secret/path at 0x7f0012")
            yield

        monkeypatch.setattr(engine, "generate", broken)
        whole = await client.post(URL, json=chat_body())
        stream = await client.post("/v1/completions", json={"model": "tiny-lamm", "prompt": "a"})
    for answer in (whole, stream):
        assert answer.status_code == 500
        assert answer.json()["error"] == {
            "message": "internal error", "type": "server_error", "param": None,
            "code": "internal_error",
        }  # fmt: skip
        assert answer.headers["x-should-retry"] == "false"
    assert "/srv/secret/path" in caplog.text, "the operator sees it"


async def test_unknown_fields_are_named_once_over_all_routes(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    async with quick_app(settings) as (_, client):
        for _ in range(2):
            await client.post(URL, json=chat_body(frobnicate=SECRET))
            await client.post(
                "/tokenize", json={"model": "tiny-lamm", "prompt": "", "frobnicate": 1}
            )
        many: dict[str, Any] = {f"field-{number}": 1 for number in range(200)}
        await client.post(URL, json=chat_body(**many))
    named = [r.getMessage() for r in caplog.records if r.name == "service.schemas.unknown_fields"]
    assert sum("'frobnicate'" in line for line in named) == 1
    assert len(named) == 64
    assert SECRET not in "".join(named)
