"""Two replicas on a Ray of its own: answers, where pictures go, and a replica that is killed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from tests.service.chat_requests import chat_body, image, png

# An idle machine of two cores takes half a minute for all of it, most of that for Ray's start.
pytestmark = [
    pytest.mark.ray,
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.asyncio(loop_scope="module"),
]

ROOT = Path(__file__).resolve().parents[3]
CHAT = "/v1/chat/completions"
RUNNING = "lamm:num_requests_running"
PATIENCE_S = 300.0
# Ray's waits are for idle machines; it starts no worker that nobody asked for, and tells nobody.
RAY_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # one machine, on its loopback address
    "RAY_prestart_worker_first_driver": "0",
    "RAY_enable_worker_prestart": "0",
    "RAY_worker_register_timeout_seconds": "300",
    "RAY_health_check_timeout_ms": "60000",
    "RAY_health_check_initial_delay_ms": "60000",
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "300",
    "RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S": "120",
    "RAY_SERVE_QUEUE_LENGTH_RESPONSE_DEADLINE_S": "5",
    "RAY_SERVE_MAX_QUEUE_LENGTH_RESPONSE_DEADLINE_S": "30",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


@dataclass(frozen=True)
class Cluster:
    """A running service, and the process that holds it."""

    url: str
    process: subprocess.Popen[str]

    def kill(self, replica: str) -> None:
        """Ends a replica's process at once."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"kill {replica}\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline().strip() == f"killed {replica}"


@pytest.fixture(scope="module")
def cluster(checkpoint: Path) -> Iterator[Cluster]:
    """Two replicas behind one gateway; nothing of it is left afterwards."""
    # Ray gives its parts 15 and 30 s to start, which no setting changes and a busy machine exceeds.
    for last in (False, False, False, True):
        # Ray's sockets lie in it, and their paths must be short.
        temporary = tempfile.mkdtemp(prefix="ray-")
        started = _start(checkpoint, temporary)
        ready = False
        try:
            assert started.process.stdout is not None
            ready = started.process.stdout.readline().strip() == "ready"
            assert ready or not last, (Path(temporary) / "log").read_text()[-4000:]
            if ready:
                yield started
        finally:
            left = _end(started.process, temporary)
            shutil.rmtree(temporary, ignore_errors=True)
        if ready:
            assert left == []
            return


def _start(checkpoint: Path, temporary: str) -> Cluster:
    """What has not yet said that it is ready."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable, str(ROOT / "tests/service/ray/ray_cluster.py"), str(checkpoint),
        f"{temporary}/files", temporary, str(port),
    ]  # fmt: skip
    environment = {
        **os.environ,
        **RAY_ENVIRONMENT,
        "RAY_AUTH_TOKEN": secrets.token_hex(32),  # else Ray writes one below the home directory
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
        "TMPDIR": temporary,
    }
    with (Path(temporary) / "log").open("w") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            cwd=ROOT,
            env=environment,
        )
    return Cluster(f"http://127.0.0.1:{port}", process)


def _end(process: subprocess.Popen[str], temporary: str) -> list[str]:
    """Ends the cluster; what did not end with it is ended here, and named."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.close()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(120)
    deadline, left = time.monotonic() + 60, _processes(temporary)
    seen_none = 0
    # Twice: one that starts when its starter is gone shows a moment later.
    while seen_none < 2 and time.monotonic() < deadline:
        time.sleep(0.3)
        left = _processes(temporary)
        seen_none = 0 if left else seen_none + 1
    for pid in left:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait(10)
    process.stdout.close()
    return list(left.values())


def _processes(temporary: str) -> dict[int, str]:
    """All that belong to the cluster, by number: its temporary directory is theirs."""
    found: dict[int, str] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            if _belongs(entry, temporary):
                found[int(entry.name)] = (entry / "cmdline").read_text().replace("\0", " ")
    return found


def _belongs(entry: Path, temporary: str) -> bool:
    """Whether a process inherited the directory or has a file of it open.

    Ray's workers write their titles over their environment, and log into the directory.
    """
    if f"TMPDIR={temporary}".encode() in (entry / "environ").read_bytes():
        return True
    return any(os.path.realpath(file).startswith(temporary) for file in (entry / "fd").iterdir())


