"""The gateway before replicas of this process: answers as the plain server's, and lost replicas."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from ray.exceptions import ActorDiedError
from ray.serve.exceptions import BackPressureError
from starlette.types import Message

from service.config.settings import Settings
from service.ray.gateway import GatewayConfig, create_gateway
from service.ray.replica import ACCEPTED
from tests.service.chat_requests import chat_body, image, png
from tests.service.local import BASE_URL
from tests.service.quick_app import bearer, until_engine
from tests.service.ray.ray_replicas import EchoReplica, Replicas, SlowReplica, start_replica
from tests.service.responses_requests import URL as RESPONSES
from tests.service.responses_requests import asked, picture

pytestmark = pytest.mark.asyncio(loop_scope="module")

CHAT = "/v1/chat/completions"
START: Message = {
    "type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]
}  # fmt: skip
EVENTS: Message = {**START, "headers": [(b"content-type", b"text/event-stream; charset=utf-8")]}


def _part(body: bytes) -> Message:
    return {"type": "http.response.body", "body": body, "more_body": True}


@contextlib.asynccontextmanager
async def gateway(
    monkeypatch: pytest.MonkeyPatch,
    settings: Settings,
    count: int = 1,
    kind: type[EchoReplica] = EchoReplica,
    **changes: Any,
) -> AsyncIterator[tuple[httpx.AsyncClient, Replicas]]:
    """A client of a gateway before so many replicas."""
    changed = Settings(**{**settings.model_dump(), **changes})
    started = [await start_replica(monkeypatch, changed, f"r{i}", kind) for i in range(count)]
    replicas = Replicas(*started)
    app = create_gateway(GatewayConfig(changed, replica_wait_s=5.0), lambda: replicas)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    try:
        async with httpx.AsyncClient(transport=transport, base_url=BASE_URL) as client:
            yield client, replicas
    finally:
        for replica in started:
            await replica.stop()


def _comparable(answer: httpx.Response) -> tuple[int, Any, set[str]]:
    """Status, body and headers' names, without what every answer has anew."""
    text = re.sub(
        r'"(item_)?id":"(chatcmpl-|resp_|msg_)[^"]*"|"[a-z]*(_at)?":1[0-9]{9}', "", answer.text
    )
    return answer.status_code, text, set(answer.headers) - {"x-lamm-replica", "x-request-id"}


REQUESTS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("POST", CHAT, {"json": chat_body()}),
    ("POST", CHAT, {"json": chat_body(image())}),
    (
        "POST",
        CHAT,
        {"json": chat_body(image(), stream=True, stream_options={"include_usage": True})},
    ),
    ("POST", RESPONSES, {"json": asked(picture())}),
    ("POST", RESPONSES, {"json": asked(picture(), stream=True)}),
    ("GET", f"{RESPONSES}/resp_1", {}),
    ("POST", CHAT, {"json": chat_body(max_tokens=0)}),
    ("POST", CHAT, {"json": chat_body(model="other")}),
    ("POST", CHAT, {"content": b"{", "headers": {"content-type": "application/json"}}),
    ("POST", CHAT, {"json": chat_body(image(b"no picture"))}),
    ("POST", "/tokenize", {"json": {"prompt": "A red chair."}}),
    ("GET", "/v1/nothing", {}),
    ("DELETE", "/v1/requests/nobody-s", {}),
    ("GET", "/v1/tasks", {}),
)


async def test_answers_are_the_plain_server_s(
    monkeypatch: pytest.MonkeyPatch, settings: Settings, client: httpx.AsyncClient
) -> None:
    async with gateway(monkeypatch, settings) as (through, _):
        for method, path, request in REQUESTS:
            ours = await through.request(method, path, **request)
            plain = await client.request(method, path, **request)
            assert _comparable(ours) == _comparable(plain), path


