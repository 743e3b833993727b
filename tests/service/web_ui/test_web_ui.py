"""The web page's files over HTTP: headers, caching, what is in them and what is not."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from service.cli import serve
from service.config.settings import Settings
from service.endpoints.ui import PAGE, assets
from tests.service.quick_app import bearer, quick_app

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "service" / "web_ui"
NAMES = [asset.name for asset in assets()]
TEXTS = [name for name in NAMES if name.endswith((".html", ".css", ".js", ".json", ".svg"))]
# Names of namespaces, which nothing is fetched from.
NAMESPACES = {"http://www.w3.org/2000/svg"}


async def test_the_page_and_every_file_are_served(settings: Settings) -> None:
    async with quick_app(settings) as (_, client):
        for asset in assets():
            answer = await client.get("/" if asset.name == PAGE else f"/ui/{asset.name}")
            assert answer.status_code == 200, asset.name
            assert answer.content == (FOLDER / asset.name).read_bytes()
            assert answer.headers["content-type"] == asset.media_type
            assert answer.headers["x-content-type-options"] == "nosniff"


async def test_the_page_s_policy_allows_nothing_inline_or_from_elsewhere(
    settings: Settings,
) -> None:
    async with quick_app(settings) as (_, client):
        page = await client.get("/")
        script = await client.get("/ui/main.js")
    policy = dict(
        part.split(" ", 1) for part in page.headers["content-security-policy"].split("; ")
    )
    assert policy == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "'self' data: blob:",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
        "require-trusted-types-for": "'script'",
        "trusted-types": "'none'",
    }
    assert page.headers["x-frame-options"] == "DENY"
    assert script.headers["content-security-policy"].startswith("default-src 'none'")


async def test_a_browser_keeps_what_has_not_changed(settings: Settings) -> None:
    async with quick_app(settings) as (_, client):
        first = await client.get("/ui/main.js")
        tag = first.headers["etag"]
        assert first.headers["cache-control"] == "no-cache"
        for known in (tag, f'"other", W/{tag}', "*"):
            again = await client.get("/ui/main.js", headers={"If-None-Match": known})
            assert (again.status_code, again.content) == (304, b"")
            assert again.headers["etag"] == tag
        other = await client.get("/ui/main.js", headers={"If-None-Match": '"other"'})
        assert other.status_code == 200
        page = await client.get("/", headers={"If-None-Match": "*"})
        assert "script-src 'self'" in page.headers["content-security-policy"]
    assert len({asset.tag for asset in assets()}) == len(assets())


@pytest.mark.parametrize(
    "path",
    ["/ui", "/ui/", "/ui/index.html", "/ui/nope.js", "/ui/../config.py", "/ui/%2e%2e/config.py",
     "/ui/shared", "/ui/shared/", "/ui//main.js"],
)  # fmt: skip
async def test_there_is_nothing_else_below_the_page(settings: Settings, path: str) -> None:
    async with quick_app(settings) as (_, client):
        answer = await client.get(path)
        assert answer.status_code == 404
        assert answer.json()["error"]["code"] == "not_found"


async def test_the_page_is_open_where_keys_are_asked_for(settings: Settings) -> None:
    async with quick_app(settings, api_keys="k") as (_, client):
        assert (await client.get("/")).status_code == 200
        assert (await client.get("/ui/main.js")).status_code == 200
        assert (await client.get("/v1/models")).status_code == 401
        assert (await client.get("/v1/tasks")).status_code == 401


async def test_an_operator_can_leave_the_page_out(settings: Settings) -> None:
    async with quick_app(settings, ui=False, api_keys="k") as (_, client):
        assert (await client.get("/")).status_code == 401
        page = await client.get("/", headers=bearer("k"))
        assert (page.status_code, page.headers["location"]) == (307, "docs")
        assert (await client.get("/ui/main.js", headers=bearer("k"))).status_code == 404


def test_the_page_is_a_setting(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert Settings().ui is True
    monkeypatch.setenv("LAMM_UI", "false")
    assert Settings().ui is False
    with pytest.raises(SystemExit):
        serve(["--help"])
    assert "--no-ui" in capsys.readouterr().out


@pytest.mark.parametrize("name", TEXTS)
def test_nothing_is_loaded_from_elsewhere(name: str) -> None:
    text = (FOLDER / name).read_text(encoding="utf8")
    assert set(re.findall(r"https?://[^\s\"'<>)]+", text)) <= NAMESPACES
    assert not re.search(r"""["'(]//\w""", text), "an address without its scheme"
    assert not re.search(r"url\(|@import", text) or name.endswith(".js")


@pytest.mark.parametrize("name", [name for name in NAMES if name.endswith(".js")])
def test_no_text_becomes_markup_or_code(name: str) -> None:
    text = (FOLDER / name).read_text(encoding="utf8")
    ways = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|DOMParser"
    assert re.findall(ways, text) == []
    assert re.findall(r"localStorage|document\.cookie", text) == []


def test_the_page_has_nothing_inline() -> None:
    page = (FOLDER / PAGE).read_text(encoding="utf8")
    assert re.findall(r"<script(?![^>]*\bsrc=)", page) == []
    assert re.findall(r"<style|\sstyle=|\son\w+=", page) == []


def test_every_file_that_is_named_is_there() -> None:
    page = (FOLDER / PAGE).read_text(encoding="utf8")
    named = set(re.findall(r'(?:src|href)="ui/([^"]+)"', page))
    assert "main.js" in named
    missing = {name for name in named if name not in NAMES}
    for name in NAMES:
        if not name.endswith(".js"):
            continue
        text = (FOLDER / name).read_text(encoding="utf8")
        for target in re.findall(r'from "(\.[^"]+)"', text):
            path = (FOLDER / name).parent.joinpath(target).resolve()
            if not path.is_file():
                missing.add(f"{name}: {target}")
    assert missing == set()


def test_what_a_browser_fetches_stays_small() -> None:
    sizes = {asset.name: len(asset.content) for asset in assets()}
    code = sum(size for name, size in sizes.items() if not name.startswith("examples/"))
    assert code < 152_000
    assert sum(sizes.values()) < 600_000
    long = {
        name: lines
        for name in TEXTS
        if (lines := (FOLDER / name).read_text(encoding="utf8").count("\n")) > 250
    }
    assert long == {}


def test_the_examples_are_those_of_the_readme_and_their_tasks_exist() -> None:
    for path in (ROOT / "examples").iterdir():
        if path.suffix in (".png", ".ply"):
            assert (FOLDER / "examples" / path.name).read_bytes() == path.read_bytes()
    entries = json.loads((FOLDER / "examples" / "index.json").read_text(encoding="utf8"))
    files = {path.name for path in (FOLDER / "examples").iterdir()} - {"index.json"}
    assert {entry["file"] for entry in entries} == files
    assert all(entry["question"] for entry in entries)


async def test_the_examples_fit_their_tasks(settings: Settings) -> None:
    entries = json.loads((FOLDER / "examples" / "index.json").read_text(encoding="utf8"))
    async with quick_app(settings) as (_, client):
        cards = {card["name"]: card for card in (await client.get("/v1/tasks")).json()["data"]}
    for entry in entries:
        cloud = entry["file"].endswith((".ply", ".npy"))
        for task, inputs in entry["tasks"].items():
            card = cards[task]
            assert (card["modality"] == "point_cloud") is cloud
            assert set(inputs) <= set(card["inputs_schema"]["properties"])
            assert set(card["inputs_schema"].get("required", ())) <= set(inputs)


def test_the_page_s_files_go_into_a_wheel() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf8")
    assert 'service = ["web_ui/**/*"]' in text
