"""White space around an answer that comes in pieces, and what a generation reports."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from lamm_model.conversation import Modality
from lamm_model.sampling_params import SamplingParams
from service.answer.generation import AnswerText, Generation
from service.engine.base import (
    EncodedMedium,
    FinishReason,
    GenerationChunk,
    GenerationRequest,
    RequestTimings,
)
from service.engine.config import EngineConfig
from service.engine.echo_engine import EchoEngine
from service.keys.api_keys import ApiKey, KeyLimits, Role
from service.keys.rate_limit import KeyAccount
from service.metrics import Metrics
from service.plan.input_processor import PlannedRequest


@given(st.lists(st.text(alphabet=" \n\tab", max_size=4), max_size=8))
def test_stripping_piecewise_is_stripping(pieces: list[str]) -> None:
    answer = AnswerText()
    assert "".join(map(answer.feed, pieces)) == "".join(pieces).strip()


@given(st.lists(st.text(alphabet=" \n\tab", max_size=4), max_size=8))
def test_a_continuation_keeps_the_space_before_it(pieces: list[str]) -> None:
    answer = AnswerText(continues=True)
    assert "".join(map(answer.feed, pieces)) == "".join(pieces).rstrip()


class Scripted(EchoEngine):
    """Gives each request the chunks of its id."""

    def __init__(self, chunks: dict[str, list[GenerationChunk]]) -> None:
        super().__init__(EngineConfig())
        self._chunks = chunks

    async def generate(self, request: GenerationRequest) -> AsyncIterator[GenerationChunk]:
        for chunk in self._chunks[request.request_id]:
            yield chunk


def chunk(*encoded: EncodedMedium, last: bool = False) -> GenerationChunk:
    reason = FinishReason.STOP if last else None
    # What a sequence waited for its step's media, whoever they were encoded for.
    timings = RequestTimings(encode=9.0, encoded_media=encoded)
    return GenerationChunk("x", (1,), finish_reason=reason, completion_tokens=1, timings=timings)


async def test_each_encoded_medium_is_reported_once_under_its_modality() -> None:
    image = EncodedMedium(Modality.IMAGE, 0.25)
    cloud, again = (EncodedMedium(Modality.POINT_CLOUD, seconds) for seconds in (2.0, 1.0))
    engine = Scripted({
        "r-0": [chunk(image, cloud), chunk(image, cloud), chunk(image, cloud, again, last=True)],
        "r-1": [chunk(), chunk(last=True)],
    })  # fmt: skip
    sequences = tuple(GenerationRequest(name, (1,), SamplingParams()) for name in ("r-0", "r-1"))
    metrics = Metrics("m", {})
    planned = PlannedRequest("r", sequences, 0, 0, 0.0, 0.0)
    generation = Generation(engine, planned, metrics, time.perf_counter())
    await generation.start(1.0)
    assert [delta async for delta in generation.deltas()]
    await generation.close()
    found = {
        (sample.name.rsplit("_", 1)[1], sample.labels["modality"]): sample.value
        for family in text_string_to_metric_families(metrics.exposition().decode())
        for sample in family.samples
        if sample.name.startswith("lamm:media_encode_seconds_") and "le" not in sample.labels
    }
    assert (found["count", "image"], found["sum", "image"]) == (1, 0.25)
    assert (found["count", "point_cloud"], found["sum", "point_cloud"]) == (2, 3.0)


@pytest.mark.parametrize(("continues", "text"), [(True, " coat."), (False, "coat.")])
async def test_a_continued_text_keeps_the_space_before_its_rest(continues: bool, text: str) -> None:
    last = GenerationChunk(" coat. ", (1,), finish_reason=FinishReason.STOP, completion_tokens=1)
    planned = PlannedRequest(
        "r", (GenerationRequest("r-0", (1,), SamplingParams()),), 0, 0, 0.0, 0.0,
        continues=continues,
    )  # fmt: skip
    engine = Scripted({"r-0": [last]})
    generation = Generation(engine, planned, Metrics("m", {}), time.perf_counter())
    await generation.start(1.0)
    deltas = [delta async for delta in generation.deltas()]
    await generation.close()
    assert "".join(delta.text for delta in deltas if delta is not None) == text


class Lingering(EchoEngine):
    """Gives one token, and takes its time to abort."""

    async def generate(self, request: GenerationRequest) -> AsyncIterator[GenerationChunk]:
        try:
            yield chunk()
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.05)


async def test_a_reservation_goes_back_however_often_it_is_cancelled() -> None:
    key = ApiKey("one", Role.USER, b"", KeyLimits(tokens_per_minute=1000))
    account = KeyAccount(key)
    sequence = GenerationRequest("r-0", (1,), SamplingParams(max_tokens=900))
    planned = PlannedRequest("r", (sequence,), 0, 0, 0.0, 0.0)
    generation = Generation(
        Lingering(EngineConfig()), planned, Metrics("m", {}), time.perf_counter(), account=account
    )
    await generation.start(1.0)

    async def read() -> None:
        async for _ in generation.deltas():
            pass

    reader = asyncio.create_task(read())
    for _ in range(2):
        await asyncio.sleep(0.01)
        reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader
    await generation.close()
    # One token of prompt and one of the answer were used.
    account.reserve(990)
