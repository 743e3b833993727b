"""What every engine promises at the seam, tested on the scripted one and the real one alike."""

from __future__ import annotations

import asyncio
import dataclasses
import multiprocessing
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest

from lamm_model.sampling_params import SamplingParams
from service.engine.base import (
    Engine,
    EngineStoppedError,
    FinishReason,
    GenerationRequest,
    GrammarError,
    GrammarKind,
    GrammarSource,
    PromptTooLongError,
    QueueFullError,
)
from service.engine.config import EngineConfig
from service.engine.echo_engine import EchoEngine
from tests.service.engine.harness import EngineMaker, RequestMaker, collect, until

_VLLM = pytest.param("vllm", marks=[pytest.mark.vllm, pytest.mark.timeout(400)])


@pytest.fixture(params=["echo", "torch", _VLLM])
def running(request: pytest.FixtureRequest) -> EngineMaker:
    """`async with running(**config) as engine` for each engine."""
    if request.param != "echo":
        maker: EngineMaker = request.getfixturevalue(f"{request.param}_engine")
        return maker

    @asynccontextmanager
    async def echo(**overrides: Any) -> AsyncIterator[Any]:
        reply = "one two three four five six seven eight nine ten eleven twelve " * 4
        config = EngineConfig(**{"max_num_seqs": 8, **overrides})
        engine = EchoEngine(config, reply=reply, delay=0.002)
        await engine.start()
        yield engine
        await engine.stop()

    return echo


def idle(engine: Engine) -> bool:
    stats = engine.stats()
    return (stats.running, stats.waiting, stats.kv_cache_usage) == (0, 0, 0)