async def test_a_medium_is_the_key_and_the_id_goes_along(
    monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    async with gateway(monkeypatch, settings) as (client, replicas):
        for parts in ((image(),), (image(),), (image(png(9, 9)),), ()):
            answer = await client.post(
                CHAT, json=chat_body(*parts), headers={"X-Request-Id": "mine"}
            )
            assert answer.status_code == 200
            assert answer.headers["x-lamm-replica"] == "r0"
            # Ray's proxy, which is not here, adds the header.
            assert "x-request-id" not in answer.headers
    keys = [key for key, _ in replicas.asked]
    assert keys[0] == keys[1]
    assert len(set(keys)) == 3
    assert keys[3] == ""
    assert all((b"x-request-id", b"mine") in scope["headers"] for _, scope in replicas.asked)


async def test_metrics_are_everyone_s(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    async with gateway(monkeypatch, settings, 2) as (client, _):
        for _ in range(2):
            await client.post(CHAT, json=chat_body())
        lines = (await client.get("/metrics")).text.splitlines()
    served = [line for line in lines if line.startswith("lamm:request_success_total{")]
    for name in ("r0", "r1"):
        assert any(f'replica="{name}"' in line and line.endswith(" 1.0") for line in served)


async def test_a_path_prefix_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    async with gateway(monkeypatch, settings, 2, root_path="/lamm") as (client, _):
        assert (await client.post(f"/lamm{CHAT}", json=chat_body())).status_code == 200
        for prefix in ("/lamm", ""):
            lines = (await client.get(f"{prefix}/metrics")).text
            assert 'replica="r0"' in lines
            assert 'replica="r1"' in lines
        assert (await client.delete("/lamm/v1/requests/nobody-s")).status_code == 404


async def test_a_request_is_cancelled_wherever_it_runs(
    monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    endless = chat_body(ignore_eos=True, max_tokens=200)
    async with gateway(monkeypatch, settings, 2, SlowReplica) as (client, replicas):
        asked = [
            asyncio.create_task(client.post(CHAT, json=endless, headers={"X-Request-Id": name}))
            for name in ("first", "second")
        ]
        for replica in list(replicas.replicas):
            await until_engine(replica.app, running=1)
        assert (await client.delete("/v1/requests/third")).status_code == 404
        for name in ("first", "second"):
            assert (await client.delete(f"/v1/requests/{name}")).json()["cancelled"] == 1
        answers = await asyncio.gather(*asked)
    assert [answer.status_code for answer in answers] == [499, 499]


async def test_bodies_are_bounded_and_strangers_are_not_heard(
    monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    limits: dict[str, Any] = {"max_body_bytes": 1000, "api_keys": "secret"}
    async with gateway(monkeypatch, settings, **limits) as (client, replicas):
        large: dict[str, Any] = {
            "content": b"x" * 2000,
            "headers": {"content-type": "application/json"},
        }
        assert (await client.post(CHAT, **large)).status_code == 413
        assert (await client.post(CHAT, json=chat_body())).status_code == 401
        assert replicas.asked == []
        assert (await client.get("/v1/models")).status_code == 401
        assert (await client.get("/livez")).status_code == 200
        known = await client.post(CHAT, json=chat_body(), headers=bearer("secret"))
        assert known.status_code == 200


async def test_a_lost_request_is_asked_again(
    monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    async def at_once() -> AsyncIterator[Message]:
        raise ActorDiedError
        yield ACCEPTED

    async def after_the_start() -> AsyncIterator[Message]:
        yield ACCEPTED
        yield START
        raise ActorDiedError

    async with gateway(monkeypatch, settings) as (client, replicas):
        replicas.dying.extend([at_once, after_the_start])
        answer = await client.post(CHAT, json=chat_body(image()))
        assert answer.status_code == 200
        assert len({key for key, _ in replicas.asked}) == 1
        assert len(replicas.asked) == 3

        replicas.dying.extend([after_the_start] * 3)
        answer = await client.post(CHAT, json=chat_body())
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "1"
        assert answer.json()["error"]["code"] == "replica_lost"

        replicas.dying.extend([after_the_start])
        assert (await client.delete("/v1/files/file-0")).status_code == 503
        replicas.dying.extend([at_once])
        assert (await client.delete("/v1/files/file-0")).status_code == 404


async def test_a_broken_stream_ends_as_streams_do(
    monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    async def broken() -> AsyncIterator[Message]:
        yield ACCEPTED
        yield EVENTS
        yield _part(b'data: {"some": "text"}\n\n')
        raise ActorDiedError

    async with gateway(monkeypatch, settings) as (client, replicas):
        replicas.dying.append(broken)
        answer = await client.post(CHAT, json=chat_body(stream=True))
        assert len(replicas.asked) == 1
    events = answer.text.strip().split("\n\n")
    assert events[0] == 'data: {"some": "text"}'
    assert json.loads(events[1].removeprefix("data: "))["error"]["code"] == "replica_lost"
    assert events[2:] == ["data: [DONE]"]


async def test_a_broken_body_is_no_answer(
    monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    async def broken() -> AsyncIterator[Message]:
        yield ACCEPTED
        yield START
        yield _part(b"half")
        raise ActorDiedError

    replica = await start_replica(monkeypatch, settings, "r0")
    replicas = Replicas(replica)
    replicas.dying.append(broken)
    app = create_gateway(GatewayConfig(settings, 5.0), lambda: replicas)
    try:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://l") as c:
            with pytest.raises(ConnectionAbortedError):
                await c.get("/v1/files/file-0/content")
    finally:
        await replica.stop()


async def test_nobody_there_and_everybody_full_are_503(
    monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    async def never() -> AsyncIterator[Message]:
        await asyncio.Event().wait()
        yield ACCEPTED

    async def full() -> AsyncIterator[Message]:
        raise BackPressureError(8, 8)
        yield ACCEPTED

    async with gateway(monkeypatch, settings) as (client, replicas):
        replicas.dying.extend([never, full])
        answers = [await client.get("/readyz"), await client.post(CHAT, json=chat_body())]
        assert replicas.streams[0].cancelled
    assert [answer.status_code for answer in answers] == [503, 503]
    codes = [answer.json()["error"]["code"] for answer in answers]
    assert codes == ["no_replica", "queue_full"]
    assert all(answer.headers["retry-after"] for answer in answers)


async def test_a_client_that_leaves_ends_its_request(
    monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    read, some = asyncio.Event(), asyncio.Event()

    async def endless() -> AsyncIterator[Message]:
        yield ACCEPTED
        yield EVENTS
        while True:
            yield _part(b": keep-alive\n\n")
            await asyncio.sleep(0.001)

    async with gateway(monkeypatch, settings) as (_, replicas):
        replicas.dying.append(endless)
        app = create_gateway(GatewayConfig(settings, 5.0), lambda: replicas)
        sent: list[Message] = []

        async def receive() -> Message:
            if not read.is_set():
                read.set()
                return {"type": "http.request", "body": b"{}", "more_body": False}
            await some.wait()
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            sent.append(message)
            if len(sent) == 3:
                some.set()

        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST",
            "scheme": "http", "path": CHAT, "raw_path": CHAT.encode(), "query_string": b"",
            "root_path": "", "headers": [(b"content-type", b"application/json")],
            "client": None, "server": None,
        }  # fmt: skip
        await asyncio.wait_for(app(scope, receive, send), 20)
        assert replicas.streams[0].cancelled


async def test_health_is_the_engine_s_own(
    monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    replica = await start_replica(monkeypatch, settings, "r0")
    await replica.check_health()
    await replica.services.stop_engines()
    with pytest.raises(RuntimeError, match="the engine of tiny-lamm is dead"):
        await replica.check_health()
    await replica.stop()


async def test_what_cannot_be_loaded_is_no_replica(
    monkeypatch: pytest.MonkeyPatch, settings: Settings, tmp_path: Path
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    changed = Settings(**{**settings.model_dump(), "files_dir": blocked / "files"})
    with pytest.raises(RuntimeError, match="cannot load"):
        await start_replica(monkeypatch, changed, "r0")


async def test_a_replica_s_end_waits_for_what_runs(
    monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    replica = await start_replica(monkeypatch, settings, "r0")
    stopping: asyncio.Task[None] | None = None
    with replica.services.lifecycle.admit():
        stopping = asyncio.create_task(replica.stop())
        await asyncio.sleep(0.05)
        assert not stopping.done()
    await asyncio.wait_for(stopping, 30)
    assert replica.__del__() is None
