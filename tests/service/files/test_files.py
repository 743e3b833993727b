"""Uploaded files: OpenAI's routes, whose they are, and what a disk without room does."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import io
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import openai
import pytest
import pytest_asyncio
from fastapi import FastAPI
from PIL import Image
from starlette.types import Message

from service.app import create_app
from service.config.settings import Settings
from service.engine.echo_engine import EchoEngine
from service.exceptions import (
    FileQuotaError,
    StorageFullError,
    StorageUnavailableError,
    StoredFileNotFoundError,
)
from service.files.multipart import read_file_form
from service.files.store import FileLimits, FileStore, Purpose
from service.startup.configs import engine_config
from tests.service.chat_requests import REPLY, chat_body, npy, png
from tests.service.local import BASE_URL
from tests.service.quick_app import quick_app

URL = "/v1/files"
CHAT = "/v1/chat/completions"
ALICE, BOB = {"Authorization": "Bearer alice"}, {"Authorization": "Bearer bob"}
pytestmark = pytest.mark.asyncio(loop_scope="module")


def settings_of(settings: Settings, root: Path, **more: Any) -> Settings:
    values = {
        "files_dir": root, "api_keys": "alice,bob", "max_file_bytes": 1 << 20,
        "max_stored_bytes": 4 << 20, "max_stored_files": 8, "max_body_bytes": 1 << 19,
        "max_media_bytes": 1 << 18,
    }  # fmt: skip
    return Settings(**(settings.model_dump() | values | more))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def app(
    settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[FastAPI]:
    """An app with two keys and little room."""
    ours = settings_of(settings, tmp_path_factory.mktemp("files"))
    app = create_app(ours, EchoEngine(engine_config(ours), REPLY))
    async with app.router.lifespan_context(app):
        await app.state.services.lifecycle.wait_loaded()
        yield app


@pytest_asyncio.fixture(autouse=True, loop_scope="module")
async def _empty(app: FastAPI) -> AsyncIterator[None]:
    yield
    files = app.state.services.files
    for key in (b"alice", b"bob"):
        for stored in files.list_files(hashlib.sha256(key).hexdigest()):
            await files.delete(hashlib.sha256(key).hexdigest(), stored.id)


def root_of(app: FastAPI) -> Path:
    root = app.state.services.files.directory
    assert isinstance(root, Path)
    return root


def files_under(root: Path) -> list[Path]:
    # The database of batches lies beside them.
    names = (path for path in root.rglob("*") if not path.name.startswith("batches."))
    return [path for path in names if path.is_file()]


def on_disk(app: FastAPI) -> list[Path]:
    return files_under(root_of(app))


async def upload(
    client: httpx.AsyncClient,
    data: bytes,
    name: str = "a.png",
    purpose: str = "vision",
    headers: dict[str, str] = ALICE,
    **fields: str,
) -> httpx.Response:
    form = {"purpose": purpose, **fields}
    return await client.post(URL, data=form, files={"file": (name, data)}, headers=headers)


def of_file(file_id: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"file_id": file_id}}


async def test_a_file_is_stored_seen_fetched_and_deleted(client: httpx.AsyncClient) -> None:
    data = png()
    created = await upload(client, data, "../dir\\röd.png")
    assert created.status_code == 200, created.text
    file = created.json()
    assert file["id"] == f"file-{hashlib.sha256(data).hexdigest()}"
    assert (file["object"], file["bytes"], file["purpose"]) == ("file", len(data), "vision")
    assert file["filename"] == "röd.png"
    assert file["expires_at"] - file["created_at"] == 7 * 86400
    assert (await client.get(f"{URL}/{file['id']}", headers=ALICE)).json() == file
    content = await client.get(f"{URL}/{file['id']}/content", headers=ALICE)
    assert content.content == data
    assert content.headers["content-type"] == "application/octet-stream"
    assert content.headers["content-disposition"] == "attachment; filename*=utf-8''r%C3%B6d.png"
    deleted = await client.delete(f"{URL}/{file['id']}", headers=ALICE)
    assert deleted.json() == {"id": file["id"], "object": "file", "deleted": True}
    for method, path in (("GET", ""), ("GET", "/content"), ("DELETE", "")):
        gone = await client.request(method, f"{URL}/{file['id']}{path}", headers=ALICE)
        assert gone.status_code == 404
        assert gone.json()["error"]["code"] == "file_not_found"


async def test_openais_client_works_unchanged(app: FastAPI) -> None:
    transport = httpx.ASGITransport(app)
    http = httpx.AsyncClient(transport=transport)
    async with openai.AsyncOpenAI(
        api_key="alice",
        base_url=f"{BASE_URL}/v1",
        http_client=http,  # type: ignore[arg-type] # of httpx2 in its types
    ) as client:
        file = await client.files.create(
            file=("a.png", png()),
            purpose="vision",
            expires_after={"anchor": "created_at", "seconds": 3600},
        )
        assert (file.expires_at or 0) - file.created_at == 3600
        assert [one.id async for one in client.files.list()] == [file.id]
        assert (await client.files.content(file.id)).content == png()
        answer = await client.chat.completions.create(
            model="tiny-lamm",
            messages=[
                {
                    "role": "user",
                    "content": [
                        {"type": "file", "file": {"file_id": file.id}},
                        {"type": "text", "text": "What is this?"},
                    ],
                }
            ],
        )
        assert answer.choices[0].message.content == REPLY
        assert (await client.files.delete(file.id)).deleted
        with pytest.raises(openai.NotFoundError):
            await client.files.retrieve(file.id)


async def test_the_same_content_twice_is_one_file(app: FastAPI, client: httpx.AsyncClient) -> None:
    first = (await upload(client, b"same", "a.png")).json()
    second = (await upload(client, b"same", "b.bin", "user_data")).json()
    assert second["id"] == first["id"]
    assert (second["filename"], second["purpose"]) == ("b.bin", "user_data")
    assert len((await client.get(URL, headers=ALICE)).json()["data"]) == 1
    assert len(on_disk(app)) == 2  # the content and what is known of it


async def test_one_key_never_sees_anothers_files(app: FastAPI, client: httpx.AsyncClient) -> None:
    file = (await upload(client, png())).json()
    for method, path in (("GET", ""), ("GET", "/content"), ("DELETE", "")):
        other = await client.request(method, f"{URL}/{file['id']}{path}", headers=BOB)
        assert other.status_code == 404
    assert (await client.get(URL, headers=BOB)).json()["data"] == []
    asked = await client.post(CHAT, json=chat_body(of_file(file["id"])), headers=BOB)
    assert asked.status_code == 404
    assert asked.json()["error"]["param"] == "messages[0].content[0].image_url.file_id"
    # The same content is another file there, and survives the first one's end.
    assert (await upload(client, png(), headers=BOB)).json()["id"] == file["id"]
    await client.delete(f"{URL}/{file['id']}", headers=ALICE)
    assert (await client.get(f"{URL}/{file['id']}", headers=BOB)).status_code == 200
    assert (await client.get(URL)).status_code == 401


async def test_pages_of_a_list(client: httpx.AsyncClient) -> None:
    purposes = ("vision", "batch", "vision", "assistants")
    for number, purpose in enumerate(purposes):
        await upload(client, bytes([number]), f"{number}", purpose)

    async def page(**query: str) -> dict[str, Any]:
        response = await client.get(URL, params=query, headers=ALICE)
        assert response.status_code == 200
        body: dict[str, Any] = response.json()
        return body

    everything = await page(order="asc")
    assert len(everything["data"]) == 4
    assert not everything["has_more"]
    first = await page(order="asc", limit="3")
    assert (len(first["data"]), first["has_more"]) == (3, True)
    rest = await page(order="asc", limit="3", after=first["last_id"])
    assert [file["id"] for file in first["data"] + rest["data"]] == [
        file["id"] for file in everything["data"]
    ]
    assert {file["purpose"] for file in (await page(purpose="vision"))["data"]} == {"vision"}
    for bad in ({"limit": "0"}, {"order": "up"}, {"after": "file-0"}, {"purpose": "x"}):
        refused = await client.get(URL, params=bad, headers=ALICE)
        assert refused.status_code == 400
        assert refused.json()["error"]["message"]


async def test_files_stand_in_for_pictures_and_clouds(client: httpx.AsyncClient) -> None:
    picture = (await upload(client, png())).json()["id"]
    points = npy(np.zeros((10, 3), np.float32))
    cloud = (await upload(client, points, "a.npy", "user_data")).json()["id"]
    parts = [
        of_file(picture),
        {"type": "point_cloud_url", "point_cloud_url": {"file_id": cloud, "format": "npy"}},
        {"type": "file", "file": {"file_id": cloud}},
    ]
    for part in parts:
        answer = await client.post(CHAT, json=chat_body(part), headers=ALICE)
        assert answer.status_code == 200, answer.text
    details = answer.json()["usage"]["prompt_tokens_details"]
    assert (details["image_tokens"], details["point_cloud_tokens"]) == (0, 8)


async def test_a_file_stands_in_for_a_tasks_picture(client: httpx.AsyncClient) -> None:
    picture = (await upload(client, png())).json()["id"]
    body = {"model": "tiny-lamm", "image_url": {"file_id": picture}}
    answer = await client.post("/v1/tasks/ocr", json=body, headers=ALICE)
    assert answer.status_code == 200, answer.text
    assert answer.json()["text"] == REPLY
    other = await client.post("/v1/tasks/ocr", json=body, headers=BOB)
    assert (other.status_code, other.json()["error"]["param"]) == (404, "image_url.file_id")


@pytest.mark.parametrize(
    ("part", "status", "words"),
    [
        ({"image_url": {"file_id": "file-1"}}, 404, "file 'file-1' not found"),
        ({"image_url": {"file_id": "../../etc/passwd"}}, 404, "not found"),
        ({"image_url": {}}, 400, "either url or file_id"),
        ({"image_url": {"url": "data:,", "file_id": "file-1"}}, 400, "either url or file_id"),
        ({"file": {}}, 400, "either file_id or file_data"),
        ({"file": {"file_data": "data:x;base64,AAAA", "filename": "a.pdf"}}, 415, "'a.pdf'"),
        ({"file": {"file_data": "/etc/passwd", "filename": "a.png"}}, 400, "never opened"),
    ],
)
async def test_references_that_lead_nowhere(
    client: httpx.AsyncClient, part: dict[str, Any], status: int, words: str
) -> None:
    body = chat_body({"type": next(iter(part)), **part})
    refused = await client.post(CHAT, json=body, headers=ALICE)
    assert refused.status_code == status, refused.text
    assert words in refused.json()["error"]["message"]
    assert refused.json()["error"]["param"].startswith("messages[0].content[0]")


async def test_a_stored_file_counts_like_a_sent_one(client: httpx.AsyncClient) -> None:
    large = (await upload(client, bytes(1 << 19))).json()["id"]
    refused = await client.post(CHAT, json=chat_body(of_file(large)), headers=ALICE)
    assert refused.status_code == 413
    assert "524288 bytes; the limit is 262144" in refused.json()["error"]["message"]


async def test_stored_files_of_one_request_are_limited_together(
    client: httpx.AsyncClient,
) -> None:
    stream = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (256, 256, 3), np.uint8)
    Image.fromarray(noise).save(stream, "PNG")
    ids = [
        (await upload(client, stream.getvalue() + bytes([number]))).json()["id"]
        for number in range(3)
    ]
    two = await client.post(CHAT, json=chat_body(*map(of_file, ids[:2])), headers=ALICE)
    assert two.status_code == 200, two.text
    refused = await client.post(CHAT, json=chat_body(*map(of_file, ids)), headers=ALICE)
    assert refused.status_code == 413
    assert "the limit per request is 524288" in refused.json()["error"]["message"]


async def test_limits_of_size_room_and_number(app: FastAPI, client: httpx.AsyncClient) -> None:
    large = await upload(client, bytes((1 << 20) + 1))
    assert large.status_code == 413
    assert "the limit of 1048576 bytes" in large.json()["error"]["message"]
    for number in range(3):
        assert (await upload(client, bytes([number]) * (1 << 20))).status_code == 200
    assert (await upload(client, bytes([9]) * ((1 << 20) - 5))).status_code == 200
    full = await upload(client, bytes([8]) * 100)
    assert full.status_code == 507
    assert full.json()["error"]["code"] == "storage_full"
    assert full.headers["x-should-retry"] == "false"
    for number in range(4):
        await upload(client, bytes([number]) * 1)
    many = await upload(client, b"")
    assert many.status_code == 507
    assert "8 files are stored; the limit is 8" in many.json()["error"]["message"]
    assert not list((root_of(app) / "incoming").iterdir())


async def test_a_key_has_its_own_share(settings: Settings, tmp_path: Path) -> None:
    ours = settings_of(settings, tmp_path, key_max_stored_bytes=1000, key_max_stored_files=3)
    async with quick_app(ours) as (app, client):
        await app.state.services.files.start()
        try:
            assert (await upload(client, bytes(600))).status_code == 200
            refused = await upload(client, bytes([1]) * 401)
            assert refused.status_code == 403
            assert refused.json()["error"] == {
                "message": "the files of this key would take 1001 bytes; its limit is 1000",
                "type": "insufficient_quota", "param": "file", "code": "file_quota_exceeded",
            }  # fmt: skip
            assert (await upload(client, bytes(600), headers=BOB)).status_code == 200
            assert (await upload(client, bytes([1]) * 400)).status_code == 200
            assert (await upload(client, b"")).status_code == 200
            many = await upload(client, b"")
            assert many.status_code == 403
            message = "3 files of this key are stored; its limit is 3"
            assert many.json()["error"]["message"] == message
            first = (await client.get(URL, params={"order": "asc"}, headers=ALICE)).json()["data"]
            for file in first:
                assert (
                    await client.delete(f"{URL}/{file['id']}", headers=ALICE)
                ).status_code == 200
            assert (await upload(client, bytes(1000))).status_code == 200
        finally:
            await app.state.services.files.stop()


async def test_uploads_at_once_share_their_owner_s_room(tmp_path: Path) -> None:
    store = FileStore(tmp_path, FileLimits(1000, 1000, 10, 3600.0, owner_bytes=100))
    await store.start()
    try:
        async with store.receive("a") as first, store.receive("a") as second:
            await first.write(bytes(60))
            with pytest.raises(FileQuotaError, match="would take 101 bytes; its limit is 100"):
                await second.write(bytes(41))
            await second.write(bytes([1]) * 40)
        async with store.receive("a") as again:
            await again.write(bytes(100))  # what was given up counts no longer
        assert store.quota.incoming_bytes == 0
    finally:
        await store.stop()


async def test_what_the_service_writes_for_an_owner_counts_and_is_not_refused(
    tmp_path: Path,
) -> None:
    store = FileStore(tmp_path, FileLimits(1000, 1000, 10, 3600.0, 100, 1))
    await store.start()
    try:
        for number in range(2):
            async with store.receive("a", any_size=True) as output:
                await output.write(bytes([number]) * 101)
                await output.commit("out", Purpose.BATCH_OUTPUT)
        assert len(store.list_files("a")) == 2
        with pytest.raises(FileQuotaError, match="2 files of this key are stored; its limit is 1"):
            async with store.receive("a"):
                pass
    finally:
        await store.stop()


@pytest.mark.parametrize(
    ("body", "kind", "words"),
    [
        (b"{}", "application/json", "must be multipart/form-data"),
        (b"", "multipart/form-data", "must be multipart/form-data"),
        (b"", "multipart/form-data; boundary=b", "incomplete"),
        (b"nonsense", "multipart/form-data; boundary=b", "malformed"),
        (b"--b\r\n\r\nx\r\n--b", "multipart/form-data; boundary=b", "incomplete"),
        (b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nvision\r\n--b--\r\n',
         "multipart/form-data; boundary=b", "file is missing"),
        (b'--b\r\nContent-Disposition: form-data; name="x"\r\n\r\n' + b"y" * 2000 + b"\r\n--b--",
         "multipart/form-data; boundary=b", "longer than 1024"),
        (b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n1\r\n--b--',
         "multipart/form-data; boundary=b", "purpose is missing"),
        (b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n1\r\n' * 2
         + b"--b--", "multipart/form-data; boundary=b", "more than one file"),
    ],
)  # fmt: skip
async def test_forms_that_are_none(
    app: FastAPI, client: httpx.AsyncClient, body: bytes, kind: str, words: str
) -> None:
    headers = {**ALICE, "Content-Type": kind}
    refused = await client.post(URL, content=body, headers=headers)
    assert refused.status_code == 400, refused.text
    assert words in refused.json()["error"]["message"]
    assert not on_disk(app)


@pytest.mark.parametrize("fields", [{"purpose": "fine-tune"}, {"expires_after[seconds]": "-1"}])
async def test_fields_that_are_not_known(
    app: FastAPI, client: httpx.AsyncClient, fields: dict[str, str]
) -> None:
    refused = await upload(client, b"x", **fields)  # type: ignore[arg-type]
    assert refused.status_code == 400
    assert refused.json()["error"]["param"] in fields
    assert not on_disk(app)


@pytest.mark.parametrize(("number", "status"), [(errno.ENOSPC, 507), (errno.EIO, 503)])
async def test_a_disk_that_is_full_or_broken(
    app: FastAPI,
    client: httpx.AsyncClient,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    status: int,
) -> None:
    write, room = os.write, 300_000

    def failing(fd: int, data: memoryview) -> int:
        nonlocal room
        if room < len(data):
            raise OSError(number, "no")
        room -= len(data)
        return write(fd, data)

    monkeypatch.setattr(os, "write", failing)
    refused = await upload(client, bytes(1 << 20))
    assert refused.status_code == status
    assert "No" not in refused.json()["error"]["message"]
    monkeypatch.undo()
    assert not on_disk(app)
    assert (await upload(client, b"again")).status_code == 200


async def test_an_upload_that_is_cut_off_leaves_nothing(app: FastAPI) -> None:
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
    coming: list[Message] = [
        {"type": "http.request", "body": head + bytes(1 << 18), "more_body": True},
        {"type": "http.disconnect"},
    ]
    sent: list[Message] = []

    async def receive() -> Message:
        return coming.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    headers = {**ALICE, "Content-Type": "multipart/form-data; boundary=b"}
    scope = {
        "type": "http", "method": "POST", "path": URL, "query_string": b"", "http_version": "1.1",
        "headers": [(k.lower().encode(), v.encode()) for k, v in headers.items()], "app": app,
    }  # fmt: skip
    await app(scope, receive, send)
    assert sent[0]["status"] == 499
    assert not on_disk(app)
    assert app.state.services.lifecycle.in_flight == 0
    assert app.state.services.files.quota.incoming_bytes == 0


async def opened(root: Path, **more: Any) -> FileStore:
    store = FileStore(root, FileLimits(1 << 20, 1 << 21, 10, 3600.0), **more)
    await store.start()
    return store


async def test_uploads_that_end_together_keep_to_the_number(tmp_path: Path) -> None:
    store = FileStore(tmp_path, FileLimits(1 << 20, 1 << 21, 1, 3600.0))
    await store.start()
    try:
        async with store.receive("a") as first, store.receive("b") as second:
            await first.write(b"1")
            await second.write(b"2")
            await first.commit("1", Purpose.VISION)
            with pytest.raises(StorageFullError, match="1 files are stored; the limit is 1"):
                await second.commit("2", Purpose.VISION)
        assert len(store.list_files("a")) == 1
        assert store.list_files("b") == []
    finally:
        await store.stop()


async def test_too_many_file_ids_are_refused_before_any_is_looked_up(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[str] = []
    monkeypatch.setattr(FileStore, "get", lambda _, __, file_id: looked.append(file_id))
    body = chat_body(*[of_file("file-1")] * 17)
    refused = await client.post(CHAT, json=body, headers=ALICE)
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "too_many_media")
    assert "17 pictures and clouds; the limit is 16" in refused.json()["error"]["message"]
    assert looked == []


async def test_files_survive_a_restart_and_end_when_they_expire(tmp_path: Path) -> None:
    (tmp_path / "incoming").mkdir()
    (tmp_path / "incoming" / "left").write_bytes(b"by a crash")
    os.utime(tmp_path / "incoming" / "left", (0, 0))
    store = await opened(tmp_path)
    assert not list((tmp_path / "incoming").iterdir())
    async with store.receive("alice") as upload:
        await upload.write(b"kept")
        stored = await upload.commit("a", Purpose.VISION)
    await store.stop()
    again = await opened(tmp_path)
    assert again.get("alice", stored.id) == stored
    assert stored.path.read_bytes() == b"kept"
    await again.stop()
    now = time.time()
    later = await opened(tmp_path, clock=lambda: now)
    now += 3601
    with pytest.raises(StoredFileNotFoundError):
        later.get("alice", stored.id)
    assert later.list_files("alice") == []
    await later.sweep()
    assert not await asyncio.to_thread(files_under, tmp_path)
    await later.stop()


async def test_damaged_metadata_is_no_file(tmp_path: Path) -> None:
    store = await opened(tmp_path)
    for text in (b"", b"[]", b"{}", b'{"filename": 1', b'{"expires_at": "soon"}'):
        async with store.receive("") as upload:
            await upload.write(b"x")
            stored = await upload.commit("a", Purpose.BATCH)
        stored.path.with_suffix(".json").write_bytes(text)
        assert store.list_files("") == []
        await store.sweep()
        assert not stored.path.exists()
    await store.stop()


async def test_a_temporary_directory_goes_with_the_store() -> None:
    store = FileStore(None, FileLimits(10, 10, 10, 10.0))
    with pytest.raises(StorageUnavailableError):
        store.get("", "file-0")
    await store.start()
    root = store.directory
    assert await asyncio.to_thread(root.is_dir)
    await store.stop()
    assert not await asyncio.to_thread(root.exists)


async def test_a_directory_that_cannot_be_written_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OSError, match="file"):
        await opened(tmp_path / "file")


@pytest.mark.parametrize(
    ("before", "after"), [(b"\r\n" * 1024, b""), (b"", b"z" * 2048)], ids=["before", "behind"]
)
async def test_what_stands_around_the_parts_is_not_held(before: bytes, after: bytes) -> None:
    """Counted as held, it would leave no room for the bodies of others."""
    held, most, stored = 0, 0, bytearray()

    async def body() -> AsyncIterator[bytes]:
        nonlocal held, most
        part = (
            b'--B\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nabc\r\n--B--'
        )
        for piece in (*[before] * 50, part, *[after] * 50):
            held += len(piece)
            most = max(most, held)
            yield piece

    async def write(content: bytes) -> None:
        stored.extend(content)

    def written() -> None:
        nonlocal held
        held = 0

    await read_file_form("multipart/form-data; boundary=B", body(), write, written)
    assert stored == b"abc"
    assert most < 3 * 2048


async def test_a_form_has_few_parts_be_they_of_one_name(client: httpx.AsyncClient) -> None:
    part = b'--B\r\nContent-Disposition: form-data; name="f"\r\n\r\n\r\n'
    headers = {**ALICE, "Content-Type": "multipart/form-data; boundary=B"}
    answer = await client.post(URL, content=part * 17 + b"--B--\r\n", headers=headers)
    assert answer.status_code == 400
    assert "more than 16 fields" in answer.json()["error"]["message"]
