"""The web page in Chromium over time: what it lets go of, and how it gets over what went wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from playwright.sync_api import FilePayload, Page, Route, expect

from tests.service.chat_requests import png
from tests.service.web_ui.test_web_ui_browser import (  # noqa: F401 - fixtures
    answered,
    ask,
    browser,
    choose_task,
    page,
    pytestmark,
    run,
    server,
)
from tests.service.web_ui.web_ui_server import Visited

CLOUD = b"0 0 0\n1 0 0\n0 1 2\n"
# Counts the addresses of blobs that were made and not let go of.
COUNT_BLOBS = """
window.blobs = new Set();
const [make, drop] = [URL.createObjectURL, URL.revokeObjectURL];
URL.createObjectURL = (blob) => { const url = make(blob); window.blobs.add(url); return url; };
URL.revokeObjectURL = (url) => { window.blobs.delete(url); drop(url); };
"""


@pytest.fixture
def counted(page: Page) -> Page:  # noqa: F811
    page.add_init_script(COUNT_BLOBS)
    page.reload()
    expect(page.locator("#model")).to_have_value("tiny-lamm")
    return page


def blobs(page: Page) -> int:  # noqa: F811
    return int(page.evaluate("window.blobs.size"))


def picture(name: str) -> FilePayload:
    return {"name": name, "mimeType": "image/png", "buffer": png()}


def unavailable(route: Route) -> None:
    error = {"message": "it starts", "type": "service_unavailable", "param": None, "code": None}
    route.fulfill(status=503, content_type="application/json", body=json.dumps({"error": error}))


def viewers(page: Page) -> int:  # noqa: F811
    """Viewers of clouds in memory, after the garbage was collected."""
    session = page.context.new_cdp_session(page)
    session.send("HeapProfiler.enable")
    session.send("HeapProfiler.collectGarbage")
    prototype = session.send(
        "Runtime.evaluate",
        {
            "expression": "import('./ui/clouds/viewer.js').then(m => m.CloudViewer.prototype)",
            "awaitPromise": True,
        },
    )["result"]["objectId"]
    found = session.send("Runtime.queryObjects", {"prototypeObjectId": prototype})
    count = session.send(
        "Runtime.callFunctionOn",
        {
            "objectId": found["objects"]["objectId"],
            "functionDeclaration": "function () { return this.length; }",
            "returnByValue": True,
        },
    )["result"]["value"]
    session.detach()
    return int(count)


def test_clouds_that_are_gone_from_the_page_are_gone_from_memory(page: Page) -> None:  # noqa: F811
    expect(page.locator(".welcome canvas")).to_have_count(2)
    choose_task(page, "classification_3d")
    choose_task(page, "detection")
    page.click("#tab-chat")
    before = viewers(page)
    for count in (1, 2, 3):
        page.set_input_files(
            ".composer input[type=file]", {"name": "a.xyz", "mimeType": "", "buffer": CLOUD}
        )
        ask(page, "What is this?")
        answered(page, count=count)
        expect(page.locator(".turns canvas")).to_have_count(count)
    page.click("text=New conversation")
    expect(page.locator(".turns canvas")).to_have_count(0)
    assert viewers(page) <= before


def test_pictures_of_tasks_are_let_go_of(counted: Page, server: Visited) -> None:  # noqa: F811
    server.engine.say("bag [0.25, 0.50, 0.75, 1.00].")
    choose_task(counted, "detection")
    run(counted)
    for name in ("a.png", "b.png"):
        counted.set_input_files(".task-form input[type=file]", picture(name))
        expect(counted.locator(".task-form .tile")).to_contain_text(name)
    assert blobs(counted) == 2, "the form's, and the one that the answer is about"
    choose_task(counted, "locating")
    expect(counted.locator(".task-form .tile")).to_contain_text("b.png")
    assert blobs(counted) == 1
    for task in ("classification_3d", "ocr", "detection"):
        choose_task(counted, task)
    assert blobs(counted) == 1


def test_pictures_of_turns_that_are_asked_over_are_let_go_of(counted: Page) -> None:
    for count, name in enumerate(("a.png", "b.png"), 1):
        counted.set_input_files(".composer input[type=file]", picture(name))
        ask(counted, "What is this?")
        answered(counted, count=count)
    before = blobs(counted)
    counted.locator(".turn").first.hover()
    counted.locator(".regenerate").first.evaluate("button => button.click()")
    expect(counted.locator(".turn")).to_have_count(1)
    answered(counted)
    assert blobs(counted) == before - 1


def test_a_task_s_form_comes_back_after_a_failed_look(page: Page) -> None:  # noqa: F811
    choose_task(page, "detection")
    page.route("**/v1/tasks", unavailable, times=1)
    page.click("#key-button")
    page.fill("#key-input", "another")
    page.keyboard.press("Enter")
    page.locator(".task-form .error-card button", has_text="Try again").click()
    expect(page.locator(".task-form .tile")).to_have_count(1)
    expect(page.locator(".task-form .error-card")).to_have_count(0)


def test_models_are_asked_for_until_they_are_known(page: Page) -> None:  # noqa: F811
    page.route("**/v1/models", unavailable, times=1)
    page.reload()
    expect(page.locator("#model")).to_have_value("tiny-lamm")
    ask(page, "Hello")
    answered(page)


def test_a_key_that_cannot_be_sent_is_told_at_once(page: Page) -> None:  # noqa: F811
    page.click("#key-button")
    page.fill("#key-input", "secret\N{HORIZONTAL ELLIPSIS}")
    page.keyboard.press("Enter")
    expect(page.locator("#key-reason")).to_contain_text("invalid character")
    expect(page.locator("#key-dialog")).to_be_visible()
    assert page.evaluate("sessionStorage.length") == 0


def test_a_browser_that_stores_nothing_holds_the_key_all_the_same(page: Page) -> None:  # noqa: F811
    refuse = "() => { throw new DOMException('denied', 'SecurityError'); }"
    page.add_init_script(f"Object.defineProperty(window, 'sessionStorage', {{get: {refuse}}});")
    page.reload()
    expect(page.locator("#model")).to_have_value("tiny-lamm")
    page.click("#key-button")
    page.fill("#key-input", "secret-key")
    with page.expect_request("**/v1/models") as sent:
        page.keyboard.press("Enter")
    assert sent.value.headers["authorization"] == "Bearer secret-key"
    expect(page.locator("#docs-link")).to_be_hidden()  # a link sends no key


def test_an_example_that_comes_late_takes_no_one_s_place(page: Page) -> None:  # noqa: F811
    choose_task(page, "detection")
    late: list[Route] = []
    # The driver takes no methods of lists.
    page.route("**/ui/examples/products.png", lambda route: late.append(route))  # noqa: PLW0108
    page.locator(".starter").first.click()
    page.set_input_files(".task-form input[type=file]", picture("own.png"))
    expect(page.locator(".task-form .tile")).to_contain_text("own.png")
    with page.expect_response("**/ui/examples/products.png"):
        for route in late:
            route.continue_()
    page.evaluate("new Promise((done) => setTimeout(done, 200))")
    expect(page.locator(".task-form .tile")).to_contain_text("own.png")


def test_a_file_that_is_gone_is_not_called_a_broken_connection(
    page: Page,  # noqa: F811
    tmp_path: Path,
) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(png())
    page.set_input_files(".composer input[type=file]", file)
    file.unlink()
    ask(page, "What is this?")
    answered(page, "failed")
    card = page.locator(".error-card")
    expect(card).to_contain_text("cannot be read")
    expect(card).not_to_contain_text("No connection")
