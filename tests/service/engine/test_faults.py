"""What goes wrong in the engine hits whom it must and no one else, and nobody is left waiting."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import time
from typing import Any

import pytest
import torch

from lamm_model.decoder.kv_cache import KVCache
from lamm_model.decoder.llama import LlamaDecoder
from lamm_model.sampling_params import SamplingParams
from service.engine import torch_engine as torch_engine_module
from service.engine.base import (
    Engine,
    EngineStoppedError,
    FinishReason,
    GenerationRequest,
    QueueFullError,
    RequestFailedError,
)
from service.engine.config import EngineConfig, EngineConfigError
from service.engine.device import recover
from service.engine.engine_core import EngineCore
from service.engine.isolation import run_isolated
from service.engine.model_runner import ModelRunner
from service.engine.output import SequenceOutput
from service.engine.scheduler import Scheduler
from service.engine.sequence import Sequence
from tests.service.engine.harness import (
    EngineMaker,
    Oracle,
    RequestMaker,
    collect,
    picture,
    tokens_of,
    until,
)

POISON = 77


def poisoned(request: GenerationRequest, at: int) -> GenerationRequest:
    """The request with the token in its prompt that the tests' kernels cannot bear."""
    ids = list(request.prompt_token_ids)
    ids[at] = POISON
    return GenerationRequest(f"bad-{request.request_id}", tuple(ids), request.sampling_params)


def harmless(make_request: RequestMaker, *args: Any, **kwargs: Any) -> GenerationRequest:
    request = make_request(*args, **kwargs)
    ids = tuple(78 if token == POISON else token for token in request.prompt_token_ids)
    return GenerationRequest(
        request.request_id, ids, request.sampling_params, request.media, request.priority
    )