@pytest_asyncio.fixture(loop_scope="module")
async def through(cluster: Cluster) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the service on Ray."""
    async with httpx.AsyncClient(base_url=cluster.url, timeout=PATIENCE_S) as client:
        yield client


def _same(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, re.sub(
        r'"id":"chatcmpl-[^"]*"|"created":[0-9]+', "", answer.text.replace(": keep-alive\n\n", "")
    )


async def test_answers_are_the_plain_server_s(
    through: httpx.AsyncClient, client: httpx.AsyncClient
) -> None:
    for body in (
        chat_body(),
        chat_body(image(), stream=True, stream_options={"include_usage": True}),
        chat_body(image(b"no picture")),
        chat_body(model="other"),
    ):
        ours = await through.post(CHAT, json=body, headers={"X-Request-Id": "mine"})
        plain = await client.post(CHAT, json=body, headers={"X-Request-Id": "mine"})
        assert _same(ours) == _same(plain)
        missing = set(plain.headers) - set(ours.headers)
        assert missing == set()
        assert ours.headers.get_list("x-request-id") == ["mine"]


async def test_a_picture_goes_to_one_replica_and_pictures_go_to_all(
    through: httpx.AsyncClient,
) -> None:
    form = {"inputs": "{}"}
    seen: dict[int, str] = {}
    for width in range(8, 48):
        answer = await through.post(CHAT, json=chat_body(image(png(width)), max_tokens=1))
        seen[width] = answer.headers["x-lamm-replica"]
        if len(set(seen.values())) == 2:
            break
    assert len(set(seen.values())) == 2
    for width in (min(seen), max(seen)):
        again = await through.post(CHAT, json=chat_body(image(png(width)), max_tokens=1))
        task = await through.post(
            "/v1/tasks/caption", data=form, files={"file": ("p.png", png(width), "image/png")}
        )
        stored = await through.post(
            "/v1/files",
            data={"purpose": "vision"},
            files={"file": ("p.png", png(width), "image/png")},
        )
        part = {"type": "image_url", "image_url": {"file_id": stored.json()["id"]}}
        by_id = await through.post(CHAT, json=chat_body(part, max_tokens=1))
        answers = [again, task, stored, by_id]
        assert [answer.status_code for answer in answers] == [200] * 4
        assert {answer.headers["x-lamm-replica"] for answer in answers} == {seen[width]}


async def test_a_client_that_leaves_frees_its_place(through: httpx.AsyncClient) -> None:
    body = chat_body(stream=True, ignore_eos=True, max_tokens=200)
    async with through.stream("POST", CHAT, json=body) as answer:
        async for line in answer.aiter_lines():
            if "content" in line:
                break
    async with asyncio.timeout(15):  # the answer would take 20 s
        while sum((await _values(through, RUNNING)).values()) > 0:  # noqa: ASYNC110
            await asyncio.sleep(0.2)


@dataclass
class Streamed:
    """What a stream has brought so far."""

    replica: str = ""
    text: str = ""
    ends: list[Any] = field(default_factory=list)
    begun: asyncio.Event = field(default_factory=asyncio.Event)

    async def read(self, client: httpx.AsyncClient, body: dict[str, Any]) -> None:
        async with client.stream("POST", CHAT, json=body | {"stream": True}) as answer:
            assert answer.status_code == 200
            self.replica = answer.headers["x-lamm-replica"]
            async for line in answer.aiter_lines():
                if line.startswith("data: {"):
                    self._take(json.loads(line.removeprefix("data: ")))
                elif line.startswith("data: "):
                    self.ends.append(line.removeprefix("data: "))

    def _take(self, event: dict[str, Any]) -> None:
        if "error" in event:
            self.ends.append(event["error"]["code"])
            return
        choice = event["choices"][0]
        self.text += choice["delta"].get("content") or ""
        if self.text:
            self.begun.set()
        if choice["finish_reason"]:
            self.ends.append(choice["finish_reason"])


async def test_a_killed_replica_loses_what_it_was_streaming_and_comes_back(
    cluster: Cluster, through: httpx.AsyncClient, client: httpx.AsyncClient
) -> None:
    bodies = [
        chat_body(image(png(width)), ignore_eos=True, max_tokens=60) for width in range(8, 16)
    ]
    whole = (await client.post(CHAT, json=bodies[0])).json()["choices"][0]["message"]["content"]
    streams = [Streamed() for _ in bodies]
    reading = [
        asyncio.create_task(stream.read(through, body))
        for stream, body in zip(streams, bodies, strict=True)
    ]
    asked = [asyncio.create_task(through.post(CHAT, json=body)) for body in bodies]
    await asyncio.gather(*(stream.begun.wait() for stream in streams))
    lost = streams[0].replica
    assert not any(task.done() for task in reading)
    await asyncio.to_thread(cluster.kill, lost)
    await asyncio.gather(*reading)
    answers = await asyncio.gather(*asked)

    for stream in streams:
        if stream.replica == lost:
            assert stream.ends == ["replica_lost", "[DONE]"]
            assert whole.startswith(stream.text)
        else:
            assert (stream.ends, stream.text) == (["length", "[DONE]"], whole)
    # Those that had not begun to be answered were asked again.
    assert [answer.status_code for answer in answers] == [200] * len(bodies)
    assert {answer.headers["x-lamm-replica"] for answer in answers}.isdisjoint({lost})
    assert {answer.json()["choices"][0]["message"]["content"] for answer in answers} == {whole}

    async with asyncio.timeout(PATIENCE_S):
        while len(names := set(await _values(through, RUNNING))) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.5)
    assert lost not in names
    assert (await through.post(CHAT, json=chat_body())).status_code == 200


async def _values(client: httpx.AsyncClient, name: str) -> dict[str, float]:
    """A metric's values by replica, over its other labels."""
    answer = await client.get("/metrics")
    assert answer.status_code == 200, answer.text
    found: dict[str, float] = {}
    for line in answer.text.splitlines():
        labelled = re.fullmatch(rf'{name}{{.*replica="(\w+)".*}} (\S+)', line)
        if labelled:
            found[labelled[1]] = found.get(labelled[1], 0.0) + float(labelled[2])
    return found
