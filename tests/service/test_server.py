"""`lamm serve` as a process of its own: SDK, terminal client, vanishing clients, signals."""

from __future__ import annotations

import contextlib
import http.client
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import pytest

from service.cli import serve
from service.config.settings import Settings
from service.engine.echo_engine import DEFAULT_REPLY
from service.terminal.client import run_chat
from tests.service.chat_requests import chat_body, image, npy, png
from tests.service.running_server import serving

URL = "/v1/chat/completions"


@pytest.fixture(scope="module")
def url(checkpoint: Path) -> Iterator[str]:
    with serving(checkpoint) as (_, url):
        yield url


def test_the_openai_sdk(url: str) -> None:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as sdk:
        assert [model.id for model in sdk.models.list()] == ["tiny-lamm"]
        assert sdk.models.retrieve("tiny-lamm").object == "model"
        messages = chat_body(image())["messages"]
        answer = sdk.chat.completions.create(
            model="tiny-lamm", messages=messages, max_tokens=60, temperature=0, seed=1, n=2
        )
        assert answer.choices[1].message.content == DEFAULT_REPLY
        assert answer.usage is not None
        assert answer.usage.prompt_tokens_details is not None
        stream = sdk.chat.completions.create(
            model="tiny-lamm", messages=messages, stream=True, logprobs=True,
            stream_options={"include_usage": True},
        )  # fmt: skip
        chunks = list(stream)
        text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
        assert text == DEFAULT_REPLY
        assert chunks[-1].usage is not None
        assert chunks[-1].usage.completion_tokens == answer.usage.completion_tokens // 2
        with pytest.raises(openai.BadRequestError, match="max_tokens must be at least 1"):
            sdk.chat.completions.create(model="tiny-lamm", messages=messages, max_tokens=-1)
        with pytest.raises(openai.NotFoundError, match="'gpt-7' is not served"):
            sdk.chat.completions.create(model="gpt-7", messages=messages)


async def test_the_openai_sdk_async(url: str) -> None:
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none") as sdk:
        messages = chat_body()["messages"]
        answer = await sdk.chat.completions.create(model="tiny-lamm", messages=messages)
        assert answer.choices[0].message.content == DEFAULT_REPLY
        stream = await sdk.chat.completions.create(
            model="tiny-lamm", messages=messages, stream=True
        )
        text = "".join([c.choices[0].delta.content or "" async for c in stream])
        assert text == DEFAULT_REPLY


def test_an_idle_connection_is_kept_for_its_time(checkpoint: Path) -> None:
    # A balancer that still uses a connection when the server closes it answers 502.
    assert Settings().timeout_keep_alive_s > 60
    with serving(checkpoint, "--timeout-keep-alive-s", "2") as (_, url):
        connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=30)
        with contextlib.closing(connection):
            for pause in (0, 1):
                time.sleep(pause)
                connection.request("GET", "/livez")
                assert connection.getresponse().read()
            idle = time.perf_counter()
            assert connection.sock.recv(1) == b""
            assert 1.5 < time.perf_counter() - idle < 4.5


def test_a_body_of_200_mb(url: str) -> None:
    def body() -> Iterator[bytes]:
        for _ in range(200):
            yield bytes(1_000_000)

    headers = {"Content-Type": "application/json", "Content-Length": str(200_000_000)}
    with httpx.Client(base_url=url, timeout=20) as client:
        started = time.perf_counter()
        try:
            status = client.post(URL, content=body(), headers=headers).status_code
        except httpx.TransportError:
            status = 413  # the server hung up while the body was still being sent
        assert status == 413
        assert time.perf_counter() - started < 10
        assert client.post(URL, json=chat_body()).status_code == 200


