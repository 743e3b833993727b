"""A path prefix, behind a proxy that removes it and behind one that leaves it."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import httpx
import pytest
import pytest_asyncio
from pydantic import ValidationError

from service.app import create_app
from service.config.settings import Settings
from service.endpoints.files import PATH as FILES
from tests.service.chat_requests import REPLY, chat_body
from tests.service.quick_app import bearer, quick_app

pytestmark = pytest.mark.asyncio(loop_scope="module")

CHAT = "/v1/chat/completions"
ROOT = "/apps/lamm"
KEYS = "k,metrics:m"
# What the service sees of a request to ROOT: a proxy removes the prefix, or does not.
both_proxies = pytest.mark.parametrize("prefix", [ROOT, ""], ids=["left", "removed"])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """The app below ROOT, with keys and a small limit for bodies."""
    changes: dict[str, Any] = {"root_path": f"{ROOT}/", "api_keys": KEYS, "protect_metrics": True}
    async with quick_app(settings, max_body_bytes=4096, **changes) as (app, client):
        files = app.state.services.files
        await files.start()
        yield client
        await files.stop()


@both_proxies
async def test_requests_are_answered(client: httpx.AsyncClient, prefix: str) -> None:
    for path in (CHAT, f"{CHAT}/"):
        answer = await client.post(f"{prefix}{path}", json=chat_body(), headers=bearer("k"))
        assert answer.json()["choices"][0]["message"]["content"] == REPLY
    models = await client.get(f"{prefix}/v1/models/", headers=bearer("k"))
    assert [model["id"] for model in models.json()["data"]] == ["tiny-lamm"]


@both_proxies
async def test_roles_are_those_of_the_route(client: httpx.AsyncClient, prefix: str) -> None:
    statuses = {
        path: [
            (await client.get(f"{prefix}{path}", headers=headers)).status_code
            for headers in ({}, bearer("m"), bearer("k"))
        ]
        for path in ("/livez", "/readyz", "/metrics", "/v1/models", "/docs", "/ui/main.js", "/nope")
    }
    assert statuses == {
        "/livez": [200, 200, 200],
        "/readyz": [200, 200, 200],
        "/metrics": [401, 200, 403],
        "/v1/models": [401, 403, 200],
        "/docs": [401, 403, 200],
        "/ui/main.js": [200, 200, 200],
        "/nope": [401, 404, 404],
    }


@both_proxies
async def test_limits_are_those_of_the_route(client: httpx.AsyncClient, prefix: str) -> None:
    body, headers = b"x" * 8192, {**bearer("k"), "Content-Type": "application/json"}
    refused = await client.post(f"{prefix}{CHAT}", content=body, headers=headers)
    assert refused.status_code == 413
    form: dict[str, Any] = {"file": ("a.bin", body), "purpose": (None, "user_data")}
    stored = await client.post(f"{prefix}{FILES}", files=form, headers=bearer("k"))
    assert (stored.status_code, stored.json()["bytes"]) == (200, 8192)
    content = await client.get(
        f"{prefix}{FILES}/{stored.json()['id']}/content", headers=bearer("k")
    )
    assert content.content == body


@both_proxies
async def test_tokens_are_counted_and_paths_logged(
    settings: Settings, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "service.access")
    changes: dict[str, Any] = {"root_path": ROOT, "api_keys": "k", "key_tokens_per_minute": 1}
    async with quick_app(settings, **changes) as (_, client):
        first, second = [
            await client.post(f"{prefix}{CHAT}", json=chat_body(), headers=bearer("k"))
            for _ in range(2)
        ]
    assert (first.status_code, second.status_code) == (200, 429)
    logged = [one.path for one in caplog.records if one.name == "service.access"]  # type: ignore[attr-defined]
    assert logged == [CHAT, CHAT]


@both_proxies
async def test_the_page_and_the_documentation_load(client: httpx.AsyncClient, prefix: str) -> None:
    for path in ("/", "/docs"):
        page = await client.get(f"{prefix}{path}", headers=bearer("k"))
        links = re.findall(r"(?:href|src)=\"([^\"#]+)\"", page.text)
        links += re.findall(r"url: '([^']+)'", page.text)
        assert len(links) > 2
        assert not any(link.startswith("/") for link in links)
        for link in links:
            answer = await client.get(urljoin(f"{prefix}{path}", link), headers=bearer("k"))
            assert answer.status_code == 200, link


@both_proxies
async def test_the_openapi_document_has_the_prefix(client: httpx.AsyncClient, prefix: str) -> None:
    document = (await client.get(f"{prefix}/openapi.json", headers=bearer("k"))).json()
    assert document["servers"] == [{"url": ROOT}]
    assert CHAT in document["paths"]
    assert not any(path.startswith(ROOT) for path in document["paths"])


async def test_the_prefix_itself_leads_to_the_page(client: httpx.AsyncClient) -> None:
    answer = await client.get(ROOT)
    assert (answer.status_code, answer.headers["location"]) == (307, "lamm/")
    assert answer.headers["x-content-type-options"] == "nosniff"
    page = await client.get(urljoin(ROOT, answer.headers["location"]))
    assert page.headers["content-type"].startswith("text/html")


@both_proxies
async def test_without_a_page_the_documentation_is_linked(settings: Settings, prefix: str) -> None:
    async with quick_app(settings, root_path=ROOT, ui=False) as (_, client):
        answer = await client.get(f"{prefix}/")
        assert urljoin(f"{ROOT}/", answer.headers["location"]) == f"{ROOT}/docs"


async def test_only_the_whole_prefix_is_removed(client: httpx.AsyncClient) -> None:
    for path in (f"{ROOT}s/livez", "/apps/livez", f"/x{ROOT}/livez", f"{ROOT}{ROOT}/livez"):
        assert (await client.get(path, headers=bearer("k"))).status_code == 404, path
    # An encoded slash is a part of a name, before and behind the prefix.
    missing = await client.get(f"{ROOT}/v1/models/a%2F", headers=bearer("k"))
    assert "'a/' is not served" in missing.text


@pytest.mark.parametrize(
    "root_path", ["lamm", "//lamm", "/a/../b", "/a b", "/a?b", "/ä", "https://x"]
)
async def test_other_prefixes_are_refused(root_path: str) -> None:
    with pytest.raises(ValidationError, match="a path prefix begins with a slash"):
        Settings(root_path=root_path)


@pytest.mark.parametrize("root_path", ["/v1", "/v1/chat", "/docs", "/ui", "/livez"])
async def test_a_prefix_of_a_route_is_refused(checkpoint: Path, root_path: str) -> None:
    with pytest.raises(ValueError, match=rf"root_path is '{root_path}', but the route {root_path}"):
        create_app(Settings(checkpoint=checkpoint, engine="echo", root_path=root_path))


async def test_no_prefix_is_the_default(settings: Settings) -> None:
    assert Settings(root_path="/").root_path == Settings().root_path == ""
    async with quick_app(settings) as (_, client):
        assert (await client.get(f"{ROOT}/livez")).status_code == 404
        assert "servers" not in (await client.get("/openapi.json")).json()
