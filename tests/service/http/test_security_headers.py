"""Headers for browsers, and pages that load nothing from elsewhere."""

from __future__ import annotations

import base64
import hashlib
import re
from urllib.parse import urljoin

import httpx
import pytest
from pydantic import ValidationError

from service.config.settings import Settings
from tests.service.chat_requests import chat_body
from tests.service.quick_app import bearer, quick_app

URL = "/v1/chat/completions"
CLOSED = "default-src 'none'; frame-ancestors 'none'"


def check_headers(response: httpx.Response) -> None:
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["referrer-policy"] == "no-referrer"
    assert response.headers["x-frame-options"] == "DENY"
    assert "frame-ancestors 'none'" in response.headers["content-security-policy"]
    assert "cache-control" in response.headers
    assert "x-request-id" in response.headers
    assert "server" not in response.headers


async def test_every_answer_has_them(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    async with quick_app(settings, api_keys="k") as (app, client):
        asked = [
            await client.get("/livez"),
            await client.get("/metrics"),
            await client.get("/nope"),
            await client.get("/nope", headers=bearer("k")),
            await client.put("/livez"),
            await client.get("/", headers=bearer("k")),
            await client.get("/docs", headers=bearer("k")),
            await client.post(URL, json={}, headers=bearer("k")),
            await client.post(URL, json=chat_body(), headers=bearer("k")),
            await client.post(URL, json=chat_body(stream=True), headers=bearer("k")),
        ]
        monkeypatch.setattr(app.state.services.models, "__iter__", None, raising=False)
        monkeypatch.setattr(type(app.state.services.models), "get", None)
        asked.append(await client.post(URL, json=chat_body(), headers=bearer("k")))
    for response in asked:
        check_headers(response)
    statuses = [response.status_code for response in asked]
    assert statuses == [200, 200, 401, 404, 405, 200, 200, 400, 200, 200, 500]
    assert asked[0].headers["content-security-policy"] == CLOSED


async def test_the_documentation_needs_no_network(settings: Settings) -> None:
    async with quick_app(settings) as (_, client):
        page = await client.get("/docs")
        assert page.headers["content-type"].startswith("text/html")
        addresses = re.findall(r"""(?:src|href|url)\s*[=:]\s*["']([^"']+)["']""", page.text)
        assert "openapi.json" in addresses
        assert len(addresses) == 4
        for address in addresses:
            # Below a proxy's prefix the page asks for files below the same prefix.
            assert urljoin("/models/lamm/docs", address).startswith("/models/lamm/")
            answer = await client.get(urljoin("/docs", address))
            assert answer.status_code == 200, address
            check_headers(answer)
        assert "http" not in page.text.replace("http-equiv", "")
        assert (await client.get("/redoc")).status_code == 404
        assert (await client.get("/docs/../config.py")).status_code == 404
        assert (await client.get("/docs/__init__.py")).status_code == 400


async def test_the_policy_lets_the_page_s_own_script_run_and_no_other(settings: Settings) -> None:
    async with quick_app(settings) as (_, client):
        page = await client.get("/docs")
    policy = page.headers["content-security-policy"]
    [script] = re.findall(r"<script>(.*?)</script>", page.text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    [scripts] = [part for part in policy.split("; ") if part.startswith("script-src")]
    assert scripts == f"script-src 'self' 'sha256-{digest}'"
    assert "default-src 'none'" in policy


PREFLIGHT = {
    "Origin": "https://app.example",
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization,content-type",
}


async def test_other_origins_are_shut_out_by_default(settings: Settings) -> None:
    async with quick_app(settings, api_keys="k") as (_, client):
        answer = await client.get("/livez", headers={"Origin": "https://app.example"})
        assert not [name for name in answer.headers if name.startswith("access-control")]
        refused = await client.options(URL, headers=PREFLIGHT)
        assert refused.status_code == 401
        assert "access-control-allow-origin" not in refused.headers


async def test_an_allowed_origin(settings: Settings) -> None:
    async with quick_app(
        settings, api_keys="k", allowed_origin="https://app.example, http://localhost:3000"
    ) as (_, client):
        preflight = await client.options(URL, headers=PREFLIGHT)
        assert preflight.status_code == 200
        assert preflight.headers["access-control-allow-origin"] == "https://app.example"
        assert "access-control-allow-credentials" not in preflight.headers
        origin = {"Origin": "http://localhost:3000"}
        answer = await client.post(URL, json=chat_body(), headers={**origin, **bearer("k")})
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == "http://localhost:3000"
        assert "X-Request-Id" in answer.headers["access-control-expose-headers"]
        assert (await client.post(URL, json=chat_body(), headers=origin)).status_code == 401
        other = await client.options(URL, headers={**PREFLIGHT, "Origin": "https://evil.example"})
        assert other.status_code == 400
        assert "access-control-allow-origin" not in other.headers


@pytest.mark.parametrize("origin", ["app.example", "https://app.example/", "https://a b", "null"])
def test_what_is_no_origin_is_refused_at_the_start(origin: str) -> None:
    with pytest.raises(ValidationError, match="is not a valid origin"):
        Settings(allowed_origin=(origin,))


@pytest.mark.parametrize(
    ("site", "origin", "status"),
    [
        ("cross-site", "https://evil.example", 403),
        ("same-site", "http://localhost:9999", 403),
        ("cross-site", None, 403),
        ("cross-site", "https://app.example", 200),
        ("same-origin", "http://localhost", 200),
        ("none", None, 200),
        (None, None, 200),
    ],
)
async def test_a_page_of_another_site_cannot_send_forms(
    settings: Settings, site: str | None, origin: str | None, status: int
) -> None:
    headers = {"Sec-Fetch-Site": site or "", "Origin": origin or ""}
    sent = {name: value for name, value in headers.items() if value}
    async with quick_app(settings, allowed_origin=("https://app.example",)) as (_, client):
        answer = await client.post(URL, json=chat_body(), headers=sent)
        assert answer.status_code == status
        if status == 403:
            assert answer.json()["error"]["code"] == "cross_site"
        read = await client.get("/livez", headers=sent)
        assert read.status_code == (403 if origin == "https://evil.example" else 200)
