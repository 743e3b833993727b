"""The web page in Chromium: chat, tasks, clouds, errors and stopping, against a scripted engine."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, FilePayload, Page, Route, expect, sync_playwright

from lamm_model.media import decode_point_cloud
from lamm_model.tasks.rotated_boxes import edges
from service.config.settings import Settings
from tests.lamm_model.formats import mesh_files
from tests.lamm_model.formats.point_files import pcd as pcd_file
from tests.lamm_model.formats.point_files import ply as ply_file
from tests.service.chat_requests import npy, png
from tests.service.web_ui.web_ui_server import Visited, visited

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
PATIENCE_MS = 60_000  # a busy machine paints late

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on this machine"),
    # The browser's driver leaves its pipes to the end of the process.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


@pytest.fixture(scope="module")
def server(settings: Settings) -> Iterator[Visited]:
    with visited(settings) as running:
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--disable-gpu"],
            timeout=PATIENCE_MS,
        )
        yield browser
        browser.close()


@pytest.fixture
def page(server: Visited, browser: Browser) -> Iterator[Page]:
    """The page, loaded; nothing may be refused by its policy or thrown by its scripts."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda m: wrong.append(m.text) if "Security Policy" in m.text else None)
    server.engine.say("I count three.")
    page.goto(server.url)
    expect(page.locator("#model")).to_have_value("tiny-lamm")
    expect(page.locator("#status")).to_have_attribute("data-state", "ready")
    yield page
    context.close()
    assert wrong == []


def answered(page: Page, status: str = "done", count: int = 1) -> None:
    expect(page.locator(f".answer[data-status={status}]")).to_have_count(count)


def ask(page: Page, text: str) -> None:
    page.fill(".composer textarea", text)
    page.keyboard.press("Enter")


def choose_task(page: Page, name: str) -> None:
    page.click("#tab-tasks")
    page.click(f"[data-task={name}]")
    expect(page.locator(".task-form .tile")).to_have_count(1)


def tiff(width: int, height: int) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (width, height), "navy").save(stream, "TIFF")
    return stream.getvalue()


def run(page: Page) -> None:
    page.click(".task-form button[type=submit]")
    expect(page.locator(".typed")).to_have_count(1)


def test_two_turns_about_a_picture_and_a_cloud(page: Page, server: Visited) -> None:
    page.click("text=How many products are there?")
    answered(page)
    expect(page.locator(".answer-text")).to_have_text("I count three.")
    expect(page.locator(".legend").first).to_contain_text("picture 16")
    server.engine.say("<img src=x onerror=alert(1)> & **so** on")
    page.set_input_files(
        ".composer input[type=file]",
        {"name": "a.xyz", "mimeType": "", "buffer": b"0 0 0\n1 0 0\n0 1 2\n"},
    )
    with page.expect_request("**/v1/chat/completions") as sent:
        ask(page, "And this?")
    answered(page, count=2)
    body = json.loads(sent.value.post_data or "")
    assert [message["role"] for message in body["messages"]] == ["user", "assistant", "user"]
    assert body["messages"][1]["content"] == "I count three."
    cloud, question = body["messages"][2]["content"]
    assert cloud["point_cloud_url"]["format"] == "xyz"
    assert question == {"type": "text", "text": "And this?"}
    assert body["temperature"] == 0
    last = page.locator(".turn").last
    # What the model says is text, whatever it looks like.
    expect(last.locator(".answer-text")).to_have_text("<img src=x onerror=alert(1)> & **so** on")
    assert last.locator(".answer img").count() == 0
    expect(last.locator(".legend").first).to_contain_text("cloud 8")
    expect(last.locator("figcaption")).to_contain_text("3 points")


def test_what_was_done_to_a_cloud_is_told_under_the_answer(page: Page) -> None:
    page.click("text=How many products are there?")
    answered(page)
    assert page.locator(".media-facts").count() == 0
    page.set_input_files(
        ".composer input[type=file]",
        {"name": "a.xyz", "mimeType": "", "buffer": b"600000 0 0\n600001 0 0\n600000 1 2\n"},
    )
    ask(page, "And this?")
    answered(page, count=2)
    expect(page.locator(".media-facts")).to_have_text(
        "Changed before the model saw it: medium 2 (cloud), moved by (-600000, -0.5, 0) m."
    )


