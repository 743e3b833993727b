"""The soak test against a small server that answers by its pictures, hangs, errs and mixes up."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from benchmark.cli import bench
from benchmark.errors import BenchmarkError
from benchmark.http.cancel import DISCONNECTED
from benchmark.http.chat_answers import StreamRecord, Usage
from benchmark.http.client import ChatClient, RetryPolicy
from benchmark.soak import memory as soak_memory
from benchmark.soak import report as soak_report
from benchmark.soak.clients import Crowd, CrowdSpec, Finished, Outcome, outcome_of, run_crowd
from benchmark.soak.memory import MemorySample, find_sampler, slope
from benchmark.soak.probes import ProbeProcess
from benchmark.soak.requests import SoakRequests
from benchmark.soak.verify import verify
from benchmark.suite_reader import load_suite
from tests.benchmark.threaded_server import ThreadedServer


@dataclass
class PictureServer(ThreadedServer):
    """Answers with a digest of the medium; every `n`-th stream goes wrong as the fields say."""

    token_delay: float = 0.003
    mix_up: int = 0
    hang: int = 0
    refuse: int = 0
    retry_after: bool = True
    err: int = 0
    probe_status: int = 200
    left_waiting: int = 0
    streams: int = 0
    media: Counter[str] = field(default_factory=Counter)
    ended: int = 0

    def app(self) -> Starlette:
        return Starlette(routes=[
            Route("/v1/models", self._models),
            Route("/v1/chat/completions", self._chat, methods=["POST"]),
            Route("/livez", self._probe), Route("/readyz", self._probe),
            Route("/health", self._health), Route("/metrics", self._metrics),
        ])  # fmt: skip

    async def _models(self, _request: Request) -> Response:
        return JSONResponse({"data": [{"id": "pictures"}]})

    async def _probe(self, _request: Request) -> Response:
        return JSONResponse({}, self.probe_status)

    async def _health(self, _request: Request) -> Response:
        return JSONResponse({"running": 0, "waiting": self.left_waiting})

    async def _metrics(self, _request: Request) -> Response:
        return PlainTextResponse("# HELP x\nprocess_resident_memory_bytes 2.5e+07\n")

    async def _chat(self, request: Request) -> Response:
        body = await request.json()
        part = body["messages"][0]["content"][0]
        digest = hashlib.sha256(json.dumps(part).encode()).hexdigest()
        usage = {"prompt_tokens": 4, "completion_tokens": 8}
        if not body.get("stream"):
            message = {"role": "assistant", "content": digest[:8]}
            choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
            return JSONResponse({"model": "pictures", "choices": choices, "usage": usage})
        self.streams += 1
        self.media[digest] += 1
        turn = self.streams
        if self.refuse and turn % self.refuse == 0:
            headers = {"Retry-After": "1"} if self.retry_after else {}
            return JSONResponse({"error": {"message": "full"}}, 503, headers=headers)
        if self.err and turn % self.err == 0:
            return PlainTextResponse("oops", 500)
        if self.mix_up and turn % self.mix_up == 0:
            digest = "mixed up"
        hangs = bool(self.hang) and turn % self.hang == 0
        return StreamingResponse(self._stream(digest[:8], usage, hangs))

    async def _stream(self, text: str, usage: dict[str, int], hangs: bool) -> AsyncIterator[str]:
        try:
            for letter in text:
                await asyncio.sleep(30 if hangs else self.token_delay)
                choice = {"index": 0, "delta": {"content": letter}}
                yield f"data: {json.dumps({'choices': [choice]})}\n\n"
            end = {"index": 0, "delta": {}, "finish_reason": "stop"}
            yield f"data: {json.dumps({'choices': [end], 'usage': usage})}\n\ndata: [DONE]\n\n"
        finally:
            self.ended += 1


@pytest.fixture
def pictures() -> Iterator[PictureServer]:
    server = PictureServer()
    server.start()
    yield server
    server.stop()


def soak(server: PictureServer, out: Path, *flags: str) -> tuple[int, dict[str, Any]]:
    """Sixty requests of eight clients; the exit status and the result file."""
    argv = ["soak", "--url", server.url, "--clients", "8", "--num-prompts", "60"]
    argv += ["--suite", "none"]
    argv += ["--server-pid", str(os.getpid()), "--max-memory-slope", "1e9", "--out", str(out)]
    argv += ["--max-probe-p99", "60000", "--warm-up", "0", *flags]
    status = bench(argv)
    return status, json.loads((out / "soak.json").read_text())


def kept(result: dict[str, Any]) -> dict[str, bool | None]:
    return {promise["name"]: promise["kept"] for promise in result["promises"]}


def test_a_sound_server_keeps_every_promise(
    pictures: PictureServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The memory of this process is read; the slope needs three samples within the short test.
    monkeypatch.setattr(soak_memory, "_PROC_INTERVAL_S", 0.02)
    status, result = soak(pictures, tmp_path, "--cancel-rate", "0.3")
    assert set(kept(result).values()) == {True}
    assert (status, result["passed"]) == (0, True)
    outcomes = result["outcomes"]
    assert outcomes["finished"] >= 30
    assert outcomes["disconnected"] > 0
    assert sum(outcomes.values()) == 60
    # Every medium was another one, and every finished answer was compared with its own.
    assert max(pictures.media.values()) == 1
    assert result["verification"]["checked"] == outcomes["finished"]
    assert result["verification"]["distinct_answers"] == outcomes["finished"]
    assert result["probes"]["/livez"]["asked"] > 1
    assert result["open_files"][1] <= result["open_files"][0] + soak_report.SPARE_FILES
    assert result["client_cpu_share"] > 0
    assert result["probes"]["/health"]["max_ms_by_second"]
    assert {len(sample) for sample in result["memory"]["samples"]} == {4}
    assert (tmp_path / "soak.svg").read_text().count("<path") > 3
    page = (tmp_path / "soak.md").read_text()
    assert "# Soak test of pictures: passed" in page
    assert "30 % of the requests disconnecting" in page
    assert "Examples" not in page


def test_wrong_answers_and_5xx_are_found(pictures: PictureServer, tmp_path: Path) -> None:
    pictures.mix_up, pictures.err, pictures.refuse = 7, 11, 13
    pictures.retry_after = False
    status, result = soak(pictures, tmp_path, "--cancel-rate", "0")
    found = kept(result)
    assert status == 1
    assert found["wrong answers"] is False
    assert found["5xx other than 429 and 503"] is False
    assert found["refusals without Retry-After"] is False
    assert found["hung requests"] is True
    wrong = result["verification"]["wrong"]
    assert result["outcomes"]["server_error"] == 5
    assert result["refusals_without_retry_after"] == result["outcomes"]["refused"] == 4
    assert len(wrong) == 8
    assert "'mixed up'" in wrong[0]["in_crowd"]
    page = (tmp_path / "soak.md").read_text()
    assert "FAILED" in page
    assert "HTTP 500: oops" in page


def test_hung_requests_and_failing_probes_are_found(
    pictures: PictureServer, tmp_path: Path
) -> None:
    pictures.hang, pictures.probe_status = 9, 503
    status, result = soak(pictures, tmp_path, "--timeout", "1", "--cancel-rate", "0")
    found = kept(result)
    assert status == 1
    assert found["hung requests"] is False
    assert result["outcomes"]["hung"] == 6
    assert len(result["examples"]["hung"]) == 5
    assert (found["probe /livez"], found["probe /health"]) == (False, True)
    assert found["wrong answers"] is True


async def test_a_request_without_an_end_hangs_too(pictures: PictureServer) -> None:
    pictures.token_delay = 0.2
    crowd = Crowd()
    spec = CrowdSpec(clients=2, cancel_rate=0.0, deadline_s=0.5, num_prompts=2)
    async with httpx.AsyncClient(base_url=pictures.url, trust_env=False) as http:
        await run_crowd(ChatClient(http, 2), SoakRequests("m", 0), spec, crowd)
        for _ in range(100):
            if pictures.ended == pictures.streams:
                break
            await asyncio.sleep(0.02)
    assert crowd.counts == {Outcome.HUNG: 2}
    assert pictures.ended == pictures.streams


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (None, "finished"), (DISCONNECTED, "disconnected"), ("HTTP 429: wait", "refused"),
        ("HTTP 503: full", "refused"), ("HTTP 500: oops", "server_error"),
        ("HTTP 504: slow", "server_error"), ("HTTP 400: no", "rejected"),
        ("connection lost: ReadTimeout", "hung"), ("connection lost: ReadError", "lost"),
        ("the stream ended before [DONE]", "broken"), ("the engine stopped", "broken"),
    ],
)  # fmt: skip
def test_each_error_has_one_outcome(error: str | None, outcome: str) -> None:
    crowd = Crowd()
    record = StreamRecord(start=0.0, usage=Usage(completion_tokens=1), error=error)
    assert outcome_of(record) is crowd.note(3, record) is Outcome(outcome)
    assert len(crowd.finished) == (error is None)
    assert crowd.examples.get(Outcome(outcome), []) == (
        [] if outcome in ("finished", "disconnected") else [f"request 3: {error}"]
    )


def test_requests_are_unique_and_can_be_made_again(suite_files: Any) -> None:
    drawn = SoakRequests("m", seed=1, media="both")
    bodies = [json.dumps(drawn[number].body) for number in range(40)]
    assert bodies == [json.dumps(drawn[number].body) for number in range(40)]
    assert bodies[0] != json.dumps(SoakRequests("m", seed=2, media="both")[0].body)
    media = [json.dumps(json.loads(body)["messages"][0]["content"][0]) for body in bodies]
    assert len(set(media)) == 40
    assert sum("point_cloud_url" in part for part in media) == 20
    suite = load_suite(suite_files.directory)
    asked = SoakRequests("m", 0, "images", suite)
    questions = {asked[number].question for number in range(32)}
    assert len(questions) == 16
    # The same question of a second round is about another picture.
    assert asked[0].question == asked[16].question
    assert asked[0].body["messages"] != asked[16].body["messages"]


def test_clouds_of_a_suite_are_moved(suite_files: Any) -> None:
    for path in (suite_files.directory / "clouds").iterdir():
        np.save(path, np.zeros((5, 3), np.float32))
    clouds = SoakRequests("m", 0, "clouds", load_suite(suite_files.directory))
    assert clouds[0].body["messages"] != clouds[4].body["messages"]
    for name in ("classify.jsonl", "count.jsonl"):
        suite_files.write_rows(name, suite_files.rows(name)[:0])
    with pytest.raises(BenchmarkError, match="has no question about images"):
        SoakRequests("m", 0, "images", load_suite(suite_files.directory))


async def test_a_limit_draws_the_compared_answers_evenly(pictures: PictureServer) -> None:
    requests = SoakRequests("m", 0)
    finished = [Finished(number, "x", "stop", 8, 0.1) for number in range(10)]
    async with httpx.AsyncClient(base_url=pictures.url, trust_env=False) as http:
        found = await verify(ChatClient(http, 1), requests, finished, limit=5)
    assert [one.number for one in found.wrong] == [0, 2, 4, 6, 8]
    assert (found.checked, found.distinct, found.commonest) == (5, 1, 1.0)


async def test_a_server_that_is_gone_ends_the_comparison(pictures: PictureServer) -> None:
    finished = [Finished(number, "x", "stop", 8, 0.1) for number in range(10)]
    pictures.stop()
    async with httpx.AsyncClient(base_url=pictures.url, trust_env=False) as http:
        client = ChatClient(http, 1, RetryPolicy(attempts=1))
        found = await verify(client, SoakRequests("m", 0), finished)
    assert (found.checked, len(found.unanswered)) == (0, 1)
    assert "request 0 and all after it: no answer from" in found.unanswered[0]


def test_a_slope_is_not_tilted_by_a_burst_or_a_step() -> None:
    level, burst = 10**9, 10**8
    bursts = [MemorySample(float(s), level + burst * (50 <= s < 60)) for s in range(60)]
    assert slope(bursts, 0) == pytest.approx(0.0)
    grown = [MemorySample(float(s), level + 10_000 * s + burst * (s == 40)) for s in range(60)]
    assert slope(grown, 0) == pytest.approx(0.6)
    # Hours of samples give the same, of fewer pairs.
    hours = [MemorySample(float(s), level + 10_000 * s) for s in range(20_000)]
    assert slope(hours, 60) == pytest.approx(0.6)


def test_a_slope_leaves_the_warm_up_out() -> None:
    samples = [MemorySample(float(s), 10**9 + 10**8 * (s < 5) + 50_000 * s) for s in range(60)]
    assert slope(samples, 5) == pytest.approx(3.0)
    assert slope(samples, 0) is not None
    assert slope(samples[:7], 5) is None


def test_memory_is_read_with_that_of_children() -> None:
    alone = soak_memory.resident_bytes(os.getpid())
    code = "import sys; data = bytearray(b'x') * 50_000_000; print('up', flush=True); input()"
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", code], **pipes) as child:
        assert child.stdout is not None
        assert child.stdin is not None
        child.stdout.readline()
        together = soak_memory.resident_bytes(os.getpid())
        child.stdin.write(b"\n")
        child.stdin.flush()
    assert alone is not None
    assert together is not None
    assert together - alone > 40_000_000


def test_open_files_are_counted() -> None:
    before = soak_memory.usage_of(os.getpid())
    with open(os.devnull, "rb"), open(os.devnull, "rb"):
        after = soak_memory.usage_of(os.getpid())
    assert before is not None
    assert after is not None
    assert before.open_files is not None
    assert after.open_files == before.open_files + 2
    assert soak_memory.usage_of(1 << 30) is None


@pytest.mark.parametrize(
    ("counts", "kept"), [([40, 56], True), ([40, 57], False), ([None, None], None)]
)
def test_files_that_stay_open_break_a_promise(counts: list[int | None], kept: bool | None) -> None:
    found = soak_report._open_files(counts)
    assert [promise.kept for promise in found] == ([] if kept is None else [kept])


async def test_memory_is_read_from_metrics_without_a_process(pictures: PictureServer) -> None:
    async with httpx.AsyncClient(base_url=pictures.url, trust_env=False) as http:
        sampler = await find_sampler(http, None)
        assert sampler is not None
        sampler.start()
        await asyncio.sleep(0.2)
        await sampler.stop()
        assert [sample.resident_bytes for sample in sampler.samples] == [25_000_000]
        with pytest.raises(BenchmarkError, match="no such process"):
            await find_sampler(http, 1 << 30)


async def test_probes_run_in_a_process_of_their_own(pictures: PictureServer) -> None:
    process = await ProbeProcess.start(pictures.url, 0.02)
    await asyncio.sleep(0.5)
    found = await process.stop()
    assert set(found) == {"/livez", "/readyz", "/health"}
    for log in found.values():
        assert log["asked"] == log["answers"]["200"] > 0
        assert log["failed"] == 0
        assert 0 < log["p50_ms"] <= log["p99_ms"] <= log["max_ms"]


def test_what_was_not_measured_is_no_pass() -> None:
    result = {
        "outcomes": {outcome.value: 0 for outcome in Outcome},
        "refusals_without_retry_after": 0,
        "verification": {"wrong": [], "unanswered": [], "checked": 0},
        "memory": {"slope_mb_per_min": None},
        "probes": {
            "/livez": {"asked": 9, "failed": 9, "answers": {"404": 9}, "p99_ms": 1.0},
            "/readyz": {"asked": 9, "failed": 9, "answers": {"ConnectionRefusedError": 9}},
        },
        "left_behind": None,
    }
    found = soak_report.promises(result, soak_report.Limits())
    by_name = {promise.name: promise.kept for promise in found}
    assert by_name["wrong answers"] is None
    assert by_name["memory slope after warm-up"] is None
    assert by_name["requests left in the engine"] is None
    assert (by_name["probe /livez"], by_name["probe /readyz"]) == (None, False)
    assert not soak_report.passed(found)
    left = {**result, "left_behind": {"running": 0, "waiting": 2, "seconds": 30.0}}
    assert soak_report.promises(left, soak_report.Limits())[-1].kept is False


async def test_a_terminal_s_ctrl_c_is_not_for_the_probes(pictures: PictureServer) -> None:
    process = await ProbeProcess.start(pictures.url, 0.05)
    try:
        assert os.getpgid(process._process.pid) != os.getpgrp()
    finally:
        await process.stop()
