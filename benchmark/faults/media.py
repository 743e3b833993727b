"""Faults of media: a killed decoding process, and a full disk."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import signal

import httpx

from benchmark.faults.clients import Clients, told
from benchmark.faults.findings import Findings
from benchmark.faults.server import DISK_BYTES, FaultServer

_CROWD = 12
_UPLOAD_BYTES = 1_500_000
_LOOKED_AGAIN_S = 0.05
_FULL = (503, 507)


async def media_worker(server: FaultServer, clients: Clients, found: Findings) -> None:
    """kill -9 of a decoding process under load."""
    before = server.media_workers()
    victim = before[0]
    os.kill(victim, signal.SIGSTOP)  # so that it is killed during a job
    asking = asyncio.create_task(clients.ask_all(clients.numbers(_CROWD)))
    while not await clients.busy():  # noqa: ASYNC110 - no event to wait for
        await asyncio.sleep(_LOOKED_AGAIN_S)
    await asyncio.sleep(_LOOKED_AGAIN_S)
    os.kill(victim, signal.SIGKILL)
    replies = await asking
    found.note(told(replies), all(reply.answered for reply in replies))
    wrong = await clients.wrong(replies)
    found.note(f"{wrong} of {len(replies)} answers wrong", wrong == 0)
    while len(now := server.media_workers()) < len(before) or victim in now:  # noqa: ASYNC110 - no event to wait for
        await asyncio.sleep(_LOOKED_AGAIN_S)
    found.note(f"{len(now)} of {len(before)} processes run again")
    [again] = await clients.ask_all(clients.numbers(1))
    found.note(f"next picture: {again.status}", again.answered)
    await clients.until_idle()


async def disk(server: FaultServer, clients: Clients, found: Findings) -> None:
    """Uploads until the disk is full and beyond."""
    found.note(
        f"file system of {DISK_BYTES / 1e6:.0f} MB"
        if server.own_disk
        else f"file size limit of {DISK_BYTES / 1e6:.0f} MB (cannot mount a file system)"
    )
    # With a limit per file, the third one is too large.
    sizes = [_UPLOAD_BYTES] * 4 if server.own_disk else [_UPLOAD_BYTES] * 2 + [2 * DISK_BYTES] * 2
    contents = [random.Random(index).randbytes(size) for index, size in enumerate(sizes)]
    answers = [await _upload(clients, content) for content in contents]
    statuses = [answer.status_code for answer in answers]
    refused = [answer for answer in answers if answer.status_code in _FULL]
    found.note(
        f"uploads: {', '.join(map(str, statuses))}",
        len(refused) >= 1 and set(statuses) <= {200, *_FULL} and statuses[0] == 200,
    )
    if refused:
        error = refused[0].json()["error"]
        found.note(f"error message {error['message']!r}", str(server.files) not in error["message"])
    left = await asyncio.to_thread(lambda: list((server.files / "incoming").iterdir()))
    found.note(f"{len(left)} partial files", not left)
    await _note_stored(clients, contents, statuses, found)
    [reply] = await clients.ask_all(clients.numbers(1))
    found.note(f"a request meanwhile: {reply.status}", reply.answered)
    removed = await clients.http.delete(f"/v1/files/{answers[0].json()['id']}")
    again = await _upload(clients, contents[0])
    found.note(
        f"next upload after a DELETE ({removed.status_code}): {again.status_code}",
        again.status_code == httpx.codes.OK,
    )


async def _note_stored(
    clients: Clients, contents: list[bytes], statuses: list[int], found: Findings
) -> None:
    """Whether exactly what was confirmed is there, byte for byte."""
    listed = (await clients.http.get("/v1/files")).json()["data"]
    there = set()
    for file in listed:
        content = (await clients.http.get(f"/v1/files/{file['id']}/content")).content
        there.add(hashlib.sha256(content).hexdigest())
    confirmed = {
        hashlib.sha256(content).hexdigest()
        for content, status in zip(contents, statuses, strict=True)
        if status == httpx.codes.OK
    }
    found.note(f"{len(listed)} files listed, each with the content sent", there == confirmed)


async def _upload(clients: Clients, content: bytes) -> httpx.Response:
    form = {"file": ("picture.png", content, "image/png")}
    return await clients.http.post("/v1/files", data={"purpose": "user_data"}, files=form)