def test_an_answer_is_stopped_and_asked_for_again(page: Page, server: Visited) -> None:
    server.engine.say("word " * 100, delay=0.1)
    ask(page, "Tell me all")
    answered(page, "writing")
    page.click(".composer button[type=submit]")
    answered(page, "stopped")
    deadline = time.monotonic() + 30
    while server.engine.stats().running and time.monotonic() < deadline:
        time.sleep(0.02)
    assert server.engine.stats().running == 0
    server.engine.say("Short.")
    page.click(".regenerate")
    answered(page)
    expect(page.locator(".answer-text")).to_have_text("Short.")


def test_an_error_says_what_and_where_and_leaves_the_conversation_whole(page: Page) -> None:
    ask(page, "word " * 400)
    answered(page, "failed")
    card = page.locator(".error-card")
    expect(card).to_contain_text("context_length_exceeded")
    expect(card).to_contain_text("messages")
    assert len(card.locator("code").inner_text()) == 32
    with page.expect_request("**/v1/chat/completions") as sent:
        ask(page, "Short")
    answered(page)
    messages = json.loads(sent.value.post_data or "")["messages"]
    assert [message["content"] for message in messages] == ["Short"]


def test_a_refusal_counts_down_until_it_may_be_tried_again(page: Page) -> None:
    def refuse(route: Route) -> None:
        error = {"message": "two are running", "type": "rate_limit_error", "param": None,
                 "code": "key_max_concurrent"}  # fmt: skip
        route.fulfill(
            status=429, headers={"Retry-After": "2"}, content_type="application/json",
            body=json.dumps({"error": error}),
        )  # fmt: skip

    page.route("**/v1/chat/completions", refuse, times=1)
    ask(page, "Hello")
    again = page.locator(".error-card button", has_text="Try again")
    expect(again).to_be_disabled()
    expect(again).to_be_enabled()
    again.click()
    answered(page)


def test_settings_are_bounded_and_sent(page: Page) -> None:
    page.fill(".chat input[name=temperature]", "3")
    ask(page, "Hello")
    assert page.locator(".turn").count() == 0
    page.fill(".chat input[name=temperature]", "0.7")
    page.fill(".chat input[name=seed]", "5")
    page.fill(".chat input[name=max_tokens]", "2")
    page.uncheck("text=Stream the answer")
    page.focus(".composer textarea")
    with page.expect_request("**/v1/chat/completions") as sent:
        page.keyboard.press("Enter")
    answered(page)
    body = json.loads(sent.value.post_data or "")
    assert (body["temperature"], body["seed"], body["max_tokens"]) == (0.7, 5, 2)
    assert "stream" not in body
    expect(page.locator(".answer-foot")).to_contain_text("cut off by the token limit")


def test_a_key_stays_in_the_tab_and_is_sent_as_a_header(page: Page) -> None:
    refusal = {"message": "an API key is required", "type": "authentication_error", "param": None,
               "code": "invalid_api_key"}  # fmt: skip
    page.route("**/v1/chat/completions", lambda route: route.fulfill(
        status=401, content_type="application/json", body=json.dumps({"error": refusal})), times=1,
    )  # fmt: skip
    ask(page, "Hello")
    expect(page.locator("#key-dialog")).to_be_visible()
    expect(page.locator("#key-reason")).to_contain_text("requires an API key")
    page.fill("#key-input", "secret-key")
    with page.expect_request("**/v1/models") as sent:
        page.keyboard.press("Enter")
    assert sent.value.headers["authorization"] == "Bearer secret-key"
    assert "secret-key" not in page.url
    assert page.evaluate("[localStorage.length, sessionStorage.length]") == [0, 1]


