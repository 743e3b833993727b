"""Faults on purpose: only where the environment asks, once each, and always the same victim."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from service.engine.base import EngineStoppedError, RequestFailedError
from service.engine.config import DeviceKind, EngineConfig
from service.engine.factory import FAULT_DIRECTORY, create_engine
from service.engine.fault_injection import Fault, Faults, FaultyEngine, InjectedFaultError
from service.engine.loading.model_source import ModelSource
from service.engine.torch_engine import TorchEngine
from tests.service.engine.harness import RequestMaker, collect, picture


def test_a_fault_happens_once(tmp_path: Path) -> None:
    faults = Faults(tmp_path)
    assert not faults.take(Fault.STEP)
    (tmp_path / "step").touch()
    assert faults.take(Fault.STEP)
    assert not faults.take(Fault.STEP)
    assert list(tmp_path.iterdir()) == []


def test_the_victim_stays_the_victim(tmp_path: Path) -> None:
    faults = Faults(tmp_path)
    faults.hit(Fault.PREFILL, ["a", "b"])
    (tmp_path / "prefill").touch()
    faults.hit(Fault.PREFILL, [])
    for tried in (["b", "c"], ["b"]):
        with pytest.raises(InjectedFaultError, match="'prefill' was asked for"):
            faults.hit(Fault.PREFILL, tried)
    faults.hit(Fault.PREFILL, ["c"])
    faults.hit(Fault.ENCODE, ["b"])
    (tmp_path / "prefill").touch()
    with pytest.raises(InjectedFaultError):
        faults.hit(Fault.PREFILL, ["c"])
    faults.hit(Fault.PREFILL, ["b"])


async def test_a_stall_lasts_as_long_as_its_file(tmp_path: Path) -> None:
    faults = Faults(tmp_path)
    await asyncio.to_thread(faults.hold, Fault.STALL)
    (tmp_path / "stall").touch()
    held = asyncio.create_task(asyncio.to_thread(faults.hold, Fault.STALL))
    await asyncio.sleep(0.1)
    assert not held.done()
    (tmp_path / "stall").unlink()
    await asyncio.wait_for(held, 10)


def test_only_the_environment_asks_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, checkpoint: Path
) -> None:
    sources = (ModelSource.from_pretrained(checkpoint),)
    monkeypatch.delenv(FAULT_DIRECTORY, raising=False)
    assert type(create_engine("torch", sources, EngineConfig())) is TorchEngine
    monkeypatch.setenv(FAULT_DIRECTORY, str(tmp_path))
    assert type(create_engine("torch", sources, EngineConfig())) is FaultyEngine


async def test_the_engine_s_own_work_breaks(
    tmp_path: Path, checkpoint: Path, make_request: RequestMaker
) -> None:
    config = EngineConfig(
        device=DeviceKind.CPU, kv_cache_bytes=2 << 20, max_num_seqs=2, max_num_batched_tokens=32
    )
    sources = (ModelSource.from_pretrained(checkpoint),)
    engine = FaultyEngine(sources, config, None, tmp_path)
    await engine.start()
    seeds = iter(range(100))

    async def ended(fault: Fault) -> list[type[Exception]]:
        """The errors of five requests, each about a picture of its own."""
        (tmp_path / fault).touch()
        requests = [make_request(12, media=(picture(next(seeds)),)) for _ in range(5)]
        found = await asyncio.gather(
            *(collect(engine, request) for request in requests), return_exceptions=True
        )
        return [type(one) for one in found if isinstance(one, Exception)]

    try:
        assert await ended(Fault.ENCODE) == [RequestFailedError]
        assert await ended(Fault.PREFILL) == [RequestFailedError]
        assert await ended(Fault.STEP) in ([RequestFailedError], [RequestFailedError] * 2)
        assert engine.stats().alive
        assert await ended(Fault.DEATH) == [EngineStoppedError] * 5
        assert not engine.stats().alive
    finally:
        await engine.stop()
