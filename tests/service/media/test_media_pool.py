"""Decoding processes that die, hang or run out of memory; clients that leave or have to wait."""

from __future__ import annotations

import asyncio
import base64
import io
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio
from PIL import Image

from lamm_model.conversation import Modality
from lamm_model.formats.cloud_format import CloudFile
from lamm_model.formats.errors import MediaDecodeError, MediaFormatError
from lamm_model.media import MediaLimits
from lamm_model.spec import ImageSpec, PointSpec
from service.exceptions import NotReadyError, OverloadedError
from service.media import worker as media_worker
from service.media.pool import MediaPool
from service.media.pool_config import MediaPoolConfig
from service.media.process import MediaJob, MediaProcess
from tests.service.chat_requests import npy, png

pytestmark = pytest.mark.asyncio(loop_scope="module")

IMAGE = ImageSpec(32, 4, "lamm-squash", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
POINTS = PointSpec(num_points=16, num_tokens=4, use_color=False, seed=0)


def config(**more: object) -> MediaPoolConfig:
    values: dict[str, object] = {
        "workers": 1, "timeout_s": 20.0, "memory_bytes": 4 << 30, "cache_bytes": 0,
        "limits": MediaLimits(), "image": IMAGE, "points": None, "queue_timeout_s": 60.0,
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


def cloud() -> MediaJob:
    points = np.arange(48, dtype=np.float32).reshape(16, 3)
    return MediaJob(Modality.POINT_CLOUD, npy(points), CloudFile("npy"))


def pid_of(pool: MediaPool) -> int:
    [worker] = pool.decoders.processes
    return worker.process.pid


def scratch_of(pool: MediaPool) -> Path:
    [worker] = pool.decoders.processes
    return worker.scratch


async def replaced(pool: MediaPool, first: int) -> None:
    while not pool.decoders.processes or pid_of(pool) == first:  # noqa: ASYNC110 - no event tells of it
        await asyncio.sleep(0.02)


async def test_a_killed_process_costs_nothing(pool: MediaPool) -> None:
    first = pid_of(pool)
    os.kill(first, signal.SIGSTOP)
    job = asyncio.create_task(pool.prepare(picture()))
    await asyncio.sleep(0.1)
    os.kill(first, signal.SIGKILL)
    assert (await job).array.shape == (3, 32, 32)
    assert pid_of(pool) != first


async def test_what_kills_a_second_process_is_refused(
    pool: MediaPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed: list[int] = []
    run = MediaProcess.run

    async def fatal(self: MediaProcess, job: MediaJob, body: bytes) -> object:
        killed.append(self.process.pid)
        os.kill(self.process.pid, signal.SIGKILL)
        return await run(self, job, body)

    monkeypatch.setattr(MediaProcess, "run", fatal)
    with pytest.raises(MediaDecodeError, match="the decoder died"):
        await pool.prepare(picture())
    assert len(set(killed)) == 2
    monkeypatch.undo()
    assert (await pool.prepare(picture())).array.shape == (3, 32, 32)


async def test_a_process_that_ends_itself_is_not_tried_again(pool: MediaPool) -> None:
    first = pid_of(pool)
    os.kill(first, signal.SIGSTOP)
    job = asyncio.create_task(pool.prepare(picture()))
    await asyncio.sleep(0.1)
    # As a library that runs out of memory does.
    os.kill(first, signal.SIGABRT)
    os.kill(first, signal.SIGCONT)
    with pytest.raises(MediaDecodeError, match="the decoder died"):
        await job
    await replaced(pool, first)


async def test_a_process_that_died_idle_costs_nothing(pool: MediaPool) -> None:
    first = pid_of(pool)
    os.kill(first, signal.SIGKILL)
    while pool.decoders.processes[0].alive:  # noqa: ASYNC110 - no event tells of a death
        await asyncio.sleep(0.02)
    assert (await pool.prepare(picture())).array.shape == (3, 32, 32)
    assert pid_of(pool) != first


async def test_a_process_that_hangs_is_replaced() -> None:
    pool = MediaPool(config(timeout_s=0.3))
    await pool.start()
    try:
        first = pid_of(pool)
        os.kill(first, signal.SIGSTOP)
        with pytest.raises(MediaDecodeError, match=r"longer than the limit of 0\.3 s"):
            await pool.prepare(picture())
        await replaced(pool, first)
    finally:
        await pool.stop()


async def test_a_client_that_leaves_costs_no_process() -> None:
    pool = MediaPool(config(cache_bytes=1 << 20))
    await pool.start()
    try:
        first = pid_of(pool)
        os.kill(first, signal.SIGSTOP)
        job = asyncio.create_task(pool.prepare(picture()))
        await asyncio.sleep(0.05)
        job.cancel()
        with pytest.raises(asyncio.CancelledError):
            await job
        os.kill(first, signal.SIGCONT)
        other = await pool.prepare(picture(9))
        assert pid_of(pool) == first
        # What nobody waited for came to its end before, and is known now.
        assert pool.decoders.queue.free == 1
        assert await pool.prepare(picture()) is not other
        assert pool.cached == 2
    finally:
        await pool.stop()


async def test_what_a_client_had_waiting_is_dropped_when_it_leaves(
    pool: MediaPool, ran: list[MediaJob]
) -> None:
    os.kill(pid_of(pool), signal.SIGSTOP)
    jobs = [asyncio.create_task(pool.prepare(picture(width))) for width in (1, 2, 3)]
    await asyncio.sleep(0.05)
    jobs[1].cancel()
    os.kill(pid_of(pool), signal.SIGCONT)
    await asyncio.gather(*jobs, return_exceptions=True)
    assert jobs[1].cancelled()
    assert ran == [picture(1), picture(3)]


async def test_identical_media_at_once_are_decoded_once(
    pool: MediaPool, ran: list[MediaJob]
) -> None:
    os.kill(pid_of(pool), signal.SIGSTOP)
    same = [asyncio.create_task(pool.prepare(picture(30))) for _ in range(8)]
    other = asyncio.create_task(pool.prepare(MediaJob(Modality.IMAGE, png(30))))
    await asyncio.sleep(0.1)
    # The one that began it leaves; the others wait for the same job still.
    same[0].cancel()
    await asyncio.sleep(0)
    os.kill(pid_of(pool), signal.SIGCONT)
    results = await asyncio.gather(*same[1:], other)
    assert len({id(media) for media in results[:-1]}) == 1
    assert results[-1].digest == results[0].digest
    # Bytes and base64 of them are two ways of sending; each came once, though nothing is cached.
    assert [type(job.content) for job in ran] == [str, bytes]
    assert not pool.in_flight
    await pool.prepare(picture(30))
    assert len(ran) == 3


async def test_identical_media_that_fail_fail_all_who_wait(pool: MediaPool) -> None:
    os.kill(pid_of(pool), signal.SIGSTOP)
    broken = MediaJob(Modality.IMAGE, png()[:40])
    jobs = [asyncio.create_task(pool.prepare(broken)) for _ in range(3)]
    await asyncio.sleep(0.05)
    os.kill(pid_of(pool), signal.SIGCONT)
    found = await asyncio.gather(*jobs, return_exceptions=True)
    assert [type(error) for error in found] == [MediaDecodeError] * 3
    assert (await pool.prepare(picture())).array.shape == (3, 32, 32)


async def test_what_all_leave_while_it_waits_is_dropped_and_may_be_asked_again(
    pool: MediaPool,
) -> None:
    os.kill(pid_of(pool), signal.SIGSTOP)
    first = asyncio.create_task(pool.prepare(picture(31)))
    waiting = [asyncio.create_task(pool.prepare(picture(32))) for _ in range(3)]
    await asyncio.sleep(0.05)
    for job in waiting:
        job.cancel()
    again = asyncio.create_task(pool.prepare(picture(32)))
    await asyncio.gather(*waiting, return_exceptions=True)
    os.kill(pid_of(pool), signal.SIGCONT)
    assert (await first).array.shape == (3, 32, 32)
    assert (await again).info["width"] == 32


async def test_a_stopped_pool_says_so() -> None:
    pool = MediaPool(config())
    await pool.start()
    os.kill(pid_of(pool), signal.SIGSTOP)
    jobs = [asyncio.create_task(pool.prepare(picture(width))) for width in (1, 2)]
    await asyncio.sleep(0.05)
    await pool.stop()
    found = await asyncio.gather(*jobs, return_exceptions=True)
    assert [type(error) for error in found] == [NotReadyError] * 2
    with pytest.raises(NotReadyError):
        await pool.prepare(picture())


async def test_nobody_waits_forever_for_a_process() -> None:
    pool = MediaPool(config(queue_timeout_s=0.2))
    await pool.start()
    try:
        first = pid_of(pool)
        os.kill(first, signal.SIGSTOP)
        job = asyncio.create_task(pool.prepare(picture()))
        await asyncio.sleep(0.05)
        with pytest.raises(OverloadedError, match=r"within 0\.2 s") as caught:
            await pool.prepare(picture(9))
        assert (caught.value.code, caught.value.reason) == (
            "queue_timeout", "decoder_queue_timeout",
        )  # fmt: skip
        os.kill(first, signal.SIGCONT)
        assert (await job).array.shape == (3, 32, 32)
        assert (await pool.prepare(picture(9))).array.shape == (3, 32, 32)
        assert pid_of(pool) == first
    finally:
        await pool.stop()


async def test_requests_in_the_pool_are_bounded() -> None:
    pool = MediaPool(config(max_requests=2))
    with pool.admit():
        with (
            pool.admit(),
            pytest.raises(OverloadedError, match=r"2 requests .* the limit is 2"),
            pool.admit(),
        ):
            pytest.fail("a third was let in")
        with pool.admit():
            pass


async def test_what_a_process_left_on_the_disk_is_removed() -> None:
    pool = MediaPool(config())
    await pool.start()
    try:
        first, scratch = pid_of(pool), scratch_of(pool)
        environment = await asyncio.to_thread(Path(f"/proc/{first}/environ").read_bytes)
        assert f"TMPDIR={scratch}".encode() in environment.split(b"\0")
        (scratch / "lamm-x").mkdir()
        (scratch / "lamm-x" / "cloud.ply").write_bytes(b"ply")
        os.kill(first, signal.SIGSTOP)
        job = asyncio.create_task(pool.prepare(picture()))
        await asyncio.sleep(0.05)
        os.kill(first, signal.SIGKILL)
        await job
        await replaced(pool, first)
        while scratch.exists():  # noqa: ASYNC110 - no event tells of it
            await asyncio.sleep(0.02)
        (scratch_of(pool) / "left").write_bytes(b"x")
    finally:
        await pool.stop()
    assert not scratch.parent.exists()


async def test_a_process_whose_parent_died_leaves_nothing(pool: MediaPool) -> None:
    [worker] = pool.decoders.processes
    assert worker.process.stdin is not None
    worker.process.stdin.close()
    assert await asyncio.wait_for(worker.process.wait(), 20) == 0
    assert not worker.scratch.exists()


async def test_a_job_that_a_stop_interrupts_is_not_the_senders_fault() -> None:
    pool = MediaPool(config())
    await pool.start()
    os.kill(pid_of(pool), signal.SIGSTOP)
    job = asyncio.create_task(pool.prepare(picture()))
    await asyncio.sleep(0.05)
    await pool.stop()
    with pytest.raises(NotReadyError, match="stopped"):
        await job
    assert not pool.decoders.processes
    assert not pool.decoders.replacing


async def test_a_defect_that_a_file_brings_out_does_not_end_the_process(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def defective(*_: object) -> None:
        raise RecursionError("/secret/path")

    monkeypatch.setattr(media_worker, "prepare_image", defective)
    head = {"modality": Modality.IMAGE, "is_base64": True}
    reply, body = media_worker._answer(head, b"AAAA", IMAGE, None, MediaLimits())
    assert (reply["error"], body) == ("decode", b"")
    assert "secret" not in reply["message"]
    assert "secret" in capsys.readouterr().err


async def test_memory_is_limited() -> None:
    """60 million pixels of three bytes, which decoding holds more than once."""
    stream = io.BytesIO()
    Image.new("RGB", (60_000, 1_000)).save(stream, "PNG")
    pool = MediaPool(config(memory_bytes=400 << 20, limits=MediaLimits(max_pixels=400_000_000)))
    await pool.start()
    try:
        with pytest.raises(MediaDecodeError, match="memory"):
            await pool.prepare(MediaJob(Modality.IMAGE, stream.getvalue()))
        assert (await pool.prepare(picture())).array.shape == (3, 32, 32)
    finally:
        await pool.stop()


async def test_memory_is_limited_for_clouds_too() -> None:
    """80 million points are 240 MB as they come in, and two GB as coordinates."""
    stream = io.BytesIO()
    np.savez_compressed(stream, xyz=np.zeros((80_000_000, 3), np.int8))
    limits = MediaLimits(max_points=100_000_000)
    pool = MediaPool(config(memory_bytes=2 << 30, limits=limits, points=POINTS))
    await pool.start()
    try:
        with pytest.raises(MediaDecodeError, match="memory"):
            await pool.prepare(MediaJob(Modality.POINT_CLOUD, stream.getvalue(), CloudFile("npz")))
        assert (await pool.prepare(cloud())).array.shape == (16, 3)
    finally:
        await pool.stop()


@pytest.mark.parametrize("signalled", [signal.SIGSTOP, signal.SIGABRT])
async def test_a_cloud_that_hangs_or_kills_its_process_costs_one_request(
    signalled: signal.Signals,
) -> None:
    pool = MediaPool(config(timeout_s=3.0, points=POINTS))
    await pool.start()
    try:
        first = pid_of(pool)
        os.kill(first, signal.SIGSTOP)
        job = asyncio.create_task(pool.prepare(cloud()))
        await asyncio.sleep(0.1)
        os.kill(first, signalled)
        if signalled is not signal.SIGSTOP:
            os.kill(first, signal.SIGCONT)
        with pytest.raises(MediaDecodeError, match=r"longer than|the decoder died"):
            await job
        await replaced(pool, first)
        with pytest.raises(ProcessLookupError):
            os.kill(first, 0)
    finally:
        await pool.stop()


async def test_refusals_leave_the_process_alone(pool: MediaPool) -> None:
    first = pid_of(pool)
    text = base64.b64encode(npy(np.zeros((1, 3)))).decode()
    with pytest.raises(MediaFormatError, match="no encoder"):
        await pool.prepare(MediaJob(Modality.POINT_CLOUD, text, CloudFile("npy")))
    with pytest.raises(MediaFormatError, match="expected one of JPEG"):
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