def test_boxes_are_drawn_where_the_answer_says(page: Page, server: Visited) -> None:
    server.engine.say("bag [0.25, 0.50, 0.75, 1.00]; shoe [0.00, 0.00, 0.50, 0.25].")
    choose_task(page, "detection")
    page.check("text=Include the server's drawing")
    run(page)
    expect(page.locator(".headline")).to_have_text("2 found")
    box = page.locator(".mark .line").first
    sides = [float(box.get_attribute(name) or "nan") for name in ("x", "y", "width", "height")]
    assert sides == [64, 128, 128, 128]
    expect(page.locator("tbody tr").nth(1)).to_contain_text("shoe")
    page.hover("tbody tr:nth-child(2)")
    expect(page.locator(".mark").nth(1)).to_have_class("mark lit")
    # Read is not the same as right: that is what the scores say.
    expect(page.locator(".badge").first).to_have_text("read")
    score = page.locator("tbody tr").nth(1).locator(".score")
    expect(score).to_have_text(re.compile(r"^~[\d.]+ %$"))
    expect(score).to_have_attribute("title", re.compile("this place.*not calibrated"))
    expect(page.locator(".answer-score .score")).to_have_attribute("title", re.compile("answer"))
    assert page.locator(".overlay img").evaluate("image => image.decode().then(() => 1)") == 1


def test_a_task_that_the_page_has_no_example_of_begins_with_another_s(
    page: Page, server: Visited
) -> None:
    """Its card is all that the page knows; its answer is a list of points."""

    def known_and_new(route: Route) -> None:
        answer = route.fetch().json()
        [card] = [one for one in answer["data"] if one["name"] == "keypoints"]
        new = {
            "name": "spots", "path": "/v1/tasks/spots", "example": {"inputs": {"label": "bag"}},
            "inputs_schema": {"properties": {"label": {"type": "string"}}, "required": ["label"]},
        }  # fmt: skip
        route.fulfill(json={**answer, "data": [*answer["data"], {**card, **new}]})

    def spots(route: Route) -> None:
        body = json.loads(route.request.post_data or "")
        shown = {"joint": "neck"}
        answer = route.fetch(
            url=f"{server.url}/v1/tasks/keypoints", post_data={**body, "inputs": shown}
        ).json()
        found = {"label": body["inputs"]["label"], "points": [[64, 32], [100, 200]]}
        route.fulfill(json={**answer, "answer": found})

    server.engine.say("[0.25, 0.50]")
    page.route("**/v1/tasks", known_and_new)
    page.route("**/v1/tasks/spots", spots)
    page.reload()
    expect(page.locator("#status")).to_have_attribute("data-state", "ready")
    choose_task(page, "spots")
    expect(page.locator(".task-form input[name=label]")).to_have_value("bag")
    run(page)
    expect(page.locator(".headline")).to_have_text("2 found")
    expect(page.locator(".mark circle.hit")).to_have_count(2)
    expect(page.locator("tbody tr").nth(1)).to_contain_text("bag")


def test_boxes_in_a_cloud_can_be_turned(page: Page, server: Visited) -> None:
    server.engine.say("plant [0.30, 0.80, 0.60, 0.60, 0.60, 1.20].")
    choose_task(page, "detection_3d")
    page.select_option(".task-form .mini select >> nth=0", "cm")
    run(page)
    expect(page.locator("tbody")).to_contain_text("plant")
    canvas = page.locator(".stage canvas")
    canvas.focus()
    before = canvas.evaluate("canvas => canvas.toDataURL()")
    page.keyboard.press("ArrowLeft")
    # The page's own policy keeps the driver from waiting for an expression.
    deadline = time.monotonic() + 30
    while canvas.evaluate("canvas => canvas.toDataURL()") == before:
        assert time.monotonic() < deadline, "the cloud stood still"
    expect(page.locator(".stage figcaption")).to_contain_text("cm")


def test_a_rotated_box_is_drawn_as_the_service_means_it(page: Page, server: Visited) -> None:
    server.engine.say("plant [0.30, 0.80, 0.60, 0.60, 0.60, 1.20, 0.50].")
    choose_task(page, "detection_3d")
    run(page)
    expect(page.locator("thead")).to_contain_text("yaw in radians")
    expect(page.locator("tbody .numbers span").last).to_have_text("0.50")
    box = (1.0, 2.0, 0.5, 3.0, 0.5, 1.0, 0.7)
    x, y, z, length, width, height, yaw = box
    expected = {frozenset(map(_rounded, line)) for line in edges(box)}
    # The same box along the axes of a file with z up, and of one with y up.
    for up, centre, size in (
        ("z", [x, y, z], [length, width, height]),
        ("y", [x, z, -y], [length, height, width]),
    ):
        drawn = page.evaluate(
            "async ([box, up]) => (await import('./ui/clouds/boxes.js')).edges(box, up)",
            [{"centre": centre, "size": size, "yaw": yaw}, up],
        )
        assert {frozenset(map(_rounded, line)) for line in drawn} == expected