@pytest.fixture
def fragile_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Embedding the poison runs out of memory, as a prompt that is too much for a device does."""
    embed = LlamaDecoder.embed

    def fragile(self: Any, token_ids: Any) -> Any:
        if bool((token_ids == POISON).any()):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 7.00 GiB")
        return embed(self, token_ids)

    monkeypatch.setattr(LlamaDecoder, "embed", fragile)


async def test_a_prompt_that_breaks_its_step_fails_alone(
    torch_engine: EngineMaker,
    make_request: RequestMaker,
    oracle: Oracle,
    fragile_kernels: None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    good = [harmless(make_request, 8 + i, max_tokens=16 + i) for i in range(5)]
    good.append(harmless(make_request, 12, media=(picture(1),)))
    bad = [poisoned(make_request(9), 3), poisoned(make_request(20), 18)]
    answers = {r.request_id: oracle(r) for r in good}
    good = [r for r in good if POISON not in answers[r.request_id]]
    assert len(good) > 2
    async with torch_engine(max_num_batched_tokens=256) as engine:
        found = await asyncio.gather(
            *(tokens_of(engine, r) for r in good),
            *(collect(engine, r) for r in bad),
            return_exceptions=True,
        )
        assert found[: len(good)] == [answers[r.request_id] for r in good]
        for refusal in found[len(good) :]:
            assert isinstance(refusal, RequestFailedError)
            # What the library said is for the log.
            assert str(refusal) == "the engine failed in this request's step"
        assert "7.00 GiB" in caplog.text
        await until(lambda: engine.stats().kv_cache_usage == 0)
        # What it had shared before it failed is as good as ever, and poison alone kills no engine.
        for _ in range(4):
            with pytest.raises(RequestFailedError):
                await collect(engine, bad[0])
        assert engine.stats().alive
        assert await tokens_of(engine, good[0]) == answers[good[0].request_id]


async def test_a_step_that_is_too_large_passes_in_parts(
    torch_engine: EngineMaker,
    make_request: RequestMaker,
    oracle: Oracle,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    requests, forward, refused = [make_request(20) for _ in range(6)], LlamaDecoder.forward, []

    def narrow(self: Any, embeds: Any, *args: Any) -> Any:
        if len(embeds) > 50:
            refused.append(len(embeds))
            raise torch.OutOfMemoryError("out of memory")
        return forward(self, embeds, *args)

    monkeypatch.setattr(LlamaDecoder, "forward", narrow)
    async with torch_engine(max_num_batched_tokens=256) as engine:
        found = await asyncio.gather(*(tokens_of(engine, r) for r in requests))
    assert found == [oracle(r) for r in requests]
    assert refused


async def test_a_prefix_that_cannot_be_loaded_fails_alone(
    torch_engine: EngineMaker,
    make_request: RequestMaker,
    oracle: Oracle,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    known, other, load = make_request(40), make_request(9), KVCache.load
    broken: list[int] = []

    def fragile(self: Any, slot: Any, blocks: Any) -> None:
        if broken:
            raise torch.OutOfMemoryError("out of memory")
        load(self, slot, blocks)

    monkeypatch.setattr(KVCache, "load", fragile)
    async with torch_engine() as engine:
        assert await tokens_of(engine, known) == oracle(known)
        broken.append(1)
        refusal, found = await asyncio.gather(
            collect(engine, known), tokens_of(engine, other), return_exceptions=True
        )
        assert isinstance(refusal, RequestFailedError)
        assert found == oracle(other)
        broken.clear()
        again = await collect(engine, known)
    assert [t for c in again for t in c.token_ids] == oracle(known)
    assert again[-1].cached_tokens == 32


async def test_a_text_that_cannot_be_read_fails_alone(
    torch_engine: EngineMaker,
    make_request: RequestMaker,
    oracle: Oracle,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    good, bad = make_request(9), make_request(11)
    push = SequenceOutput.push

    def fragile(self: Any, *args: Any) -> Any:
        if self.sequence.request is bad or self.sequence.request == bad:
            raise ValueError("no such piece")
        return push(self, *args)

    monkeypatch.setattr(SequenceOutput, "push", fragile)
    async with torch_engine() as engine:
        found, refusal = await asyncio.gather(
            tokens_of(engine, good), collect(engine, bad), return_exceptions=True
        )
        assert isinstance(refusal, RequestFailedError)
        assert found == oracle(good)
        await until(lambda: engine.stats().kv_cache_usage == 0)


async def test_a_request_that_cannot_be_taken_in_fails_alone(
    torch_engine: EngineMaker, make_request: RequestMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, add = make_request(11), Scheduler.add

    def fragile(self: Any, sequence: Any) -> None:
        if sequence.request == bad:
            raise KeyError("a bug")
        add(self, sequence)

    monkeypatch.setattr(Scheduler, "add", fragile)
    async with torch_engine() as engine:
        with pytest.raises(RequestFailedError, match="could not queue this request"):
            await collect(engine, bad)
        assert (await collect(engine, make_request(9)))[-1].finish_reason is FinishReason.LENGTH


async def test_a_lost_device_fails_the_step_as_a_whole(
    torch_engine: EngineMaker,
    make_request: RequestMaker,
    monkeypatch: pytest.MonkeyPatch,
    fragile_kernels: None,
) -> None:
    def lost(device: Any) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr("service.engine.model_runner.recover", lost)
    async with torch_engine(max_num_batched_tokens=256) as engine:
        found = await asyncio.gather(
            collect(engine, harmless(make_request, 9)),
            collect(engine, poisoned(make_request(9), 3)),
            return_exceptions=True,
        )
    assert [str(error) for error in found] == ["the engine failed in this step"] * 2


@pytest.mark.parametrize("where", [(EngineCore, "stats"), (ModelRunner, "run")])
async def test_a_dying_thread_leaves_no_one_waiting(
    torch_engine: EngineMaker,
    make_request: RequestMaker,
    monkeypatch: pytest.MonkeyPatch,
    where: Any,
) -> None:
    async with torch_engine(max_num_seqs=2) as engine:
        running = [
            asyncio.create_task(collect(engine, make_request(9, max_tokens=200))) for _ in range(6)
        ]
        await until(lambda: engine.stats().running == 2)

        def die(self: Any, *args: Any, **kwargs: Any) -> None:
            raise SystemExit("what no step's own handling expects")

        monkeypatch.setattr(where[0], where[1], die)
        async with asyncio.timeout(10):
            ended = await asyncio.gather(*running, return_exceptions=True)
        assert {type(error) for error in ended} == {EngineStoppedError}
        stats = engine.stats()
        assert (stats.alive, stats.running, stats.waiting) == (False, 0, 0)
        with pytest.raises(EngineStoppedError):
            await collect(engine, make_request(9))


async def test_a_step_that_hangs_is_seen_and_does_not_hold_up_the_end(
    torch_engine: EngineMaker, make_request: RequestMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    hanging, entered, run = threading.Event(), threading.Event(), ModelRunner.run

    def hang(self: Any, output: Any) -> Any:
        if any(chunk.sequence.num_output_tokens == 3 for chunk in output.chunks):
            entered.set()
            hanging.wait(60)
        return run(self, output)

    monkeypatch.setattr(ModelRunner, "run", hang)
    monkeypatch.setattr(torch_engine_module, "_STOP_TIMEOUT_S", 0.05)
    try:
        async with torch_engine(max_num_seqs=1) as engine:
            request = make_request(21, media=(picture(1),))
            first = asyncio.create_task(collect(engine, request))
            await until(entered.is_set)
            second = asyncio.create_task(collect(engine, make_request(9, priority=4)))
            await asyncio.sleep(0.1)
            assert engine.stats().stalled(0.05)
            assert not engine.stats().stalled(60)
            state = json.loads(json.dumps(engine.state()))
            assert any("hang" in entry for entry in state["stack"])
            assert (state["thread_alive"], state["inbox"]) == (True, 1)
            [entry] = state["running"]
            assert (entry["request_id"], entry["prompt_tokens"]) == (request.request_id, 40)
            assert (entry["output_tokens"], entry["media"]) == (3, ["image"])
            assert entry["blocks"] == 3
            [chunk] = state["last_step"]["chunks"]
            assert (chunk["request_id"], chunk["num_tokens"]) == (request.request_id, 1)
            assert state["kv_blocks"]["free"] == state["kv_blocks"]["total"] - 3
            # Nothing of what the request said.
            assert str(list(request.prompt_token_ids))[1:20] not in json.dumps(state)
            await engine.stop()
            for task in (first, second):
                with pytest.raises(EngineStoppedError):
                    await task
    finally:
        hanging.set()


async def test_a_refusal_does_not_wait_for_a_step(
    torch_engine: EngineMaker, make_request: RequestMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered, step, run = threading.Semaphore(0), threading.Semaphore(0), ModelRunner.run

    def wait(self: Any, output: Any) -> Any:
        entered.release()
        step.acquire(timeout=30)
        return run(self, output)

    monkeypatch.setattr(ModelRunner, "run", wait)
    async with torch_engine(max_num_seqs=1, max_waiting_requests=1) as engine:
        asked = [asyncio.create_task(collect(engine, make_request(9)))]
        try:
            await asyncio.to_thread(entered.acquire)
            asked += [asyncio.create_task(collect(engine, make_request(9))) for _ in range(2)]
            await until(lambda: engine.state()["inbox"] == 2)
            step.release()
            await asyncio.to_thread(entered.acquire)
            # The next step runs, and the last one is not in it.
            async with asyncio.timeout(5):
                with pytest.raises(QueueFullError):
                    await asked[-1]
        finally:
            step.release(1000)
        await asyncio.gather(*asked[:-1])


def sequence(arrived_at: float, priority: int, ageing_s: float = 3.0) -> Sequence:
    request = GenerationRequest("r", (1, 2), SamplingParams(), (), priority)
    return Sequence(request, int(arrived_at * 10), 0, arrived_at, ageing_s)


def test_waiting_makes_up_for_priority() -> None:
    low = sequence(0.0, 10)
    assert sequence(29.9, 0).order < low.order
    assert sequence(30.1, 0).order > low.order
    assert sequence(1.0, 0, 0.0).order > sequence(0.5, 100, 0.0).order


async def test_a_low_priority_is_served_under_endless_traffic(
    torch_engine: EngineMaker, make_request: RequestMaker
) -> None:
    """One seat, always someone of a better priority in line: the low one comes all the same."""
    done = asyncio.Event()

    async def traffic(engine: Engine) -> None:
        while not done.is_set():
            await collect(engine, make_request(5, max_tokens=4))

    config = {"max_num_seqs": 1, "priority_ageing_s": 0.01}
    async with torch_engine(**config) as engine:
        # So many that some wait even while a busy machine holds this event loop up.
        streams = [asyncio.create_task(traffic(engine)) for _ in range(12)]
        await until(lambda: engine.stats().waiting >= 1)
        started = time.monotonic()
        async with asyncio.timeout(60):
            await collect(engine, make_request(5, priority=50, max_tokens=1))
        assert time.monotonic() - started > 0.4
        done.set()
        await asyncio.gather(*streams)


async def test_clients_may_only_lower_their_priority(
    torch_engine: EngineMaker, make_request: RequestMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, add = {}, Scheduler.add

    def record(self: Any, sequence: Any) -> None:
        seen[sequence.request.request_id] = sequence.request.priority
        add(self, sequence)

    monkeypatch.setattr(Scheduler, "add", record)
    asked = [make_request(5, priority=p, max_tokens=1) for p in (-1000, 0, 7, 1000)]
    async with torch_engine() as engine:
        for request in asked:
            await collect(engine, request)
    assert [seen[r.request_id] for r in asked] == [0, 0, 7, 100]
    with pytest.raises(EngineConfigError, match="max_priority is 1; it must be at least 2"):
        EngineConfig(min_priority=2, max_priority=1)


def test_only_the_guilty_ones_are_left_out(caplog: pytest.LogCaptureFixture) -> None:
    done, recovered = [], []

    def run(part: Any) -> None:
        if {3, 4} & set(part):
            raise ValueError(f"{part}")
        done.extend(part)

    with caplog.at_level(logging.WARNING):
        failed = run_isolated(list(range(9)), run, lambda: recovered.append(1))
    assert [(item, str(error)) for item, error in failed] == [(3, "[3]"), (4, "[4]")]
    assert all(error.__traceback__ is None for _, error in failed)
    assert done == [0, 1, 2, 5, 6, 7, 8]
    assert recovered
    assert run_isolated([], run, recovered.clear) == []
    recover(torch.device("cpu"))
