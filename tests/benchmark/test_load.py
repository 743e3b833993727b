"""Load tests: workload, arrivals, metrics against hand-made records, loops, baseline and files."""

from __future__ import annotations

import json
import statistics
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from benchmark import load_report
from benchmark.baseline import TransformersBaseline
from benchmark.cli import bench
from benchmark.client import StreamRecord, Usage
from benchmark.errors import BenchmarkError
from benchmark.load import BaselineRound, LoadSpec, merge_rounds, run_load
from benchmark.load_metrics import percentile, summarise
from benchmark.workload import WorkItem, WorkloadSpec, arrival_times, make_workload


def picture(path: Path) -> Path:
    from PIL import Image

    Image.new("RGB", (8, 8), (10, 20, 30)).save(path)
    return path


def test_a_workload_is_seeded_and_its_mix_exact() -> None:
    spec = WorkloadSpec(num_prompts=12, output_lens=(8, 16, 32))
    items = make_workload(spec, seed=3)
    assert items == make_workload(spec, seed=3)
    assert items != make_workload(spec, seed=4)
    assert Counter(item.output_len for item in items) == {8: 4, 16: 4, 32: 4}
    assert len({item.prompt for item in items}) == 12


def test_unique_images_differ_in_bytes(tmp_path: Path) -> None:
    path = picture(tmp_path / "a.png")
    same = make_workload(WorkloadSpec(4, images=(path,)), 0)
    assert len({item.image for item in same}) == 1
    unique = make_workload(WorkloadSpec(4, images=(path,), unique_images=True), 0)
    assert len({item.image for item in unique}) == 4
    with pytest.raises(BenchmarkError, match="takes pictures"):
        make_workload(WorkloadSpec(1, images=(tmp_path / "a.npy",)), 0)
    with pytest.raises(BenchmarkError, match="cannot be read"):
        make_workload(WorkloadSpec(1, images=(tmp_path / "b.png",)), 0)


@pytest.mark.parametrize(("burstiness", "variation"), [(1.0, 1.0), (4.0, 0.5), (0.25, 2.0)])
def test_arrivals_have_the_rate_and_the_burstiness(burstiness: float, variation: float) -> None:
    times = arrival_times(20000, rate=5.0, burstiness=burstiness, seed=1)
    gaps = [b - a for a, b in pairwise(times)]
    mean = statistics.fmean(gaps)
    assert mean == pytest.approx(0.2, rel=0.05)
    assert statistics.pstdev(gaps) / mean == pytest.approx(variation, rel=0.05)
    assert arrival_times(3, float("inf"), 1.0, 0) == [0.0, 0.0, 0.0]
    with pytest.raises(BenchmarkError, match="must be above 0"):
        arrival_times(3, 0.0, 1.0, 0)


def record(start: float, times: list[float], end: float, tokens: int) -> StreamRecord:
    usage = Usage(prompt_tokens=10, completion_tokens=tokens, cached_tokens=1)
    return StreamRecord(start=start, chunk_times=times, end=end, usage=usage)


def test_metrics_against_values_by_hand() -> None:
    failed = StreamRecord(start=0.0, end=9.0, error="HTTP 503: full")
    records = [record(0.0, [0.1, 0.2, 0.4], 0.5, 3), record(0.5, [0.8], 0.8, 1), failed]
    result = summarise(records, duration=2.0, percentiles=(50, 99))
    assert (result["completed"], result["failed"]) == (2, 1)
    assert (result["total_input_tokens"], result["total_output_tokens"]) == (20, 4)
    assert result["request_throughput"] == 1.0
    assert result["output_throughput"] == 2.0
    assert result["total_token_throughput"] == 12.0
    assert result["total_cached_tokens"] == 2
    assert result["mean_ttft_ms"] == pytest.approx(200.0)
    assert result["mean_itl_ms"] == pytest.approx(150.0)
    assert result["p50_itl_ms"] == pytest.approx(150.0)
    assert result["mean_tpot_ms"] == pytest.approx(200.0)
    assert result["mean_e2el_ms"] == pytest.approx(400.0)
    assert result["p99_e2el_ms"] == pytest.approx(498.0)
    assert result["max_concurrent_requests"] == 2
    assert "mean_ttft_ms" not in summarise([failed], 1.0)
    assert percentile([1.0, 2.0, 3.0, 4.0], 25) == 1.75


async def test_a_closed_loop_keeps_to_its_concurrency(server: Any) -> None:
    server.token_delay = 0.001
    spec = LoadSpec("fake-lamm", WorkloadSpec(12, output_lens=(2, 6)), max_concurrency=3)
    async with server.client() as http:
        result = await run_load(http, spec)
    assert result["completed"] == 12
    assert result["max_concurrent_requests"] == 3
    assert result["total_output_tokens"] == 48
    assert result["short_outputs"] == 0
    assert result["total_cached_tokens"] == 24
    body = server.bodies[0]
    assert (body["ignore_eos"], body["min_tokens"]) == (True, body["max_tokens"])


