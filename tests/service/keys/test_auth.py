"""Keys and roles: every route asks for what it declares, and keys stay where they belong."""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from starlette.types import Message

from service.app import create_app
from service.config.settings import Settings
from service.keys import auth
from service.keys.api_keys import ApiKeys, KeyLimits, Role
from service.keys.auth import declared
from tests.service.chat_requests import chat_body
from tests.service.quick_app import bearer, quick_app
from tests.service.running_server import serving

URL = "/v1/chat/completions"
KEYS = "user:u-key, admin:a-key, metrics:m-key"
OPEN = {"/livez", "/readyz", "/health"}


@pytest.fixture
def guarded(settings: Settings) -> FastAPI:
    return create_app(Settings(**{**settings.model_dump(), "api_keys": KEYS}))


def test_every_route_declares_what_it_needs(guarded: FastAPI) -> None:
    routes = list(iter_route_contexts(guarded.routes))
    undeclared = [route.path for route in routes if declared(route) is None]
    assert undeclared == [], "name OPEN, USER, USER_WORK, METRICS or ADMIN among its dependencies"
    assert len(routes) > 10
    open_to_all = {route.path for route in routes if declared(route).role is None}
    page = {path for path in open_to_all if path == "/" or str(path).startswith("/ui/")}
    assert open_to_all - page == OPEN
    assert "/" in page


def test_what_generates_counts_against_a_key_s_limits(guarded: FastAPI) -> None:
    works = {r.path for r in iter_route_contexts(guarded.routes) if declared(r).works}
    assert {URL, "/v1/completions", "/v1/responses"} <= works
    assert not works & {"/v1/models", "/tokenize", "/metrics", "/v1/requests/{request_id}"}
    assert "/v1/responses/{response_id}" not in works


async def test_every_route_refuses_who_has_no_key_or_another_role(settings: Settings) -> None:
    async with quick_app(settings, api_keys=KEYS, protect_metrics=True) as (app, client):
        for route in iter_route_contexts(app.routes):
            path = re.sub(r"\{\w+(:path)?\}", "x", route.path or "")
            needs = declared(route)
            assert needs is not None
            for method in route.methods or ():
                alone = await client.request(method, path)
                if needs.role is None:
                    assert alone.status_code == 200, path
                    continue
                assert alone.status_code == 401, path
                assert alone.headers["www-authenticate"] == "Bearer"
                other = "u-key" if needs.role is Role.METRICS else "m-key"
                refused = await client.request(method, path, headers=bearer(other))
                assert refused.status_code == 403, path
                assert refused.json()["error"]["code"] == "insufficient_role"
                role = "user" if other == "u-key" else "metrics"
                assert refused.json()["error"]["message"] == (
                    f"the route needs a key with role '{needs.role.value}'; "
                    f"this key has role '{role}'"
                )
                admitted = await client.request(method, path, headers=bearer("a-key"))
                assert admitted.status_code not in (401, 403), path


async def test_what_declares_nothing_is_an_admin_s(settings: Settings) -> None:
    async def forgotten() -> dict[str, str]:
        return {"here": "too"}

    async with quick_app(settings, api_keys=KEYS) as (app, client):
        app.add_api_route("/forgotten", forgotten)
        assert (await client.get("/forgotten")).status_code == 401
        assert (await client.get("/forgotten", headers=bearer("u-key"))).status_code == 403
        assert (await client.get("/forgotten", headers=bearer("a-key"))).status_code == 200