def _rounded(point: Sequence[float]) -> tuple[float, ...]:
    return tuple(round(value, 9) + 0.0 for value in point)


def test_options_are_shown_by_their_probability(page: Page) -> None:
    choose_task(page, "vqa_choice")
    page.fill(".task-form textarea[name=choices]", "one\ntwo\nthree")
    page.check("input[value=likelihood]")
    run(page)
    expect(page.locator(".options li")).to_have_count(3)
    shares = [float(text.strip(" <%")) for text in page.locator(".option-share").all_inner_texts()]
    assert sum(shares) == pytest.approx(100, abs=2)
    expect(page.locator(".options li.best .option-name")).to_have_count(1)


def test_a_picture_that_the_browser_cannot_show_is_sent_and_marked(
    page: Page, server: Visited
) -> None:
    file: FilePayload = {"name": "scan.tif", "mimeType": "", "buffer": tiff(120, 80)}
    page.set_input_files(".composer input[type=file]", file)
    expect(page.locator(".composer .tile .no-thumb")).to_have_count(1)
    expect(page.locator(".composer .tile")).to_contain_text("no preview")
    ask(page, "What is this?")
    answered(page)
    expect(page.locator(".sent-media")).to_contain_text(
        "No preview of scan.tif: this browser cannot show it."
    )
    server.engine.say("bag [0.25, 0.50, 0.75, 1.00]")
    choose_task(page, "detection")
    page.set_input_files(".task-form input[type=file]", file)
    run(page)
    # The mark is where it is in the picture, whose size the answer gives.
    expect(page.locator(".stage .marks")).to_have_attribute("viewBox", "0 0 120 80")
    mark = page.locator(".stage .mark rect.line")
    expect(mark).to_have_attribute("x", "30")
    expect(mark).to_have_attribute("height", "40")
    expect(page.locator(".stage figcaption")).to_contain_text("cannot show it")
    frame = page.locator(".stage .no-picture").bounding_box()
    assert frame is not None
    assert frame["width"] / frame["height"] == pytest.approx(1.5, abs=0.05)


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl on this machine")
def test_the_curl_line_asks_the_same(page: Page, server: Visited, tmp_path: Path) -> None:
    server.engine.say("The answer is (B).")
    choose_task(page, "vqa_choice")
    name = 'it\'s a, "file".png'
    page.set_input_files(
        ".task-form input[type=file]", {"name": name, "mimeType": "image/png", "buffer": png()}
    )
    page.fill(".task-form textarea[name=question]", "@what's $HOME?")
    page.fill(".task-form textarea[name=choices]", "a; b\n[c]")
    run(page)
    (tmp_path / name).write_bytes(png())
    line = page.locator(".curl").text_content() or ""
    done = subprocess.run(
        ["/bin/sh", "-c", line], cwd=tmp_path, capture_output=True, text=True, timeout=60,
        env={"PATH": os.environ["PATH"], "HOME": "elsewhere"},
    )  # fmt: skip
    answer = json.loads(done.stdout)
    assert answer["answer"] == {"choice": 1}, done
    expect(page.locator(".headline")).to_have_text("(B) [c]")


