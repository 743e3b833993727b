"""Hundreds of hostile and odd files, through real decoding processes.

Each is refused in our own words or answered right; afterwards the server is as large as before, and
the next request is right.
"""

from __future__ import annotations

import asyncio
import gc
import os
import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import numpy as np
import pytest
import pytest_asyncio

from lamm_model.conversation import Modality
from lamm_model.formats.cloud_format import CloudFile
from lamm_model.formats.errors import MediaError
from lamm_model.media import MediaLimits
from lamm_model.spec import ImageSpec, PointSpec
from service.media.pool import MediaPool
from service.media.pool_config import MediaPoolConfig
from service.media.process import MediaJob
from tests.lamm_model.formats.test_e57 import damaged_files as e57_damaged
from tests.lamm_model.formats.test_las import damaged_files as laz_damaged
from tests.service.chat_requests import REPLY, chat_body, cloud, image, npy, png
from tests.service.media.hostile_case import Case
from tests.service.media.hostile_clouds import cloud_cases
from tests.service.media.hostile_pictures import MAX_PIXELS, picture_cases
from tests.service.media.mutated_pictures import mutated_cases

pytestmark = pytest.mark.asyncio(loop_scope="module")

IMAGE = ImageSpec(32, 4, "lamm-squash", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
POINTS = PointSpec(64, 8, False, 0)
_LEAKS = re.compile(r"0x[0-9a-f]{6,}|/usr|/work|/tmp|\.py|Traceback|PIL|numpy|site-packages")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pool() -> AsyncIterator[MediaPool]:
    pool = MediaPool(
        MediaPoolConfig(
            workers=1, timeout_s=60.0, memory_bytes=4 << 30, cache_bytes=0,
            limits=MediaLimits(max_pixels=MAX_PIXELS), image=IMAGE, points=POINTS,
            queue_timeout_s=60.0,
        )
    )  # fmt: skip
    await pool.start()
    yield pool
    await pool.stop()


def memory(pool: MediaPool) -> int:
    """Bytes of this process and the decoding ones that are in memory."""
    gc.collect()
    pids = [os.getpid(), *(worker.process.pid for worker in pool.decoders.processes)]
    pages = [int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in pids]
    return sum(pages) * os.sysconf("SC_PAGE_SIZE")


async def check(pool: MediaPool, case: Case) -> str | None:
    """What is wrong with the pool's answer, if anything is."""
    try:
        media = await pool.prepare(case.job)
    except MediaError as error:
        message = str(error)
        if case.refused is False:
            return f"{case.name}: refused: {message}"
        if len(message) > 400 or _LEAKS.search(message) or "died" in message:
            return f"{case.name}: the message is {message!r}"
        return None
    if case.refused:
        return f"{case.name}: taken as {dict(media.info)}"
    found = {name: media.info[name] for name in case.info}
    return None if found == case.info else f"{case.name}: {found} is not {dict(case.info)}"


async def check_all(pool: MediaPool, cases: list[Case], good: MediaJob) -> None:
    right = (await pool.prepare(good)).digest
    before = await asyncio.to_thread(memory, pool)
    wrong = [fault for case in cases if (fault := await check(pool, case)) is not None]
    assert not wrong, "\n".join(wrong)
    assert (await pool.prepare(good)).digest == right
    grown = await asyncio.to_thread(memory, pool) - before
    assert grown < 50 << 20, f"{grown >> 20} MiB more than before"
    assert len(pool.decoders.processes) == 1


async def test_pictures(pool: MediaPool) -> None:
    cases = list(picture_cases())
    assert len(cases) >= 200
    await check_all(pool, cases, MediaJob(Modality.IMAGE, png(20, 10)))


@pytest.mark.parametrize("suffix", ["tif", "heic", "avif"])
async def test_mutated_pictures(pool: MediaPool, suffix: str) -> None:
    processes = [one.process.pid for one in pool.decoders.processes]
    cases = list(mutated_cases(suffix, 500))
    await check_all(pool, cases, MediaJob(Modality.IMAGE, png(20, 10)))
    assert [one.process.pid for one in pool.decoders.processes] == processes


async def test_clouds(pool: MediaPool) -> None:

    cases = list(cloud_cases())
    assert len(cases) >= 250
    points = np.arange(300, dtype=np.float32).reshape(100, 3)
    await check_all(pool, cases, MediaJob(Modality.POINT_CLOUD, npy(points), CloudFile("npy")))


@pytest.mark.parametrize("damaged", ["e57", "laz"])
async def test_damage_in_the_libraries_of_other_languages(pool: MediaPool, damaged: str) -> None:
    files = e57_damaged(300) if damaged == "e57" else laz_damaged(300)
    points = np.arange(300, dtype=np.float32).reshape(100, 3)
    good = MediaJob(Modality.POINT_CLOUD, npy(points), CloudFile("npy"))
    right = (await pool.prepare(good)).digest
    refusals: list[str] = []
    for data in files:
        try:
            await pool.prepare(MediaJob(Modality.POINT_CLOUD, data, CloudFile(damaged)))
        except MediaError as error:
            refusals.append(str(error))
    assert 10 <= len(refusals) <= 290
    assert not [words for words in refusals if _LEAKS.search(words)]
    assert (await pool.prepare(good)).digest == right
    assert len(pool.decoders.processes) == 1


async def test_a_sample_over_http(client: httpx.AsyncClient) -> None:
    pictures = {case.name: case for case in picture_cases()}
    clouds = {case.name: case for case in cloud_cases()}
    sample = [
        (image(_bytes(pictures["picture: PNG bomb"])), {200}),  # within this server's limit
        (image(_bytes(pictures["picture: PNG of 60000 x 60000"])), {413}),
        (image(_bytes(pictures["picture: JPEG cut at 50 %"])), {422}),
        (image(_bytes(pictures["picture: GIF that is a script"])), {413, 422}),
        (image(_bytes(pictures["picture: EPS"])), {415}),
        (image(_bytes(pictures["picture: PNG of (52800, 44)"])), {200}),
        (image(_bytes(pictures["picture: CMYK JPEG"])), {200}),
        (cloud(_bytes(clouds["cloud: npz bomb of 10^7 points"]), "npz"), {413}),
        (cloud(_bytes(clouds["cloud: npy of a pickle"]), "npy"), {422}),
        (cloud(_bytes(clouds["cloud: ply with inf"]), "ply"), {200}),
        (cloud(_bytes(clouds["cloud: ply with 3e+38"]), "ply"), {422}),
        (cloud(_bytes(clouds["cloud: pcd text of one point"]), "pcd"), {200}),
    ]
    for part, statuses in sample:
        response = await client.post("/v1/chat/completions", json=chat_body(part))
        assert response.status_code in statuses, response.text
        after = await client.post("/v1/chat/completions", json=chat_body(image()))
        assert after.json()["choices"][0]["message"]["content"] == REPLY


def _bytes(case: Case) -> bytes:
    assert isinstance(case.job.content, bytes)
    return case.job.content