async def test_an_open_loop_keeps_to_its_rate(server: Any) -> None:
    workload = WorkloadSpec(10, output_lens=(1,))
    spec = LoadSpec("fake-lamm", workload, None, request_rate=50, burstiness=100, seed=2)
    async with server.client() as http:
        result = await run_load(http, spec)
    # Ten requests 20 ms apart; how much longer it takes is the machine's affair.
    assert 0.15 < result["duration"] < 5.0
    assert result["completed"] == 10
    assert (result["request_rate"], result["max_concurrency"]) == (50, None)


async def test_a_load_test_without_any_success_is_an_error(server: Any) -> None:
    server.stream_error = True
    spec = LoadSpec("fake-lamm", WorkloadSpec(3), max_concurrency=1)
    async with server.client() as http:
        with pytest.raises(BenchmarkError, match=r"all 3 requests failed.*the engine stopped"):
            await run_load(http, spec)


class CountingBaseline:
    """Gives 100 tokens a second, and notes that the server was idle."""

    name = "counting"

    def __init__(self, server: Any) -> None:
        self.server = server
        self.seen: list[list[WorkItem]] = []
        self.asked_before: list[int] = []

    async def run(self, items: Sequence[WorkItem], batch_size: int) -> BaselineRound:
        assert batch_size == 2
        assert self.server.in_flight == 0
        self.seen.append(list(items))
        self.asked_before.append(len(self.server.asked))
        return BaselineRound(sum(item.output_len for item in items), 0.1)


async def test_baseline_and_server_take_turns_on_the_same_prompts(server: Any) -> None:
    baseline = CountingBaseline(server)
    spec = LoadSpec("fake-lamm", WorkloadSpec(4, output_lens=(5,)), 2, rounds=3)
    async with server.client() as http:
        result = await run_load(http, spec, baseline)
    assert baseline.asked_before == [0, 4, 8]
    assert sorted(item.prompt for items in baseline.seen for item in items) == sorted(server.asked)
    assert len(set(server.asked)) == 12
    assert result["baseline_output_throughput"] == pytest.approx(200.0)
    assert result["speedup"] == pytest.approx(result["output_throughput"] / 200.0)
    assert result["completed"] == 12
    assert len(result["round_output_throughputs"]) == 3


def test_rounds_merge_to_medians_and_sums() -> None:
    rounds = [
        {"completed": n, "mean_ttft_ms": t, "output_throughput": t, "errors": [], "duration": 1.0}
        for n, t in [(1, 5.0), (2, 9.0), (3, 7.0)]
    ]
    merged = merge_rounds(rounds)
    assert (merged["completed"], merged["mean_ttft_ms"], merged["duration"]) == (6, 7.0, 3.0)


def test_the_command_runs_several_concurrencies_and_saves(
    server: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = picture(tmp_path / "a.png")
    argv = ["load", "--url", server.url, "--max-concurrency", "1,4", "--num-prompts", "4"]
    argv += ["--output-lens", "2,4", "--image", str(image), "--save-result"]
    argv += ["--result-dir", str(tmp_path / "r"), "--percentile-metrics", "ttft,itl"]
    assert bench(argv) == 0
    shown = capsys.readouterr().out
    # Whole words at 80 columns, a line each for two concurrencies and two latencies.
    assert "out tok/s" in shown
    assert shown.count("\u2502 ttft ") + shown.count(" ttft \u2502") >= 2
    assert "tpot" not in shown
    files = sorted((tmp_path / "r").iterdir())
    assert len(files) == 2
    result = json.loads(files[0].read_text())
    expected = {"request_throughput", "output_throughput", "mean_ttft_ms", "p99_itl_ms", "date"}
    assert expected <= set(result)
    assert result["request_rate"] == "inf"
    assert server.bodies[0]["messages"][0]["content"][0]["type"] == "image_url"
    with pytest.raises(SystemExit):
        bench(["load", "--percentile-metrics", "speed"])
    assert "'speed' is none of ttft" in capsys.readouterr().err
    server.stream_error = True
    assert bench(["load", "--url", server.url, "--num-prompts", "4"]) == 1
    assert "a warm-up request failed: the engine stopped" in capsys.readouterr().err
    assert bench(["load", "--url", server.url, "--baseline", "transformers"]) == 1
    assert "--checkpoint DIR" in capsys.readouterr().err.replace("\n", " ")


def test_files_named_by_the_caller_keep_apart(tmp_path: Path) -> None:
    base = {"backend": "b", "model_id": "org/m", "date": "d", "request_rate": "inf"}
    rows = [{**base, "max_concurrency": 1}, {**base, "max_concurrency": 8}]
    names = [path.name for path in load_report.save(rows, tmp_path, "x.json")]
    assert names == ["x-concurrency1.json", "x-concurrency8.json"]


async def test_a_baseline_that_dies_says_its_last_words(tmp_path: Path) -> None:
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\necho 'no config.json' >&2\necho not json\n")
    program.chmod(0o755)
    with pytest.raises(BenchmarkError, match=r"the baseline process ended: no config.json"):
        await TransformersBaseline.start(tmp_path, python=str(program))
