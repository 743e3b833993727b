"""Web pages that reach the service through a browser on its machine: refused by Host and Origin."""

from __future__ import annotations

import logging
from typing import Any

import httpx
import pytest
from pydantic import ValidationError

from service.config.flags import read_settings
from service.config.settings import Settings
from tests.service.chat_requests import chat_body
from tests.service.local import BASE_URL
from tests.service.quick_app import bearer, quick_app

URL = "/v1/chat/completions"
LOCAL = [
    "localhost", "LocalHost:8000", "lamm.localhost:9", "127.0.0.1:8000", "127.9.9.9", "[::1]:80",
    "gpubox", "notlocalhost:8000",
]  # fmt: skip
FOREIGN = [
    "evil.example", "evil.example:8000", "10.0.0.1:8000", "localhost.evil.example", "[::2]", "",
    "127.0.0.1.nip.io", "evil.", "a@localhost", "localhost:80:80",
]  # fmt: skip


async def ask(client: httpx.AsyncClient, **headers: str) -> httpx.Response:
    """The answer to a chat with these headers."""
    return await client.post(URL, json=chat_body(), headers=headers)


def message(answer: httpx.Response, code: str) -> str:
    assert answer.status_code == 403, answer.text
    error = answer.json()["error"]
    assert (error["code"], error["type"]) == (code, "permission_error")
    return str(error["message"])


async def test_a_host_that_resolves_to_this_machine_is_refused(settings: Settings) -> None:
    async with quick_app(settings) as (_, client):
        for host in LOCAL:
            assert (await ask(client, Host=host)).status_code == 200, host
        for host in FOREIGN:
            told = message(await ask(client, Host=host), "foreign_host")
            assert repr(host) in told
            assert "--allowed-host" in told
        for path in ("/metrics", "/livez", "/v1/models", "/", "/v1/nothing"):
            answer = await client.get(path, headers={"Host": "evil.example"})
            message(answer, "foreign_host")
        twice = await client.get(
            "/v1/models", headers=[("Host", "localhost"), ("Host", "evil.example")]
        )
        message(twice, "foreign_host")


async def test_a_foreign_origin_is_refused(settings: Settings) -> None:
    async with quick_app(settings) as (_, client):
        for origin in (
            "https://evil.example",
            "null",
            "http://6.6.6.6",
            "http://gpubox",
            "http://evil.example:80",
        ):
            told = message(await ask(client, Origin=origin), "foreign_origin")
            assert repr(origin) in told
            assert "--allowed-origin" in told
            listed = await client.get("/v1/models", headers={"Origin": origin})
            message(listed, "foreign_origin")
        for origin in (BASE_URL, "http://127.0.0.1:8000", "http://[::1]:3000"):
            assert (await ask(client, Origin=origin)).status_code == 200, origin


async def test_names_and_origins_that_the_operator_allows(settings: Settings) -> None:
    allowed: dict[str, Any] = {
        "allowed_host": "Lamm.example, lamm",
        "allowed_origin": "https://app.example",
    }
    async with quick_app(settings, **allowed) as (_, client):
        for host in ("lamm.example", "LAMM.example:8443", "lamm:8000", "localhost"):
            assert (await ask(client, Host=host)).status_code == 200, host
        message(await ask(client, Host="other.example"), "foreign_host")
        # A proxy may pass on the page's origin and its own Host.
        for origin in ("https://lamm.example", "https://app.example"):
            assert (await ask(client, Origin=origin)).status_code == 200, origin
        message(await ask(client, Origin="https://other.example"), "foreign_origin")


@pytest.mark.parametrize(
    "changes",
    [{"allowed_host": "*"}, {"host": "0.0.0.0"}, {"api_keys": "k"}],  # noqa: S104
)
async def test_where_names_are_not_checked(settings: Settings, changes: dict[str, Any]) -> None:
    async with quick_app(settings, **changes) as (_, client):
        answer = await ask(client, Host="gpubox.lan", Origin="http://gpubox.lan", **bearer("k"))
        assert answer.status_code == 200


async def test_on_a_network_names_are_checked_and_addresses_are_not(settings: Settings) -> None:
    """A probe's or scraper's Host is the address of a pod."""
    changes: dict[str, Any] = {"host": "0.0.0.0", "allowed_host": "lamm", "api_keys": "k"}  # noqa: S104
    async with quick_app(settings, **changes) as (_, client):
        for host in ("10.1.2.3:8000", "[fd00::1]:8000", "lamm:8000"):
            assert (await client.get("/livez", headers={"Host": host})).status_code == 200
        same = await ask(client, Host="10.1.2.3:80", Origin="http://10.1.2.3:80", **bearer("k"))
        assert same.status_code == 200
        message(await ask(client, Host="evil.example", **bearer("k")), "foreign_host")
        other = await ask(client, Host="10.1.2.3:80", Origin="http://6.6.6.6", **bearer("k"))
        message(other, "foreign_origin")


@pytest.mark.parametrize("changes", [{}, {"api_keys": "k"}, {"allowed_host": "lamm"}])
async def test_an_open_service_is_told_at_the_start(
    settings: Settings, caplog: pytest.LogCaptureFixture, changes: dict[str, Any]
) -> None:
    with caplog.at_level(logging.WARNING, "service.guards"):
        async with quick_app(settings, host="0.0.0.0", **changes):  # noqa: S104
            pass
    assert [one.getMessage() for one in caplog.records if "anyone who reaches" in one.message] == (
        []
        if changes
        else [
            "anyone who reaches 0.0.0.0 may call: there are no API keys, and names are not "
            "checked. Set --api-keys-file, or the service's names with --allowed-host"
        ]
    )


@pytest.mark.parametrize("host", ["https://a.example", "a.example:80", "a b", "", "*.example"])
def test_what_is_no_host_name_is_refused_at_the_start(host: str) -> None:
    with pytest.raises(ValidationError, match="is not a host name"):
        Settings(allowed_host=(host,))


def test_the_flag_repeats_and_the_variable_has_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    flags = ["--allowed-host", "a.example", "--allowed-host", "B.example"]
    assert read_settings(flags).allowed_host == ("a.example", "b.example")
    monkeypatch.setenv("LAMM_ALLOWED_HOST", "a.example, b.example")
    assert read_settings([]).allowed_host == ("a.example", "b.example")