def clouds() -> dict[str, bytes]:
    """The same three coloured points in every format."""
    xyz = np.array([[0, 1, 2], [-3.5, 0.25, 4], [1, 1, 1]], np.float32)
    rgb = np.array([[255, 0, 0], [0, 255, 0], [1, 2, 3]], np.uint8)
    both = np.hstack([xyz, rgb]).astype(np.float32)
    packed, stored = io.BytesIO(), io.BytesIO()
    np.savez_compressed(packed, xyz=xyz, rgb=rgb)
    np.savez(stored, points=both.astype(np.float64))
    lines = "\n".join(" ".join(f"{value:g}" for value in row) for row in both)
    ply = "ply\nformat {}\nelement vertex 3\n" + "".join(
        f"property {kind} {name}\n"
        for kind, names in (("float", "xyz"), ("uchar", ("red", "green", "blue")))
        for name in names
    ) + "end_header\n"  # fmt: skip
    record = np.rec.fromarrays([*xyz.T, *rgb.T], dtype="<f4,<f4,<f4,u1,u1,u1").tobytes()
    words = rgb.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)
    pcd = ("VERSION 0.7\nFIELDS x y z rgb\nSIZE 4 4 4 4\nTYPE F F F U\nCOUNT 1 1 1 1\nWIDTH 3\n"
           "HEIGHT 1\nPOINTS 3\nDATA {}\n")  # fmt: skip
    rows = np.rec.fromarrays([*xyz.T, words], dtype="<f4,<f4,<f4,<u4")
    return {
        "a.npy": npy(both), "columns.npy": npy(np.asfortranarray(both)),
        "big.npy": npy(both.astype(">f8")),
        "a.npz": packed.getvalue(), "stored.npz": stored.getvalue(),
        "a.xyz": f"# points\n{lines}\n".encode(), "a.bin": both.tobytes(),
        "a.ply": (ply.format("ascii 1.0") + lines + "\n").encode(),
        "binary.ply": ply.format("binary_little_endian 1.0").encode() + record,
        "a.pcd": (pcd.format("ascii") + "\n".join(
            f"{x:g} {y:g} {z:g} {word}" for (x, y, z), word in zip(xyz, words, strict=True)
        ) + "\n").encode(),
        "binary.pcd": pcd.format("binary").encode() + rows.tobytes(),
    }  # fmt: skip


def unusual_clouds() -> dict[str, bytes]:
    """The same points far away, with holes, in other orders, as other programs write them."""
    xyz = np.array([[0, 1, 2], [-3.5, 0.25, 4], [1, 1, 1]])
    rgb = np.array([[255, 0, 0], [0, 255, 0], [1, 2, 3]])
    normals = np.array([[0.6, -0.8, 0], [0, 0, 1], [-1, 0, 0]])
    both = np.hstack([xyz, rgb])
    holes = np.insert(both, 1, np.nan, axis=0)
    far = np.hstack([xyz + np.array([600_000, 5_300_000, 450]), rgb])

    def rows(array: Any, sep: str = " ") -> str:
        return "".join(sep.join(f"{v:.12g}" for v in row) + "\n" for row in array)

    def columns(names: str, array: Any) -> list[tuple[str, Any]]:
        return list(zip(names.split(), np.asarray(array).T, strict=True))

    colours = "diffuse_red diffuse_green diffuse_blue"
    backwards = [(name, v.astype("f8")) for name, v in columns("z y x", xyz[:, ::-1])]
    faces = ("element face 2\nproperty list uchar short i\nproperty uchar flag\n",
             b"\2\0\1\0\2\7" + b"\1\0\3\7")  # fmt: skip
    sixteen = [(name, (v * 257).astype("u2")) for name, v in columns("r g b", rgb)]
    stored = io.BytesIO()
    np.savez(stored, pc=xyz, colors=rgb, boxes=rgb[:1])
    return {
        "holes.npy": npy(holes), "far.npy": npy(far), "image.npy": npy(both.reshape(1, 3, 6)),
        "columns.npy": npy(np.asfortranarray(both.reshape(3, 1, 6))),
        "normals.npy": npy(np.hstack([xyz, normals, rgb])), "pc.npz": stored.getvalue(),
        "a.csv": ("\ufeff" + "X,Y,Z,N,R,G,B\n" + rows(np.insert(both, 3, 7, axis=1), ",")).encode(),
        "decimal.txt": ("b;g;r;x;y;z\n" + rows(np.hstack([rgb[:, ::-1], xyz]), ";")
                        .replace(".", ",")).encode(),
        "a.pts": ("3\n" + rows(np.insert(both, 3, -500, axis=1))).encode(),
        "a.asc": ("//X Y Z R G B\n3\n" + rows(both)).encode(),
        "pandas.csv": ("x,y,z,r,g,b,i\n" + rows(both, ",").replace("\n", ",\n")
                       + "1,,2,3,4,5,6\n").encode(),
        "far.xyz": rows(far).encode(), "holes.txt": rows(holes, "\t").encode(),
        "backwards.ply": ply_file([*columns(colours, rgb.astype("u1")), *backwards], before=faces),
        "sixteen.ply": ply_file([*sixteen, *backwards], "binary_big_endian"),
        "channels.pcd": pcd_file([*columns("r g b", rgb / 255), *backwards]),
        "compressed.pcd": pcd_file([*columns("r g b", rgb.astype("u1")), *backwards],
                                   "binary_compressed"),
    }  # fmt: skip


