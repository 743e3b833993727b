"""Decoding processes that die, hang or run out of memory, and their replacements."""

from __future__ import annotations

import asyncio
import base64
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio

from lamm_model.conversation import Modality
from lamm_model.media import MediaLimits
from lamm_model.media_errors import MediaDecodeError, MediaFormatError
from lamm_model.spec import ImageSpec
from service.media_pool import MediaJob, MediaPool, MediaPoolConfig
from tests.service.chat_requests import npy, png

pytestmark = pytest.mark.asyncio(loop_scope="module")

IMAGE = ImageSpec(32, 4, "lamm-squash", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def config(**more: object) -> MediaPoolConfig:
    values: dict[str, object] = {
        "workers": 1, "timeout_s": 20.0, "memory_bytes": 4 << 30, "cache_bytes": 0,
        "limits": MediaLimits(), "image": IMAGE, "points": None,
    }  # fmt: skip
    return MediaPoolConfig(**(values | more))  # type: ignore[arg-type]


def picture(width: int = 8) -> MediaJob:
    return MediaJob(Modality.IMAGE, base64.b64encode(png(width)).decode())


@pytest_asyncio.fixture(loop_scope="module")
async def pool() -> AsyncIterator[MediaPool]:
    pool = MediaPool(config())
    await pool.start()
    yield pool
    await pool.stop()


def pid_of(pool: MediaPool) -> int:
    [worker] = pool._workers
    return worker._process.pid


async def test_a_killed_process_costs_one_request(pool: MediaPool) -> None:
    first = pid_of(pool)
    os.kill(first, signal.SIGSTOP)
    job = asyncio.create_task(pool.prepare(picture()))
    await asyncio.sleep(0.1)
    os.kill(first, signal.SIGKILL)
    with pytest.raises(MediaDecodeError, match="the decoder died"):
        await job
    media = await pool.prepare(picture())
    assert media.array.shape == (3, 32, 32)
    assert pid_of(pool) != first


async def test_a_process_that_died_idle_costs_one_request(pool: MediaPool) -> None:
    os.kill(pid_of(pool), signal.SIGKILL)
    await asyncio.sleep(0.1)
    with pytest.raises(MediaDecodeError):
        await pool.prepare(picture())
    assert (await pool.prepare(picture())).array.shape == (3, 32, 32)


async def test_a_process_that_hangs_is_replaced() -> None:
    pool = MediaPool(config(timeout_s=0.3))
    await pool.start()
    try:
        first = pid_of(pool)
        os.kill(first, signal.SIGSTOP)
        with pytest.raises(MediaDecodeError, match=r"longer than the limit of 0\.3 s"):
            await pool.prepare(picture())
        while not pool._workers:  # noqa: ASYNC110 - no event tells of a replacement
            await asyncio.sleep(0.02)
        assert pid_of(pool) != first
    finally:
        await pool.stop()


async def test_a_client_that_leaves_frees_the_process(pool: MediaPool) -> None:
    first = pid_of(pool)
    os.kill(first, signal.SIGSTOP)
    job = asyncio.create_task(pool.prepare(picture()))
    await asyncio.sleep(0.05)
    job.cancel()
    with pytest.raises(asyncio.CancelledError):
        await job
    assert (await pool.prepare(picture())).array.shape == (3, 32, 32)
    assert pid_of(pool) != first


async def test_memory_is_limited() -> None:
    pool = MediaPool(config(memory_bytes=400 << 20, limits=MediaLimits(max_pixels=400_000_000)))
    await pool.start()
    try:
        with pytest.raises(MediaDecodeError):
            await pool.prepare(picture(10_000_000))  # 60 million pixels of four bytes
        assert (await pool.prepare(picture())).array.shape == (3, 32, 32)
    finally:
        await pool.stop()


async def test_refusals_leave_the_process_alone(pool: MediaPool) -> None:
    first = pid_of(pool)
    text = base64.b64encode(npy(np.zeros((1, 3)))).decode()
    with pytest.raises(MediaFormatError, match="no encoder"):
        await pool.prepare(MediaJob(Modality.POINT_CLOUD, text, "npy"))
    with pytest.raises(MediaFormatError, match="pictures are read from"):
        await pool.prepare(MediaJob(Modality.IMAGE, text))
    assert pid_of(pool) == first


async def test_the_cache_keeps_the_newest_within_its_budget() -> None:
    size = 3 * 32 * 32 * 4
    pool = MediaPool(config(cache_bytes=2 * size))
    await pool.start()
    try:
        one, two = await pool.prepare(picture(1)), await pool.prepare(picture(2))
        assert await pool.prepare(picture(1)) is one
        await pool.prepare(picture(3))
        assert await pool.prepare(picture(1)) is one
        assert await pool.prepare(picture(2)) is not two
    finally:
        await pool.stop()


async def test_keys_are_not_in_a_decoders_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LAMM_API_KEYS", "secret")
    pool = MediaPool(config())
    await pool.start()
    try:
        path = Path(f"/proc/{pid_of(pool)}/environ")
        environment = await asyncio.to_thread(path.read_bytes)
        assert b"PATH=" in environment
        assert b"secret" not in environment
    finally:
        await pool.stop()