async def test_last_chunk_alone_has_the_finish_reason(
    running: EngineMaker, make_request: RequestMaker
) -> None:
    request = make_request(9, max_tokens=12)
    async with running() as engine:
        chunks = await collect(engine, request)
        assert idle(engine)
        assert engine.stats().alive
        assert engine.stats().generation_tokens_total == 12
        assert engine.stats().prompt_tokens_total == 9
    assert [chunk.finish_reason for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
    last = chunks[-1]
    assert last.finish_reason is FinishReason.LENGTH
    assert (last.prompt_tokens, last.completion_tokens) == (9, 12)
    assert sum(len(chunk.token_ids) for chunk in chunks) == 12
    assert last.timings.generate >= 0


async def test_text_does_not_depend_on_the_reader_or_the_batch(
    running: EngineMaker, make_request: RequestMaker
) -> None:
    request = make_request(9, max_tokens=30)

    async def slowly(engine: Engine) -> Any:
        text = ""
        async for chunk in engine.generate(request):
            text += chunk.text
            await asyncio.sleep(0.01)
        return text

    async with running() as engine:
        texts = await asyncio.gather(
            *(slowly(engine) for _ in range(3)), *(_text(engine, request) for _ in range(3))
        )
    assert len(set(texts)) == 1
    assert texts[0]


async def test_stop_string_ends_the_text_before_it(
    running: EngineMaker, make_request: RequestMaker
) -> None:
    whole = make_request(9, seed=5, max_tokens=30)
    async with running() as engine:
        text = await _text(engine, whole)
        stop = text[len(text) // 2 :][:3]
        stopped = make_request(9, seed=5, max_tokens=30, stop=(stop,))
        chunks = await collect(engine, stopped)
    assert "".join(chunk.text for chunk in chunks) == text[: text.index(stop)]
    assert chunks[-1].finish_reason is FinishReason.STOP
    assert chunks[-1].stop_reason == stop


async def test_closing_the_iterator_aborts(
    running: EngineMaker, make_request: RequestMaker
) -> None:
    async with running() as engine:
        async with aclosing(engine.generate(make_request(9, max_tokens=200))) as chunks:
            async for _ in chunks:
                break
        await until(lambda: idle(engine))
        assert engine.stats().generation_tokens_total < 200


async def test_cancelling_the_reader_aborts(
    running: EngineMaker, make_request: RequestMaker
) -> None:
    async with running() as engine:
        task = asyncio.create_task(collect(engine, make_request(9, max_tokens=200)))
        await until(lambda: engine.stats().running == 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until(lambda: idle(engine))


async def test_a_continuation_is_scored_and_nothing_is_generated(
    running: EngineMaker, make_request: RequestMaker
) -> None:
    request = dataclasses.replace(make_request(20), continuation_token_ids=(5, 9, 7))
    other = dataclasses.replace(request, continuation_token_ids=(5, 9, 8, 8))
    async with running() as engine:
        [alone] = await collect(engine, request)
        assert engine.stats().generation_tokens_total == 0
        together = await asyncio.gather(
            collect(engine, request), collect(engine, make_request(9)), collect(engine, other)
        )
        assert idle(engine)
        with pytest.raises(PromptTooLongError):
            await collect(engine, dataclasses.replace(request, continuation_token_ids=(5,) * 4000))
    assert (alone.text, alone.token_ids, alone.completion_tokens) == ("", (), 0)
    assert (alone.finish_reason, alone.prompt_tokens) == (FinishReason.LENGTH, 20)
    assert [entry.token_id for entry in alone.logprobs] == [5, 9, 7]
    values = [entry.logprob for entry in alone.logprobs]
    assert all(value <= 0 for value in values)
    assert [e.logprob for e in together[0][0].logprobs] == pytest.approx(values, abs=1e-4)
    # What comes later in an option does not reach back.
    assert [e.logprob for e in together[2][0].logprobs[:2]] == pytest.approx(values[:2], abs=1e-4)


async def test_queue_bounds(running: EngineMaker, make_request: RequestMaker) -> None:
    async with running(max_num_seqs=1, max_waiting_requests=2) as engine:
        busy = asyncio.create_task(collect(engine, make_request(5, max_tokens=240)))
        await until(lambda: engine.stats().running == 1)
        queued = [
            asyncio.create_task(collect(engine, make_request(5, max_tokens=2))) for _ in range(2)
        ]
        await until(lambda: engine.stats().waiting == 2)
        with pytest.raises(QueueFullError) as refusal:
            await collect(engine, make_request(5, max_tokens=2))
        assert (refusal.value.waiting, refusal.value.limit) == (2, 2)
        for task in (busy, *queued):
            assert (await task)[-1].finish_reason is not None
        assert idle(engine)


async def test_queue_bound_of_tokens(running: EngineMaker, make_request: RequestMaker) -> None:
    async with running(max_num_seqs=1, max_waiting_tokens=20) as engine:
        busy = asyncio.create_task(collect(engine, make_request(5, max_tokens=240)))
        await until(lambda: engine.stats().running == 1)
        queued = asyncio.create_task(collect(engine, make_request(15, max_tokens=2)))
        await until(lambda: engine.stats().waiting == 1)
        with pytest.raises(QueueFullError, match="15 tokens are waiting; the limit is 20"):
            await collect(engine, make_request(15, max_tokens=2))
        await asyncio.gather(busy, queued)


async def test_prompt_too_long(running: EngineMaker, make_request: RequestMaker) -> None:
    async with running(max_model_len=64) as engine:
        with pytest.raises(PromptTooLongError) as refusal:
            await collect(engine, make_request(64))
        assert (refusal.value.prompt_tokens, refusal.value.limit) == (64, 63)
        last = (await collect(engine, make_request(63, max_tokens=5)))[-1]
    assert (last.completion_tokens, last.finish_reason) == (1, FinishReason.LENGTH)


async def test_a_request_with_a_grammar_can_come_from_another_process(
    running: EngineMaker, make_request: RequestMaker
) -> None:
    grammars = [
        GrammarSource(GrammarKind.JSON_SCHEMA, '{"enum": ["a", "b"]}'),
        GrammarSource(GrammarKind.LARK, 'start: "yes" | "no"'),
    ]
    asked = [
        dataclasses.replace(
            make_request(20), sampling_params=SamplingParams(max_tokens=20), grammar=grammar
        )
        for grammar in grammars
    ]
    here, there = multiprocessing.Pipe()
    received = []
    for request in asked:
        there.send(request)
        received.append(here.recv())
    assert [request.grammar for request in received] == grammars
    async with running() as engine:
        texts = [await _text(engine, request) for request in received]
    assert all(texts)
    if not isinstance(engine, EchoEngine):
        assert texts[0] in ('"a"', '"b"')
        assert texts[1] in ("yes", "no")


async def test_a_faulty_grammar_is_refused_before_the_first_chunk(
    torch_engine: EngineMaker, make_request: RequestMaker
) -> None:
    faulty = GrammarSource(GrammarKind.JSON_SCHEMA, '{"not": {}}')
    async with torch_engine() as engine:
        with pytest.raises(GrammarError) as refusal:
            await collect(engine, dataclasses.replace(make_request(9), grammar=faulty))
        assert refusal.value.reason == "unsupported keywords: not"
        assert idle(engine)
        assert await collect(engine, make_request(9))


async def test_stopping_ends_open_streams(running: EngineMaker, make_request: RequestMaker) -> None:
    async with running() as engine:
        task = asyncio.create_task(collect(engine, make_request(9, max_tokens=240)))
        await until(lambda: engine.stats().running == 1)
        await engine.stop()
        with pytest.raises(EngineStoppedError):
            await task
        with pytest.raises(EngineStoppedError):
            await collect(engine, make_request(9))
        assert not engine.stats().alive
        await engine.stop()


async def _text(engine: Engine, request: GenerationRequest) -> str:
    return "".join([chunk.text for chunk in await collect(engine, request)])