def test_the_terminal_client_asks_once(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.png").write_bytes(png())
    import numpy as np

    (tmp_path / "c.npy").write_bytes(npy(np.zeros((4, 3), np.float32)))
    flags = ["--image", str(tmp_path / "a.png"), "--cloud", str(tmp_path / "c.npy")]
    assert run_chat(["--url", url, *flags, "What is this?"]) == 0
    assert DEFAULT_REPLY in " ".join(capsys.readouterr().out.split())


def test_the_terminal_client_tells_what_was_done_to_media(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.png").write_bytes(png())
    (tmp_path / "c.xyz").write_text("0 0 0\n1 0 0\n")
    flags = ["--image", str(tmp_path / "a.png"), "--cloud", str(tmp_path / "c.xyz")]
    assert run_chat(["--url", url, *flags, "--up-axis", "y", "What is this?"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "point cloud 2: read with y up"
    assert run_chat(["--url", url, *flags, "What is this?"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] in DEFAULT_REPLY


def test_the_terminal_client_converses(
    url: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "a.png").write_bytes(png())
    (tmp_path / "bad.png").write_bytes(b"bad")
    lines = iter(
        ["", "/help", f"/image {tmp_path / 'bad.png'}", "What?", "/reset", "/cloud x.dae",
         "/image nowhere.png", f"/image '{tmp_path / 'a.png'}'", "What is this?", "And now?",
         "/quit"]
    )  # fmt: skip
    monkeypatch.setattr("builtins.input", lambda *_: next(lines))
    assert run_chat(["--url", url]) == 0
    output = " ".join(capsys.readouterr().out.split())
    assert "tiny-lamm (text, image, point_cloud)" in output
    assert "attached bad.png to the next question" in output
    assert "expected one of JPEG" in output
    assert "is not a point-cloud format; expected one of asc, bin, csv" in output
    assert "No such file" in output
    assert output.count(DEFAULT_REPLY) == 2


def test_the_terminal_client_without_a_server(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_chat(["--url", "http://127.0.0.1:9", "Hello?"]) == 1
    assert "lamm chat:" in capsys.readouterr().err


def test_the_terminal_client_and_an_unknown_model(
    url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_chat(["--url", url, "--model", "gpt-7", "Hello?"]) == 1
    assert "the models are: tiny-lamm" in capsys.readouterr().err.replace("\n", " ")


def test_a_client_that_vanishes_over_a_socket(url: str) -> None:
    body = chat_body(stream=True, ignore_eos=True, max_tokens=200, n=8)
    with httpx.Client(base_url=url, timeout=20) as client:
        with client.stream("POST", URL, json=body) as response:
            next(response.iter_bytes())
        deadline = time.monotonic() + 5
        while client.get("/health").json()["running"]:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert client.post(URL, json=chat_body()).status_code == 200


def test_sigterm_exits_with_0(checkpoint: Path) -> None:
    with serving(checkpoint) as (process, url):
        assert httpx.get(f"{url}/readyz").status_code == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0


def test_a_missing_checkpoint_stops_the_start(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert serve(["--checkpoint", str(tmp_path)]) == 2
    assert "config.json is missing" in capsys.readouterr().err


def test_wrong_settings_stop_the_start(
    checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert serve(["--checkpoint", str(checkpoint), "--max-num-seqs", "0"]) == 2
    assert "--max-num-seqs" in capsys.readouterr().err
    assert serve(["--checkpoint", str(checkpoint), "--engine", "echo", "--api-keys", ","]) == 2
    assert "no key" in capsys.readouterr().err


def test_the_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        serve(["--help"])
    assert exit_.value.code == 0
    text = capsys.readouterr().out
    for word in ("--checkpoint PATH", "--device {auto,cpu,cuda}", "LAMM_MAX_NUM_SEQS", "SIGTERM"):
        assert word in text


def test_an_upgrade_gets_a_plain_answer(url: str) -> None:
    host, port = url.removeprefix("http://").split(":")
    head = (
        f"Host: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    )
    hidden = f"GET /readyz HTTP/1.1\r\nHost: {host}\r\n\r\n"
    asked = {
        f"GET /livez HTTP/1.1\r\n{head}\r\n": b"HTTP/1.1 200 OK",
        # What it says is lost with the upgrade, and is no request of its own.
        f"POST {URL} HTTP/1.1\r\n{head}Content-Type: application/json\r\n"
        f"Content-Length: {len(hidden)}\r\n\r\n": b"HTTP/1.1 400 Bad Request",
    }
    for request, status in asked.items():
        for at_once in (True, False):
            with socket.create_connection((host, int(port)), timeout=20) as connection:
                connection.sendall((request + hidden * at_once).encode())
                if not at_once:
                    with contextlib.suppress(OSError):  # it may be closed by now
                        connection.sendall(hidden.encode())
                answer = b""
                with contextlib.suppress(ConnectionResetError):
                    while part := connection.recv(1 << 16):
                        answer += part
            assert answer.startswith(status)
            assert answer.count(b"HTTP/1.1 ") == 1
            assert b"connection: close" in answer.lower()
            assert b"upgrade:" not in answer.lower()


def test_nothing_of_websockets_is_loaded() -> None:
    program = (
        "import sys; from fastapi import FastAPI; from service.lifecycle import Lifecycle;"
        "from service.server import DrainingServer;"
        "server = DrainingServer(FastAPI(), '127.0.0.1', 0, Lifecycle(), 1.0, print);"
        "server.config.load();"
        "print({name.split('.')[0] for name in sys.modules} & {'websockets', 'wsproto'})"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.splitlines() == ["set()"], done.stderr