def test_the_preview_reads_clouds_as_the_server_does(page: Page) -> None:
    read = """async ([format, bytes, columns]) => {
        const { readCloud } = await import("./ui/clouds/read.js");
        const cloud = await readCloud(Uint8Array.from(bytes).buffer, format, columns);
        const { count, xyz, rgb, origin } = cloud;
        return { count, xyz: [...xyz], rgb: rgb && [...rgb], origin };
    }"""
    for name, data in (clouds() | unusual_clouds()).items():
        format_ = name.rpartition(".")[2]
        columns = 6 if format_ == "bin" else None
        seen: dict[str, Any] = page.evaluate(read, [format_, list(data), columns])
        truth = decode_point_cloud(data, format_, columns=columns)
        assert seen["count"] == 3 + truth.dropped, name
        points = np.reshape(seen["xyz"], (-1, 3)) + seen["origin"]
        assert np.allclose(points, truth.xyz + np.array(truth.origin), rtol=0, atol=1e-5), name
        assert seen["rgb"] == [255, 0, 0, 0, 255, 0, 1, 2, 3], name


def test_the_preview_says_what_it_cannot_read_and_sends_it_all_the_same(page: Page) -> None:
    page.set_input_files(
        ".composer input[type=file]", {"name": "a.npy", "mimeType": "", "buffer": b"no array"}
    )
    ask(page, "What is this?")
    expect(page.locator(".sent-media")).to_contain_text("No preview of a.npy")
    answered(page, "failed")
    expect(page.locator(".error-card")).to_contain_text("media_undecodable")
    page.set_input_files(
        ".composer input[type=file]", {"name": "a.doc", "mimeType": "text/plain", "buffer": b"x"}
    )
    expect(page.locator(".composer .problem")).to_contain_text("a.doc is not supported")


def test_a_cloud_without_a_preview_is_sent_with_its_own_axis(page: Page) -> None:
    square = np.array([[0, 0, 0], [2, 0, 0], [2, 2, 0]])
    glb = mesh_files.glb(*mesh_files.gltf_parts(square, np.array([[0, 1, 2]])))
    page.set_input_files(
        ".composer input[type=file]", {"name": "a.glb", "mimeType": "", "buffer": glb}
    )
    with page.expect_request("**/v1/chat/completions") as sent:
        ask(page, "What is this?")
    answered(page)
    hint = "No preview of a.glb: the preview does not read glb files. It can still be sent"
    expect(page.locator(".sent-media")).to_contain_text(hint)
    [part, _] = json.loads(sent.value.post_data or "")["messages"][-1]["content"]
    cloud = part["point_cloud_url"]
    assert (cloud["format"], cloud["up_axis"]) == ("glb", "y")


def test_it_fits_a_phone(page: Page, server: Visited) -> None:
    page.set_viewport_size({"width": 380, "height": 700})
    page.click("text=How many products are there?")
    answered(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 380
    server.engine.say("bag [0.25, 0.50, 0.75, 1.00].")
    page.click("#tab-tasks")
    expect(page.locator(".task-form .tile")).to_have_count(1)
    run(page)
    wide = "[...document.querySelectorAll('#panel-tasks *')].filter(one => one.getBoundingClientRect().right > 381 && !one.closest('.curl')).map(one => one.className)"  # noqa: E501
    assert page.evaluate(wide) == []


def test_it_works_by_keyboard(page: Page) -> None:
    page.focus("#tab-chat")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#panel-tasks")).to_be_visible()
    expect(page.locator("#tab-tasks")).to_be_focused()
    assert page.url.endswith("#tasks")
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#panel-chat")).to_be_visible()