async def test_the_route_looks_again(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Should the middleware ever take a path for another, the route itself still refuses."""
    async with quick_app(settings, api_keys=KEYS) as (_, client):
        monkeypatch.setattr(auth, "needed", lambda *_: auth.Open())
        refused = await client.get("/v1/models")
        assert refused.status_code == 403


@pytest.mark.parametrize(
    "path",
    ["//v1/models", "/v1/models/", "/V1/MODELS", "/./v1/models", "/livez/../v1/models", "/livez/",
     "/%6divez", "/v1%2fmodels", "/livez;/v1/models", "/nope", "/livez%00"],
)  # fmt: skip
async def test_no_spelling_of_a_path_gets_past_the_keys(settings: Settings, path: str) -> None:
    async with quick_app(settings, api_keys=KEYS) as (_, client):
        response = await client.get(path)
        if path == "/%6divez":
            return  # decodes to a path that is none
        assert response.status_code == 401, response.text


async def test_a_refusal_comes_before_the_body(guarded: FastAPI) -> None:
    sent: list[Message] = []

    async def receive() -> Message:
        raise AssertionError("the body was asked for")

    async def send(message: Message) -> None:
        sent.append(message)

    scope: dict[str, Any] = {
        "type": "http", "method": "POST", "path": URL, "root_path": "", "query_string": b"",
        "headers": [(b"content-type", b"application/json"), (b"content-length", b"1000")],
    }  # fmt: skip
    await guarded(scope, receive, send)
    assert sent[0]["status"] == 401


async def test_web_sockets_are_closed(guarded: FastAPI) -> None:
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "websocket", "path": "/v1/models", "headers": [], "query_string": b""}
    await guarded(scope, receive, send)
    assert [message["type"] for message in sent] == ["websocket.close"]


async def test_metrics_ask_for_a_key_where_the_operator_wants_it(settings: Settings) -> None:
    async with quick_app(settings, api_keys=KEYS) as (_, client):
        assert (await client.get("/metrics")).status_code == 200
    async with quick_app(settings, api_keys=KEYS, protect_metrics=True) as (_, client):
        assert (await client.get("/metrics")).status_code == 401
        assert (await client.get("/metrics", headers=bearer("u-key"))).status_code == 403
        assert (await client.get("/metrics", headers=bearer("m-key"))).status_code == 200
    async with quick_app(settings, protect_metrics=True) as (_, client):
        assert (await client.get("/metrics")).status_code == 200


async def test_the_document_says_which_routes_ask_for_a_key(settings: Settings) -> None:
    async with quick_app(settings, api_keys=KEYS) as (_, client):
        document = (await client.get("/openapi.json", headers=bearer("u-key"))).json()
    assert document["components"]["securitySchemes"]["API key"]["scheme"] == "bearer"
    for path, methods in document["paths"].items():
        for operation in methods.values():
            assert ("security" in operation) is (path not in OPEN), path


@pytest.mark.parametrize(
    "key", ["u-key", "u-ke", "u-keyy", "U-KEY", "", "ü", "\udcff", "user:u-key"]
)
def test_a_key_is_its_exact_text(key: str) -> None:
    found = ApiKeys(KEYS, None).find(key)
    assert (found is not None) is (key == "u-key")


@pytest.mark.parametrize("listed", ["user-key,,admin:", "a,b, metrics: ,c"])
def test_a_role_without_a_key_stops_the_start(listed: str) -> None:
    with pytest.raises(ValueError, match="entry 3 of the API keys has a role but no key"):
        ApiKeys(listed, None)


def test_a_key_that_no_client_could_send_stops_the_start() -> None:
    with pytest.raises(ValueError, match=r"^entry 2 of the API keys: the key contains a character"):
        ApiKeys("plain,cl\u00e9", None)


def test_a_file_of_keys(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text(
        "# notes begin so\n\nfirst\n"
        "second admin\tops\n"
        "third metrics prometheus\n"
        "fourth user alice max_concurrent=4 tokens_per_minute=60000\n"
        "fifth max_concurrent=1\n"
    )
    keys = ApiKeys("user:zeroth,one:two", path, KeyLimits(8, None))
    found = {text: keys.find(text) for text in ("zeroth", "one:two", "first", "second", "fourth")}
    described = {
        text: (key.name, key.role, key.limits.max_concurrent, key.limits.tokens_per_minute)
        for text, key in found.items() if key is not None
    }  # fmt: skip
    assert described == {
        "zeroth": ("key-1", "user", 8, None),
        "one:two": ("key-2", "user", 8, None),
        "first": ("key-3", "user", 8, None),
        "second": ("ops", "admin", 8, None),
        "fourth": ("alice", "user", 4, 60000),
    }
    fifth = keys.find("fifth")
    assert fifth is not None
    assert (fifth.role, fifth.limits.max_concurrent) == ("user", 1)
    assert len(keys) == 7


def test_a_mark_that_an_editor_left_is_no_part_of_a_key(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text("first admin\n", encoding="utf-8-sig")
    assert ApiKeys(None, path).find("first") is not None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("s3cret-key boss", "line 1: the role"),
        ("admin s3cret-key", "line 1: the role"),
        ("s3cret-key user a b", "line 1 has more columns"),
        ("ok\ns3cret-key user max_concurrent=0", "line 2: a limit"),
        ("s3cret-key user max_concurrent=-1", "line 1: a limit"),
        ("s3cret-key user speed=9", "line 1: a limit"),
        ("s3cret-key user tokens_per_minute=1e9", "line 1: a limit"),
        ("s3cret-key\ns3cret-key", "the same key"),
        ("s3cret-k\u00e9y", "line 1: the key contains a character"),
        ("s3cret-key user bob\nother user bob", "the same name"),
        ("# nothing\n", "no key was found"),
    ],
)
def test_a_bad_file_is_named_without_its_keys(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "keys"
    path.write_text(text, encoding="utf8")
    with pytest.raises(ValueError, match=words) as caught:
        ApiKeys(None, path)
    assert "s3cret" not in str(caught.value)


def test_a_changed_file_is_taken_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "keys"
    path.write_text("old-key\n")
    keys = ApiKeys(None, path)
    assert not keys.reload(), "nothing has changed"
    path.write_text("new-key user new\n")
    assert keys.reload()
    assert keys.find("old-key") is None
    assert keys.find("new-key") is not None
    path.write_text("new-key nonsense\n")
    assert not keys.reload()
    assert keys.find("new-key") is not None, "a mistake locks nobody out"
    path.unlink()
    assert not keys.reload()
    complaints = len(caplog.records)
    assert not keys.reload()
    assert len(caplog.records) == complaints, "said once, not every time that it is looked at"
    assert keys.find("new-key") is not None
    path.write_text("")
    assert keys.reload()
    assert keys.find("new-key") is None
    assert keys.required, "an empty file opens nothing"
    assert "-key" not in caplog.text


async def test_keys_are_never_logged(
    settings: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "keys"
    path.write_text("s3cret-one user alice\n")
    caplog.set_level("DEBUG")
    async with quick_app(settings, api_keys="s3cret-two", api_keys_file=path) as (_, client):
        for key in ("s3cret-one", "s3cret-two", "s3cret-wrong"):
            await client.post(URL, json=chat_body(), headers=bearer(key))
    lines = [r.getMessage() for r in caplog.records if r.name == "service.access"]
    assert [line.rsplit(" ", 1)[-1] for line in lines[:2]] == ["key=alice", "key=key-1"]
    assert "s3cret" not in caplog.text
    assert "s3cret" not in repr(Settings(api_keys="s3cret"))


def test_sighup_reads_the_file_again(checkpoint: Path, tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text("key-one\n")
    before = path.stat()
    with serving(checkpoint, "--api-keys-file", str(path)) as (process, url):
        assert httpx.get(f"{url}/v1/models", headers=bearer("key-one")).status_code == 200
        path.write_text("key-two\n")
        # Of the same size and time: only the signal can tell.
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        process.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + 20
        while httpx.get(f"{url}/v1/models", headers=bearer("key-two")).status_code != 200:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert httpx.get(f"{url}/v1/models", headers=bearer("key-one")).status_code == 401
