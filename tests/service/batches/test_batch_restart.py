"""A server that is killed in the middle of a batch: the next one goes on, and nothing is amiss."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from openai.types import Batch

from service.batches.store import BatchStore
from service.config.settings import Settings
from service.engine.echo_engine import DEFAULT_REPLY
from service.exceptions import BatchesUnavailableError
from tests.service.batches.batch_jobs import (
    CHAT,
    URL,
    answers,
    batch_app,
    content_of,
    jsonl,
    request_line,
    start,
    until,
    until_answered,
)
from tests.service.batches.postgres_server import postgres_server
from tests.service.running_server import serving

LINES = 60
ENDLESS = {"ignore_eos": True}


@pytest.fixture(params=["sqlite", "postgresql"])
def flags(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[list[str]]:
    """Settings of a server whose state outlives it, in a database of either kind."""
    with contextlib.ExitStack() as stack:
        flags = ["--files-dir", str(tmp_path / "state"), "--batch-max-in-flight", "2"]
        if request.param == "postgresql":
            flags += ["--database-url", stack.enter_context(postgres_server())]
        yield flags


def lines() -> bytes:
    """Requests whose answers are long enough to be cut off."""
    made = [request_line(number) for number in range(LINES)]
    for number, line in enumerate(made):
        line["body"] |= {"max_tokens": 100 + number, **ENDLESS}
    return jsonl(made)


def submit(client: openai.OpenAI, content: bytes) -> str:
    file = client.files.create(file=("in.jsonl", content), purpose="batch")
    made = client.batches.create(input_file_id=file.id, endpoint=CHAT, completion_window="24h")
    return made.id


def wait(client: openai.OpenAI, batch_id: str, enough: int) -> Batch:
    """The batch, once so many of its lines are answered, or it has ended where that is all."""
    deadline = time.monotonic() + 150
    while time.monotonic() < deadline:
        with contextlib.suppress(openai.InternalServerError):  # the database is just being opened
            batch = client.batches.retrieve(batch_id)
            counts = batch.request_counts
            assert counts is not None
            if batch.status == "completed" or (enough < LINES and counts.completed >= enough):
                return batch
        time.sleep(0.02)
    raise TimeoutError(f"{batch_id} is not far enough")


def texts(client: openai.OpenAI, batch: Batch) -> list[tuple[str, str]]:
    """(custom id, answer) of each line of the output, in its order."""
    assert batch.error_file_id is None
    content = client.files.content(batch.output_file_id or "").text
    found: list[tuple[str, str]] = []
    for line in content.splitlines():
        value: dict[str, Any] = json.loads(line)
        assert value["response"]["status_code"] == 200
        message = value["response"]["body"]["choices"][0]["message"]
        found.append((value["custom_id"], message["content"]))
    return found


@pytest.mark.slow
@pytest.mark.timeout(300)  # it starts two servers
def test_a_killed_server_s_batch_goes_on(checkpoint: Path, flags: list[str]) -> None:
    """Killed while lines are being answered; then it is as if nothing had happened."""
    content = lines()
    with serving(checkpoint, *flags) as (process, url):
        client = openai.OpenAI(api_key="any", base_url=f"{url}/v1", max_retries=0)
        batch_id = submit(client, content)
        before = wait(client, batch_id, 5).request_counts
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert before is not None
    assert 5 <= before.completed < LINES
    with serving(checkpoint, *flags) as (_, url):
        client = openai.OpenAI(api_key="any", base_url=f"{url}/v1", max_retries=0)
        batch = wait(client, batch_id, LINES)
        assert batch.request_counts is not None
        assert batch.request_counts.model_dump() == {
            "total": LINES, "completed": LINES, "failed": 0,
        }  # fmt: skip
        disturbed = texts(client, batch)
        # The same once more, undisturbed; as another file, for its id is its content's.
        same = content.replace(b"Question 0?", b"Question 0!")
        undisturbed = texts(client, wait(client, submit(client, same), LINES))
    assert disturbed == undisturbed
    assert [custom_id for custom_id, _ in disturbed] == [f"line-{n}" for n in range(LINES)]
    assert all(text.startswith(DEFAULT_REPLY) for _, text in disturbed)


async def test_a_drain_leaves_the_rest_for_the_next_start(
    settings: Settings, tmp_path: Path
) -> None:
    changes = {"delay": 0.05, "batch_max_in_flight": 2}
    async with batch_app(settings, tmp_path, **changes) as (app, http):
        batch_id = await start(http, jsonl(request_line(number) for number in range(12)))
        await until_answered(http, batch_id)
        lifecycle = app.state.services.lifecycle
        lifecycle.drain()
        assert await lifecycle.wait_empty(20), "what runs ends"
        await asyncio.sleep(0.5)
        assert lifecycle.in_flight == 0, "and nothing more begins"
        found = (await http.get(f"{URL}/{batch_id}")).json()
        assert found["status"] == "in_progress"
        assert 0 < found["request_counts"]["completed"] < 12
    async with batch_app(settings, tmp_path) as (_, http):
        batch = await until(http, batch_id, "completed")
        assert len(answers(await content_of(http, batch["output_file_id"]))) == 12


async def test_what_is_cut_off_while_its_files_are_written(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The output is stored, and the process ends before the database knows of it."""
    async with batch_app(settings, tmp_path) as (app, http):

        def cut_off(*_: object) -> bool:
            raise BatchesUnavailableError("the process ended here")

        monkeypatch.setattr(BatchStore, "finish", cut_off)
        batch_id = await start(http, jsonl(request_line(number) for number in range(5)))
        await until(http, batch_id, "finalizing")
        files = app.state.services.files
        async with asyncio.timeout(20):
            # A store of files tells of no events.
            while not (stored := [f.id for f in files.list_files("") if "out" in f.filename]):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
    monkeypatch.undo()
    async with batch_app(settings, tmp_path) as (_, http):
        batch = await until(http, batch_id, "completed")
        assert [batch["output_file_id"]] == stored, "the same lines are the same file"
