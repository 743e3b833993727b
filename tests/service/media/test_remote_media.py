"""Media from remote hosts: what is refused, what is given up, and what is fetched. Real sockets."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator

import httpx
import numpy as np
import pytest
import pytest_asyncio
import trustme
from fastapi import FastAPI

from lamm_model.conversation import Modality
from lamm_model.formats.errors import MediaTooLargeError
from service.app import create_app
from service.config.flags import read_settings
from service.config.settings import Settings
from service.engine.echo_engine import EchoEngine
from service.exceptions import MediaUnreachableError, OverloadedError, RequestError
from service.files.store import FileLimits, FileStore
from service.media.budgets import MediaBudget
from service.media.fetch import MediaFetcher
from service.media.remote_address import AllowedHosts, Resolver, UrlRefusedError, is_public
from service.startup.configs import engine_config
from tests.service.chat_requests import REPLY, chat_body, npy, png
from tests.service.media.media_host import NAME, PNG_HEAD, MediaHost, media_host, ok, redirect

CHAT = "/v1/chat/completions"
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest_asyncio.fixture(loop_scope="module")
async def host(authority: trustme.CA) -> AsyncIterator[MediaHost]:
    async with media_host(authority) as host:
        yield host


# ------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://media.example/a.png", "must begin with https"),
        ("ftp://media.example/a.png", "must begin with https"),
        ("https://other.example/a.png", "'other.example' is not allowed"),
        ("https://media.example.other.example/", "not allowed"),
        ("https://sub.media.example/", "not allowed"),
        ("https://media.example./", "not allowed"),
        ("https://media.example%2eother.example/", "not allowed"),
        ("https://user@media.example/", "user name"),
        ("https://media.example:pw@other.example/", "user name"),
        ("https://media.example@other.example/", "user name"),
        ("https://other.example\\@media.example/", "backslash"),
        ("https://media.example\\.other.example/", "backslash"),
        ("https://other.example#@media.example/", "'other.example' is not allowed"),
        ("https://other.example?@media.example/", "'other.example' is not allowed"),
        ("https:media.example/", "not allowed"),
        ("https:///media.example/", "not allowed"),
        ("https://media.example:22/", "port 22"),
        ("https://media.example:0/", "port 0"),
        ("https://media.example:99999/", "port 99999"),
        ("https://media.example:1\t/", "control character"),
        ("https://media.example/\r\nHost: x", "control character"),
        ("https://media.example/a b", "a space"),
        ("https://127.0.0.1/", "not allowed"),
        ("https://2130706433/", "not allowed"),
        ("https://0177.0.0.1/", "is not valid"),
        ("https://0x7f.1/", "not allowed"),
        ("https://127.1/", "not allowed"),
        ("https://[::1]/", "not allowed"),
        ("https://[::ffff:127.0.0.1]/", "not allowed"),
        ("https://[fe80::1%25eth0]/", "not allowed|cannot be read"),
        ("https://ⓜedia.example/", "is not valid"),
        ("https://localhost/", "not allowed"),
        (f"https://media.example/{'a' * 3000}", "the limit is 2048"),
        ("https://[media.example/", "not allowed"),
        ("https://media.example:port/", "is not valid"),
    ],
)
async def test_urls_that_are_not_fetched(url: str, words: str) -> None:
    with pytest.raises(UrlRefusedError, match=words):
        AllowedHosts(["media.example"]).check(url)


@pytest.mark.parametrize(
    "url",
    [
        "https://MEDIA.example:443/a",
        "https://media。example/a",
        "https://@media.example/a",
    ],
)
async def test_other_ways_of_writing_a_name_lead_to_that_name(url: str) -> None:
    found = AllowedHosts(["Media.example"]).check(url)
    assert (found.host, found.port) == ("media.example", 443)
    # What was checked is what is connected to.
    assert (found.url.host, found.url.port) == ("media.example", None)


@pytest.mark.parametrize(
    "entry",
    ["", "127.0.0.1", "[::1]", "2130706433", "0x7f.1", "127.1", "a/b", "https://a", "u@a", "a b",
     "a:0", "a:99999", "a:x", "*", "*.a", "a?b", "a/", "a."],
)  # fmt: skip
async def test_hosts_that_an_operator_cannot_allow(entry: str) -> None:
    with pytest.raises(ValueError, match="host"):
        AllowedHosts([entry])


PRIVATE = [
    "127.0.0.2", "127.255.255.254", "0.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.1.1",
    "169.254.169.254", "100.64.0.1", "100.100.100.200", "168.63.129.16", "192.0.0.192",
    "192.0.2.1", "192.88.99.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1",
    "240.0.0.1", "255.255.255.255",
    "::", "::1", "::ffff:127.0.0.2", "::ffff:10.0.0.1", "::ffff:7f00:2", "::127.0.0.2",
    "::ffff:0:127.0.0.2", "64:ff9b::7f00:2", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1",
    "2002:7f00:2::", "2002:a9fe:a9fe::1", "2001:0:7f00:2::", "2001:db8::1", "2001:10::1",
    "2606:4700::5efe:127.0.0.2", "fe80::1", "fe80::1%lo", "fec0::1", "fc00::1", "fd00:ec2::254",
    "ff02::1", "100::1", "3fff::1", "5f00::1", "4000::1", "nonsense", "",
]  # fmt: skip


async def test_names_that_lead_inside_are_refused(host: MediaHost) -> None:
    media = host.media(*([found] for found in PRIVATE))
    for address in PRIVATE:
        assert not is_public(address)
        with pytest.raises(RequestError, match="not on the public internet") as caught:
            await host.fetch(media)
        assert caught.value.code == "url_refused"
        assert not address or address not in caught.value.message
    assert len(host.lookups) == len(PRIVATE)
    assert host.connections == 0


async def test_one_address_inside_is_enough(host: MediaHost) -> None:
    for found in (["127.0.0.1", "10.0.0.1"], ["::1", "127.0.0.1"]):
        with pytest.raises(RequestError, match="not on the public internet"):
            await host.fetch(host.media(found))
    assert host.connections == 0


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]
)
async def test_addresses_of_the_internet(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "name", ["localhost", "2130706433", "0177.0.0.1", "0x7f.1", "127.1", "0", "::1"]
)
async def test_the_systems_own_resolver_is_not_believed(name: str) -> None:
    resolver = Resolver()
    with pytest.raises(UrlRefusedError):
        await resolver.resolve(name, 443)
    resolver.close()


async def test_a_name_is_looked_up_once_and_that_address_is_spoken_to(
    host: MediaHost, authority: trustme.CA
) -> None:
    async with media_host(authority, "127.0.0.2", host.port) as inside:
        media = host.media(["127.0.0.1"], ["127.0.0.2"])
        assert await host.fetch(media) == png()
        assert (host.lookups, host.connections) == ([NAME], 1)
        with pytest.raises(RequestError, match="not on the public internet"):
            await host.fetch(media)
        # Rebound between two hops of one fetch.
        host.answers["/hop"] = [redirect("/a.png")]
        with pytest.raises(RequestError, match="not on the public internet"):
            await host.fetch(host.media(["127.0.0.1"], ["127.0.0.2"]), "/hop")
        assert inside.connections == 0


@pytest.mark.parametrize(
    "location",
    [
        "https://127.0.0.1:{port}/a.png",
        "https://2130706433:{port}/a.png",
        "https://[::1]:{port}/a.png",
        "https://169.254.169.254/latest/meta-data/",
        "https://other.example:{port}/a.png",
        "https://media.example/a.png",
        "https://u:p@media.example:{port}/a.png",
        "http://media.example:{port}/a.png",
        "//other.example/a.png",
        "file:///etc/passwd",
        "gopher://127.0.0.1:6379/x",
        "https://other.example\\@media.example:{port}/a.png",
        "https://[",
    ],
)
async def test_redirects_are_checked_like_the_first_address(host: MediaHost, location: str) -> None:
    host.answers["/hop"] = [redirect(location.format(port=host.port))]
    with pytest.raises(RequestError, match="redirects to an address that is not allowed") as caught:
        await host.fetch(host.media(), "/hop")
    assert not re.search(r"\d+\.\d+\.\d+|meta-data|other|passwd", caught.value.message)
    assert host.connections == 1


# ------------------------------------------------------------------------------- what is given up


async def test_redirects_are_counted(host: MediaHost) -> None:
    for number in range(5):
        host.answers[f"/{number}"] = [redirect(f"/{number - 1}" if number else host.url(), 307)]
    assert await host.fetch(host.media(), "/2") == png()
    assert host.connections == 4
    with pytest.raises(MediaUnreachableError, match="more than 3 times"):
        await host.fetch(host.media(), "/3")
    host.answers["/loop"] = [redirect("/loop", 308)]
    with pytest.raises(MediaUnreachableError, match="more than 3 times"):
        await host.fetch(host.media(), "/loop")
    host.answers["/nowhere"] = [b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n"]
    with pytest.raises(MediaUnreachableError, match="without a location"):
        await host.fetch(host.media(), "/nowhere")


HEADER, LINE = b"X: 1234567890\r\n" * 99, b"x" * 4096
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
CHUNK = b"1000\r\n" + bytes(0x1000) + b"\r\n"
ENDLESS = (HEADER, LINE, CONTINUE, CHUNK)


@pytest.mark.parametrize(
    "answer",
    [
        [PNG_HEAD, b"Content-Length: 90000\r\n\r\n", b"x", 0.05],
        [PNG_HEAD, b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n", 0.05],
        [PNG_HEAD, b"X: y\r\n", 0.05],
        [PNG_HEAD[:5], 10.0],
        [10.0],
    ],
    ids=["body", "chunks", "headers", "status line", "silence"],
)
async def test_a_slow_answer_ends_with_the_deadline(
    host: MediaHost, answer: list[bytes | float]
) -> None:
    host.answers["/slow"] = [*answer[:-2], *answer[-2:] * 40]
    started = time.perf_counter()
    with pytest.raises(MediaUnreachableError, match=r"within 0\.6 s"):
        await host.fetch(host.media(timeout_s=0.6), "/slow")
    assert time.perf_counter() - started < 5.0


async def test_a_host_that_never_says_hello(host: MediaHost) -> None:
    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(listen, "127.0.0.1", 0)
    host.port = server.sockets[0].getsockname()[1]
    with pytest.raises(MediaUnreachableError):
        await host.fetch(host.media(timeout_s=2.0))
    server.close()


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        ([ok(bytes(100_001))], MediaTooLargeError, "at least 100001 bytes; the limit is 100000"),
        ([PNG_HEAD, b"Content-Length: 999999999999\r\n\r\n"], MediaTooLargeError, "999999999999"),
        ([PNG_HEAD, b"\r\n", bytes(200_000)], MediaTooLargeError, "the limit is 100000"),
        ([PNG_HEAD, b"Transfer-Encoding: chunked\r\n\r\n", CHUNK], MediaTooLargeError, "limit"),
        ([PNG_HEAD, HEADER], MediaUnreachableError, "answer is invalid"),
        ([b"HTTP/1.1 200 ", LINE], MediaUnreachableError, "answer is invalid"),
        ([CONTINUE], MediaUnreachableError, "within"),
        ([PNG_HEAD, b"Content-Length: 10\r\n\r\nshort"], MediaUnreachableError, "is invalid"),
        ([b"SSH-2.0-x\r\n\r\n"], MediaUnreachableError, "answer is invalid"),
        ([b""], MediaUnreachableError, "answer is invalid"),
        ([ok(b"x", "Content-Encoding: gzip")], MediaUnreachableError, "content encoding"),
        ([ok(b"<html>").replace(b"image/png", b"text/html")], MediaUnreachableError, "'text/html'"),
        ([ok(b"x").replace(b"200 OK", b"206 Part")], MediaUnreachableError, "status 206"),
        ([ok(b"x").replace(b"200 OK", b"500 Oh")], MediaUnreachableError, "status 500"),
    ],
)
async def test_answers_that_are_no_medium(
    host: MediaHost, answer: list[bytes], error: type[Exception], words: str
) -> None:
    host.answers["/bad"] = answer
    if answer[-1] in ENDLESS:
        host.forever.add("/bad")
    with pytest.raises(error, match=words) as caught:
        await host.fetch(host.media(timeout_s=1.0 if words == "within" else 30.0), "/bad")
    assert "127.0.0" not in str(caught.value)


async def test_a_certificate_must_be_the_names(host: MediaHost) -> None:
    other = f"other.example:{host.port}"
    media = host.media(hosts=[other])
    url = media.hosts.check(host.url(name="other.example"))
    with pytest.raises(MediaUnreachableError, match="'other\\.example' cannot be reached"):
        await media.fetch(url, Modality.IMAGE, MediaBudget(100, 100).item(), "url")
    media = host.media()
    media.tls = httpx.create_ssl_context(trust_env=False)
    with pytest.raises(MediaUnreachableError):
        await host.fetch(media)


async def test_names_that_lead_nowhere(host: MediaHost) -> None:
    async def lookup(_: str, __: int) -> list[str]:
        raise OSError("no such name")

    media = host.media([])
    with pytest.raises(MediaUnreachableError, match="cannot be reached"):
        await host.fetch(media)
    media.resolver = Resolver(lookup)
    with pytest.raises(MediaUnreachableError, match="cannot be reached"):
        await host.fetch(media)


# --------------------------------------------------------------------------------- what is fetched


async def test_a_picture_is_fetched_by_name(
    host: MediaHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    assert await host.fetch(host.media()) == png()
    assert host.names == [NAME]
    [request] = host.requests
    assert f"host: {NAME}:{host.port}".encode() in request.lower()
    assert b"accept-encoding: identity" in request.lower()
    assert b"cookie" not in request.lower()
    assert b"authorization" not in request.lower()


async def test_the_next_address_is_tried(host: MediaHost) -> None:
    media = host.media(["2001:4860:4860::8888", "127.0.0.1"], timeout_s=4.0)
    assert await host.fetch(media) == png()


async def test_clouds_may_be_text(host: MediaHost) -> None:
    text = b"0 0 0\n1 1 1\n"
    host.answers["/a.xyz"] = [ok(text).replace(b"image/png", b"text/plain; charset=utf-8")]
    assert await host.fetch(host.media(), "/a.xyz", Modality.POINT_CLOUD) == text
    with pytest.raises(MediaUnreachableError, match="expected a point cloud"):
        await host.fetch(host.media(), "/a.png", Modality.POINT_CLOUD)
    with pytest.raises(MediaUnreachableError, match="expected a picture"):
        await host.fetch(host.media(), "/a.xyz")


async def test_fetches_take_turns(host: MediaHost) -> None:
    host.answers["/slow"] = [1.5, ok(png())]
    files = FileStore(None, FileLimits(1, 1, 1, 1.0))
    fetcher = MediaFetcher(files, host.hosts(), host.media(), 1, 0.1)
    budget = MediaBudget(1000, 1000)
    source = fetcher.access("").find(host.url("/slow"), None, param="url", max_bytes=1000)

    async def obtain() -> str | bytes:
        async with fetcher.obtain(source, Modality.IMAGE, budget.item(), "url") as content:
            return content

    first = asyncio.create_task(obtain())
    await asyncio.sleep(0)
    with pytest.raises(OverloadedError, match=r"within 0\.1 s"):
        await obtain()
    assert await first == png()
    assert budget.taken == len(png())


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def app(settings: Settings) -> AsyncIterator[FastAPI]:
    """An app that fetches from `media_host`."""
    ours = Settings(**(settings.model_dump() | {"allowed_media_hosts": NAME}))
    app = create_app(ours, EchoEngine(engine_config(ours), REPLY))
    async with app.router.lifespan_context(app):
        await app.state.services.lifecycle.wait_loaded()
        yield app


def picture(url: str) -> dict[str, object]:
    return chat_body({"type": "image_url", "image_url": {"url": url}})


async def test_a_chat_about_a_remote_picture_and_cloud(
    app: FastAPI, client: httpx.AsyncClient, host: MediaHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetcher = app.state.services.media_fetcher
    monkeypatch.setattr(fetcher, "_hosts", host.hosts())
    monkeypatch.setattr(fetcher, "_remote", host.media())
    points = npy(np.zeros((10, 3), np.float32))
    host.answers["/a.npy"] = [ok(points).replace(b"image/png", b"application/octet-stream")]
    cloud = {
        "type": "point_cloud_url",
        "point_cloud_url": {"url": host.url("/a.npy"), "format": "npy"},
    }
    parts = [{"type": "image_url", "image_url": {"url": host.url()}}, cloud]
    answer = await client.post(CHAT, json=chat_body(*parts))
    assert answer.status_code == 200, answer.text
    assert answer.json()["usage"]["prompt_tokens_details"]["image_tokens"] == 16
    fetched = re.search(r"fetch;dur=([\d.]+)", answer.headers["server-timing"])
    assert fetched is not None
    assert float(fetched[1]) > 0
    metrics = (await client.get("/metrics")).text
    assert 'lamm:media_fetch_seconds_count{modality="image",model_name="tiny-lamm"} 1.0' in metrics
    for path, status, code in (
        ("/none.png", 422, "media_unreachable"),
        ("/loop", 422, "media_unreachable"),
        ("/in", 400, "url_refused"),
        ("/large", 413, "media_too_large"),
    ):
        host.answers["/loop"] = [redirect("/loop")]
        host.answers["/in"] = [redirect("https://10.0.0.1/")]
        host.answers["/large"] = [PNG_HEAD + b"Content-Length: 5000000\r\n\r\n"]
        refused = await client.post(CHAT, json=picture(host.url(path)))
        error = refused.json()["error"]
        assert (refused.status_code, error["code"]) == (status, code)
        assert error["param"] == "messages[0].content[0].image_url"
        assert not re.search(r"\d+\.\d+\.\d+\.\d+", error["message"])
    refused = await client.post(CHAT, json=picture("https://localhost/a.png"))
    assert refused.status_code == 400
    assert "--allowed-media-host" in refused.json()["error"]["message"]


async def test_hosts_are_set_by_flag_and_by_variable(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = ["--allowed-media-host", "a.example", "--allowed-media-host", "b.example:8443"]
    assert read_settings(flags).allowed_media_hosts == ("a.example", "b.example:8443")
    monkeypatch.setenv("LAMM_ALLOWED_MEDIA_HOSTS", "a.example, b.example")
    assert read_settings([]).allowed_media_hosts == ("a.example", "b.example")
    wrong = Settings(**(settings.model_dump() | {"allowed_media_hosts": "10.0.0.1"}))
    with pytest.raises(ValueError, match=r"'10\.0\.0\.1' is not a valid host name"):
        create_app(wrong, EchoEngine(engine_config(wrong), REPLY))
