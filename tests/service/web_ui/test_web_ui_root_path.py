"""The web page in Chromium below a path prefix, which a proxy removes or leaves."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from service.config.settings import Settings
from tests.service.web_ui.test_web_ui_browser import (  # noqa: F401 - a fixture, and the marks
    PATIENCE_MS,
    answered,
    browser,
    pytestmark,
)
from tests.service.web_ui.web_ui_server import Visited, visited

ROOT = "/lamm"


class Proxy:
    """Passes on requests below ROOT, and no others."""

    removes = False

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] == "http":
            if not f"{scope['path']}/".startswith(f"{ROOT}/"):
                await PlainTextResponse("not below the prefix", 404)(scope, receive, send)
                return
            if self.removes:
                path = scope["path"].removeprefix(ROOT) or "/"
                scope = {**scope, "path": path, "raw_path": path.encode()}
        await self._app(scope, receive, send)


class RemovingProxy(Proxy):
    """Removes the prefix."""

    removes = True


@pytest.fixture(params=[Proxy, RemovingProxy], ids=["left", "removed"])
def proxy(request: pytest.FixtureRequest) -> type[Proxy]:
    found: type[Proxy] = request.param
    return found


@pytest.fixture
def server(proxy: type[Proxy], settings: Settings) -> Iterator[Visited]:
    with visited(Settings(**{**settings.model_dump(), "root_path": ROOT}), proxy) as running:
        yield running


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:  # noqa: F811
    """An empty page, on which no request may fail."""
    context = browser.new_context()
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    failed: list[str] = []
    page.on("response", lambda one: failed.append(one.url) if one.status >= 400 else None)
    yield page
    context.close()
    assert failed == []


def test_the_page_chats(page: Page, server: Visited, proxy: type[Proxy]) -> None:
    server.engine.say("I count three.")
    # A proxy that removes the prefix adds a missing slash by itself.
    page.goto(f"{server.url}{ROOT}" + ("/" if proxy.removes else ""))
    assert urlsplit(page.url).path == f"{ROOT}/"
    expect(page.locator("#status")).to_have_attribute("data-state", "ready")
    with page.expect_response(f"**{ROOT}/v1/chat/completions"):
        page.click("text=How many products are there?")  # an example with its picture
    answered(page)
    page.click("#docs-link")
    expect(page.locator(".swagger-ui .title")).to_contain_text("LAMM")


def test_the_documentation_sends_requests(page: Page, server: Visited) -> None:
    page.goto(f"{server.url}{ROOT}/docs")
    operation = page.locator("#operations-operations-livez_livez_get")
    operation.locator(".opblock-summary-control").click()
    operation.locator(".try-out__btn").click()
    with page.expect_response(f"**{ROOT}/livez") as answer:
        operation.locator(".execute").click()
    assert answer.value.json() == {"status": "alive"}
