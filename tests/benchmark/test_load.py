"""Load tests: metrics against hand-made records, loops, goodput, baseline, command and files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from benchmark.answers import write_whole
from benchmark.cli import bench
from benchmark.errors import BenchmarkError
from benchmark.http.chat_answers import StreamRecord, Usage
from benchmark.http.client import Backend
from benchmark.load import report as load_report
from benchmark.load.arrivals import Arrivals
from benchmark.load.baseline_process import TransformersBaseline
from benchmark.load.metrics import percentile, summarise, tokens_per_second
from benchmark.load.requests import RequestStyle
from benchmark.load.run import BaselineRound, LoadSpec, merge_rounds, run_load
from benchmark.load.sender import DETAIL_KEYS
from benchmark.load.workload import WorkItem, WorkloadSpec
from benchmark.load_plot import main as draw_saved


def picture(path: Path) -> Path:
    Image.new("RGB", (8, 8), (10, 20, 30)).save(path)
    return path


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
    assert result["request_goodput"] is None
    assert percentile([1.0, 2.0, 3.0, 4.0], 25) == 1.75


def test_goodput_counts_the_requests_that_keep_every_limit() -> None:
    fast = record(0.0, [0.1, 0.2], 0.2, 2)
    slow_start = record(0.0, [0.9, 1.0], 1.0, 2)
    slow_tokens = record(0.0, [0.1, 0.5], 0.5, 2)
    one_token = record(0.0, [0.1], 0.1, 1)
    failed = StreamRecord(start=0.0, end=0.01, error="HTTP 503: full")
    records = [fast, slow_start, slow_tokens, one_token, failed]
    limits = {"ttft": 500.0, "tpot": 150.0}
    assert summarise(records, 2.0, goodput=limits)["request_goodput"] == 1.0
    assert summarise(records, 2.0, goodput={"e2el": 50.0})["request_goodput"] == 0.0


def test_tokens_are_spread_over_the_seconds_of_their_chunks() -> None:
    records = [record(10.0, [10.5, 11.5], 11.5, 6), record(11.0, [], 12.2, 1)]
    assert tokens_per_second(records) == [3.0, 3.0, 1.0]
    assert summarise(records, 2.2)["max_output_tokens_per_s"] == 3.0
    assert tokens_per_second([]) == []


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
    arrivals = Arrivals(request_rate=50, burstiness=100)
    spec = LoadSpec("fake-lamm", workload, None, arrivals, seed=2)
    async with server.client() as http:
        result = await run_load(http, spec)
    # Ten requests 20 ms apart; how much longer it takes is the machine's affair.
    assert 0.15 < result["duration"] < 5.0
    assert result["completed"] == 10
    assert (result["request_rate"], result["max_concurrency"]) == (50, None)


async def test_each_request_is_told_in_detail(server: Any) -> None:
    spec = LoadSpec("fake-lamm", WorkloadSpec(6, output_lens=(2, 3)), 2, rounds=2)
    async with server.client() as http:
        result = await run_load(http, spec)
    assert {len(result[key]) for key in DETAIL_KEYS} == {12}
    assert sorted(result["output_lens"]) == [2] * 6 + [3] * 6
    assert [len(gaps) + 1 for gaps in result["itls"]] == result["output_lens"]
    assert result["generated_texts"][0].startswith("t0 t1")
    assert set(result["errors"]) == {""}
    # With two slots the later requests waited for one, and that is no latency.
    assert max(result["queue_times"]) > 0
    assert result["mean_e2el_ms"] < 1000 * max(result["queue_times"]) + 1000


async def test_another_server_gets_standard_fields_alone(server: Any) -> None:
    style = RequestStyle(Backend.OPENAI_CHAT, ignore_eos=False)
    spec = LoadSpec("fake-lamm", WorkloadSpec(2, output_lens=(3,)), 2, style=style)
    async with server.client() as http:
        result = await run_load(http, spec)
        standard = {"model", "messages", "temperature", "max_tokens", "stream", "stream_options"}
        assert set(server.bodies[0]) == standard
        assert (result["total_output_tokens"], result["short_outputs"]) == (6, 0)
        clouds = WorkloadSpec(1, cloud_points=(4,))
        with pytest.raises(BenchmarkError, match="openai-chat cannot send point clouds"):
            await run_load(http, LoadSpec("fake-lamm", clouds, 1, style=style))
        extra = RequestStyle(Backend.OPENAI_CHAT, ignore_eos=True, extra_body={"top_p": 0.5})
        await run_load(http, LoadSpec("fake-lamm", WorkloadSpec(1), 1, style=extra))
    assert (server.bodies[-1]["ignore_eos"], server.bodies[-1]["top_p"]) == (True, 0.5)


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
    # By turns the first.
    assert baseline.asked_before == [0, 8, 8]
    assert sorted(item.prompt for items in baseline.seen for item in items) == sorted(server.asked)
    assert len(set(server.asked)) == 12
    assert result["baseline_output_throughput"] == pytest.approx(200.0)
    ratios = [rate / 200.0 for rate in result["round_output_throughputs"]]
    assert result["round_speedups"] == pytest.approx(ratios)
    assert result["speedup"] == pytest.approx(sorted(ratios)[1])
    assert result["completed"] == 12
    assert len(result["round_output_throughputs"]) == 3


def test_another_server_is_the_baseline(
    server: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    argv = [
        "load", "--url", server.url, "--num-prompts", "4", "--output-len", "3", "--rounds", "2",
        "--num-warmups", "1", "--baseline", "server", "--baseline-url", server.url,
        "--result-dir", str(tmp_path), "--save-result",
    ]  # fmt: skip
    assert bench(argv) == 0
    # Each prompt went to both, in the warm-up and in two rounds; both must make all tokens.
    assert sorted(server.asked.count(prompt) for prompt in set(server.asked)) == [2] * 9
    [path] = tmp_path.iterdir()
    result = json.loads(path.read_text())
    beside = result["baseline_result"]
    assert (result["baseline"], result["baseline_facts"]["model"]) == (server.url, "fake-lamm")
    assert beside["total_output_tokens"] == result["total_output_tokens"] == 24
    assert beside["median_ttft_ms"] > 0
    assert len(result["round_speedups"]) == 2
    shown = capsys.readouterr().out
    assert "ttft, baseline" in shown
    assert f"({min(result['round_speedups']):.2f} - " in shown


def test_a_baseline_server_that_fails_ends_the_test(
    server: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = [
        "load", "--url", server.url, "--num-prompts", "2", "--output-len", "3",
        "--baseline", "server", "--baseline-url", "http://127.0.0.1:9", "--baseline-model", "m",
    ]  # fmt: skip
    assert bench(argv) == 1
    assert "requests to the baseline http://127.0.0.1:9 failed" in capsys.readouterr().err


def test_rounds_merge_to_medians_and_sums() -> None:
    rounds = [
        {
            "completed": n, "mean_ttft_ms": t, "output_throughput": t, "duration": 1.0,
            "request_goodput": None, "max_concurrent_requests": n, "ttfts": [t],
            "error_counts": {"full": n} if n > 1 else {},
        }
        for n, t in [(1, 5.0), (2, 9.0), (3, 7.0)]
    ]  # fmt: skip
    merged = merge_rounds(rounds)
    assert (merged["completed"], merged["mean_ttft_ms"], merged["duration"]) == (6, 7.0, 3.0)
    assert (merged["request_goodput"], merged["max_concurrent_requests"]) == (None, 3)
    assert (merged["error_counts"], merged["ttfts"]) == ({"full": 5}, [5.0, 9.0, 7.0])


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
    assert not set(DETAIL_KEYS) & set(result)
    assert server.bodies[0]["messages"][0]["content"][0]["type"] == "image_url"
    with pytest.raises(SystemExit):
        bench(["load", "--percentile-metrics", "speed"])
    assert "'speed' is not one of ttft" in capsys.readouterr().err
    server.stream_error = True
    assert bench(["load", "--url", server.url, "--num-prompts", "4"]) == 1
    assert "a warm-up request failed: the engine stopped" in capsys.readouterr().err


def test_the_command_takes_vllms_flags(
    server: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["load", "--base-url", server.url, "--num-prompts", "5", "--output-len", "2"]
    argv += ["--max-concurrency", "0", "--ramp-up-strategy", "linear", "--ramp-up-start-rps", "50"]
    argv += ["--ramp-up-end-rps", "500", "--goodput", "ttft:60000", "e2el:60000", "--label", "me"]
    argv += [
        "--metadata",
        "tp=1",
        "note=a=b",
        "prefill_ms=9",
        "--save-detailed",
        "--result-dir",
        str(tmp_path),
    ]
    argv += ["--header", "x-team=blue", "--extra-body", '{"top_k": 1}', "--image-sizes", "8x4"]
    assert bench(argv) == 0
    assert "good req/s" in capsys.readouterr().out
    (path,) = tmp_path.iterdir()
    assert path.name.startswith("me-ramp-up-linear-50qps-500qps-fake-lamm-")
    result = json.loads(path.read_text())
    assert (result["tp"], result["note"], result["ramp_up_end_rps"]) == ("1", "a=b", 500.0)
    assert result["request_goodput"] == result["request_throughput"]
    assert len(result["ttfts"]) == result["completed"] == 5
    assert server.bodies[0]["top_k"] == 1


@pytest.mark.parametrize(
    ("flags", "limits"),
    [
        ([], [8]),
        (["--request-rate", "500"], [None]),
        (["--request-rate", "500", "--max-concurrency", "2,0"], [2, None]),
        (
            ["--ramp-up-strategy", "linear", "--ramp-up-start-rps", "9", "--ramp-up-end-rps", "9"],
            [None],
        ),
    ],
)
def test_a_rate_makes_an_open_loop_unless_a_limit_is_asked_for(
    server: Any, tmp_path: Path, flags: list[str], limits: list[int | None]
) -> None:
    argv = ["load", "--url", server.url, "--num-prompts", "2", "--output-len", "1"]
    assert bench([*argv, *flags, "--save-result", "--result-dir", str(tmp_path)]) == 0
    results = [json.loads(path.read_text()) for path in sorted(tmp_path.iterdir())]
    assert {result["max_concurrency"] for result in results} == set(limits)
    assert len(results) == len(limits)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--ramp-up-strategy", "linear"], "needs --ramp-up-start-rps"),
        (["--ramp-up-end-rps", "3"], "need --ramp-up-strategy"),
        (["--baseline", "transformers"], "needs --checkpoint, the checkpoint"),
        (["--baseline=transformers", "--checkpoint=x", "--cancel-rate=0.5"], "cannot be combined"),
        (["--baseline", "server"], "needs --baseline-url, its address"),
        (["--baseline-url", "http://127.0.0.1:9"], "--baseline-url needs --baseline server"),
        (
            ["--baseline=server", "--baseline-url=http://127.0.0.1:9", "--request-rate=2"],
            "runs a closed loop",
        ),
        (["--cloud", "a.png"], "a.png is not a point cloud; --cloud takes .asc"),
        (["--image", "a.npy"], "a.npy is not a picture; --image takes .jpg"),
        (["--suite", "nowhere"], "has no suite.json"),
    ],
)
def test_what_cannot_be_measured_is_refused(
    server: Any, flags: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench(["load", "--url", server.url, *flags]) == 1
    assert said in capsys.readouterr().err
    assert server.asked == []


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--goodput", "itl:5"], "'itl' is not one of ttft, tpot, e2el"),
        (["--goodput", "ttft"], "does not have the form NAME:VALUE"),
        (["--cancel-rate", "1.5"], "less than or equal to 1, got '1.5'"),
        (["--extra-body", "[1]"], "'[1]' is not a JSON object"),
        (["--image-sizes", "0x5"], "'0x5' is not a size"),
        (["--max-concurrency", "-1"], "equal to 0, got '-1'"),
        (["--num-warmups", "-1"], "equal to 0, got '-1'"),
        (["--url", "localhost:8000"], "is not a valid URL; expected an address such as"),
        (["--url", "http://localhost:800O"], "is not a valid URL"),
        (["--url", "http://localhost:80000"], "is not a valid URL"),
    ],
)
def test_a_wrong_option_is_named(
    flags: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        bench(["load", *flags])
    assert said in capsys.readouterr().err


def test_a_later_test_that_fails_takes_no_earlier_one_with_it(
    server: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.die_after = 3
    argv = ["load", "--url", server.url, "--max-concurrency", "1,2", "--num-prompts", "3"]
    argv += ["--num-warmups", "0", "--output-len", "2", "--save-result"]
    assert bench([*argv, "--result-dir", str(tmp_path)]) == 1
    told = capsys.readouterr()
    assert "all 3 requests failed" in told.err
    assert "out tok/s" in told.out
    (path,) = tmp_path.iterdir()
    result = json.loads(path.read_text())
    assert (result["max_concurrency"], result["completed"]) == (1, 3)


def test_a_folder_that_cannot_be_written_is_named_before_anything_is_measured(
    server: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    taken = tmp_path / "results.json"
    taken.write_text("{}")
    argv = ["load", "--url", server.url, "--save-result", "--result-dir", str(taken)]
    assert bench(argv) == 1
    assert "results.json: File exists" in capsys.readouterr().err
    assert server.asked == []
    with pytest.raises(BenchmarkError, match="cannot write"):
        write_whole(taken / "a.json", "{}")


async def test_requests_that_wait_for_a_slot_in_an_open_loop_are_told(server: Any) -> None:
    server.delay = 0.05
    workload = WorkloadSpec(8, output_lens=(2,))
    async with server.client() as http:
        held = await run_load(http, LoadSpec("m", workload, 1, Arrivals(1000.0)))
        closed = await run_load(http, LoadSpec("m", workload, 1))
    [note] = [note for note in load_report.notes([held]) if "due" in note]
    # The last one waits for seven others, of at least 50 ms each.
    assert max(held["queue_times"]) > 0.3
    assert f"up to {max(held['queue_times']):.2f} s after they were due" in note
    assert not [note for note in load_report.notes([closed]) if "due" in note]


def test_files_that_are_no_results_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.json").write_text('{"answer": 1}')
    (tmp_path / "b.json").write_text("[1]")
    for names in (["a.json", "a.json"], ["b.json"]):
        argv = [str(tmp_path / name) for name in names]
        assert draw_saved([*argv, "--out", str(tmp_path / "x.png")]) == 1
        assert "benchmark.load_plot: " in capsys.readouterr().err


def test_files_named_by_the_caller_keep_apart(tmp_path: Path) -> None:
    base = {"backend": "b", "model_id": "org/m", "date": "d", "request_rate": "inf"}
    rows = [{**base, "max_concurrency": 1}, {**base, "max_concurrency": 8}]
    names = [path.name for path in load_report.save(rows, tmp_path, "x.json")]
    assert names == ["x-concurrency1.json", "x-concurrency8.json"]


async def test_a_baseline_that_is_killed_while_it_reads_is_told(tmp_path: Path) -> None:
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\necho 'out of memory' >&2\necho '{}'\nhead -c 9 > /dev/null\n")
    program.chmod(0o755)
    baseline = await TransformersBaseline.start(tmp_path, python=str(program))
    try:
        # More than a pipe holds: it ends while it is being told what to do.
        with pytest.raises(BenchmarkError, match="the baseline process ended: out of memory"):
            await baseline.run([WorkItem("x" * 1_000_000, None, 1)], 1)
    finally:
        await baseline.stop()


async def test_a_baseline_that_dies_says_its_last_words(tmp_path: Path) -> None:
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\necho 'no config.json' >&2\necho not json\n")
    program.chmod(0o755)
    with pytest.raises(BenchmarkError, match=r"the baseline process ended: no config.json"):
        await TransformersBaseline.start(tmp_path, python=str(program))
