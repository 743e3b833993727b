"""Load tests that also cut requests off, ask a suite's questions, and draw what they measured."""

from __future__ import annotations

import asyncio
import json
import random
import statistics
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from benchmark.cli import bench
from benchmark.errors import BenchmarkError
from benchmark.http.cancel import DISCONNECTED, Disconnector, draw_moments
from benchmark.http.chat_answers import StreamRecord
from benchmark.http.client import ChatClient, encode_stream
from benchmark.load import plot as load_plot
from benchmark.load.quality import QuestionDeck, mix_in
from benchmark.load.report import quality_table
from benchmark.load.run import LoadSpec, run_load
from benchmark.load.workload import WorkloadSpec, make_workload
from benchmark.load_plot import main as draw_saved
from benchmark.suite_reader import load_suite


def event(value: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def answering(server: Any, answers: dict[str, str]) -> Any:
    """A stream of the scripted answers; other questions get as many tokens as they ask for."""

    async def stream(body: dict[str, Any]) -> AsyncIterator[bytes]:
        content = body["messages"][-1]["content"]
        question = content if isinstance(content, str) else content[-1]["text"]
        tokens = [answers[question]] if question in answers else ["t "] * body["max_tokens"]
        for token in tokens:
            await asyncio.sleep(server.token_delay)
            yield event({"choices": [{"index": 0, "delta": {"content": token}}]})
        usage = {"prompt_tokens": 5, "completion_tokens": len(tokens)}
        yield event({"choices": [], "usage": usage}) + b"data: [DONE]\n\n"

    return stream


def test_the_share_of_cut_requests_is_exact_and_seeded() -> None:
    moments = draw_moments(50, 0.3, random.Random(1))
    cut = [moment for moment in moments if moment is not None]
    assert len(cut) == 15
    assert all(0 <= moment < 1 for moment in cut)
    assert moments == draw_moments(50, 0.3, random.Random(1))
    with pytest.raises(BenchmarkError, match=r"cancel rate is 1\.2"):
        draw_moments(3, 1.2, random.Random(1))


async def test_a_cut_request_leaves_the_server(server: Any) -> None:
    ended: list[str] = []

    async def endless(body: dict[str, Any]) -> AsyncIterator[bytes]:
        try:
            while True:
                yield event({"choices": [{"index": 0, "delta": {"content": "t "}}]})
                await asyncio.sleep(0.01)
        finally:
            ended.append(body["model"])

    server._stream = endless
    disconnector = Disconnector(usual_seconds=0.4)
    body = encode_stream({"model": "m", "messages": [{"content": "Hi"}], "max_tokens": 9})
    async with server.client() as http:
        record = await disconnector.stream(ChatClient(http, 1), body, moment=0.5)
    assert record.error == DISCONNECTED
    assert 0.2 <= record.latency < 5
    for _ in range(200):
        if ended:
            break
        await asyncio.sleep(0.02)
    assert ended == ["m"]


async def test_a_usual_latency_is_learnt_from_finished_requests() -> None:
    class Client:
        async def stream(self, _content: bytes) -> StreamRecord:
            return StreamRecord(start=1.0, end=1.0 + latencies.pop(0))

    latencies = [0.2, 0.6, 0.3]
    disconnector = Disconnector(usual_seconds=9.0)
    assert disconnector.usual_seconds == 9.0
    for _ in range(3):
        await disconnector.stream(Client(), b"", None)  # type: ignore[arg-type]
    assert disconnector.usual_seconds == pytest.approx(0.3)


async def test_cut_requests_are_reported_apart(server: Any) -> None:
    server.token_delay = 0.02
    spec = LoadSpec("m", WorkloadSpec(20, output_lens=(8,)), 5, cancel_rate=0.4, seed=3)
    async with server.client() as http:
        result = await run_load(http, spec)
    # A request may end before its moment comes; then it has finished like any other.
    assert 4 <= result["cancelled"] <= 8
    assert (result["failed"], result["completed"]) == (0, 20 - result["cancelled"])
    assert result["total_output_tokens"] == 8 * result["completed"]
    assert sum(result["cancelled_requests"]) == result["cancelled"]
    assert result["error_counts"] == {}


def test_a_deck_deals_rows_in_turn_and_starts_anew(suite_files: Any) -> None:
    suite = load_suite(suite_files.directory)
    deck = QuestionDeck(suite, 0.5, seed=0)
    dealt = deck.deal(24)
    assert [item.question.row for item in dealt[:6] if item.question] == [
        "classify", "count", "clouds",
    ] * 2  # fmt: skip
    ids = [item.question.sample.id for item in dealt + deck.deal(16) if item.question]
    assert len(ids) == len(set(ids)) == 20
    assert len(deck.deal(40)) == 20
    standard = QuestionDeck(suite, 1.0, seed=0, clouds=False).deal(16)
    assert {item.question.row for item in standard if item.question} == {"classify", "count"}
    mixed = mix_in(make_workload(WorkloadSpec(24), 0), dealt, random.Random(0))
    assert sum(item.question is not None for item in mixed) == 12
    with pytest.raises(BenchmarkError, match="suite share is 0"):
        QuestionDeck(suite, 0, seed=0)


async def test_answers_are_scored_in_the_same_run(server: Any, suite_files: Any) -> None:
    wrong = {"What is item 0?": "This is a bag.", "How many items, try 3?": "Who knows."}
    server._stream = answering(server, {**suite_files.right_answers, **wrong})
    deck = QuestionDeck(load_suite(suite_files.directory), 0.5, seed=0)
    spec = LoadSpec("m", WorkloadSpec(20, output_lens=(4,)), 4, rounds=2)
    async with server.client() as http:
        result = await run_load(http, spec, deck=deck)
    quality = result["quality"]
    assert (quality["asked"], quality["answered"], quality["correct"]) == (20, 20, 18)
    assert quality["correct_throughput"] == pytest.approx(18 / result["duration"])
    assert quality["accuracy_low"] < 0.9 < quality["accuracy_high"]
    rows = {row["row"]: row for row in quality["rows"]}
    assert (rows["classify"]["n"], rows["classify"]["value"]) == (10, 0.9)
    assert (rows["classify"]["target"], rows["classify"]["below_target"]) == (0.85, False)
    assert rows["count"]["unparsed"] == pytest.approx(1 / 6)
    # Questions have lengths of their own, which no option shortens or stretches.
    asked = [body for body in server.bodies if "ignore_eos" not in body]
    assert len(asked) == 20
    assert result["short_outputs"] == 0


async def test_a_question_dealt_again_is_answered_again(server: Any, suite_files: Any) -> None:
    server._stream = answering(server, suite_files.right_answers)
    deck = QuestionDeck(load_suite(suite_files.directory), 1.0, seed=0)
    async with server.client() as http:
        result = await run_load(
            http, LoadSpec("m", WorkloadSpec(45, output_lens=(4,)), 4), deck=deck
        )
    quality = result["quality"]
    assert (quality["asked"], quality["answered"], quality["correct"]) == (45, 45, 45)
    assert sum(row["n"] for row in quality["rows"]) == 45
    assert quality["correct_throughput"] == pytest.approx(45 / result["duration"])


def test_errors_are_shown_as_numbers_and_shares_in_percent() -> None:
    row = {"row": "r", "n": 5, "chance": None, "target": None}
    scores = [
        {**row, "metric": "mae", "value": 3.25, "low": 2.0, "high": 4.0},
        {**row, "metric": "accuracy", "value": 0.5, "low": 0.4, "high": 0.6},
    ]
    shown = quality_table([{"max_concurrency": 1, "quality": {"suite": "s", "rows": scores}}])
    assert shown is not None
    assert list(shown.columns[4].cells) == ["3.25", "50.0 %"]
    assert list(shown.columns[5].cells) == ["2.00 - 4.00", "40.0 % - 60.0 %"]


def test_the_command_fails_when_answers_fall_below_target(
    server: Any, suite_files: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [json.loads(line) for line in suite_files.rows("classify.jsonl")]
    more = [{**row, "id": f"{row['id']}{turn}"} for turn in "ab" for row in rows]
    suite_files.write_rows("classify.jsonl", [json.dumps(row) for row in more])
    server._stream = answering(server, {row["question"]: "What?" for row in rows})
    argv = ["load", "--url", server.url, "--suite", str(suite_files.directory)]
    argv += ["--suite-share", "1", "--num-prompts", "30", "--output-lens", "2"]
    assert bench(argv) == 1
    shown = capsys.readouterr().out
    assert "below target under this load: classify" in shown
    assert "of 30 questions correct" in shown
    assert bench([*argv, "--cancel-rate", "0.5"]) == 1
    assert "lower --cancel-rate or --suite-share" in capsys.readouterr().err


def test_pictures_are_drawn_beside_the_files(server: Any, tmp_path: Path) -> None:
    argv = ["load", "--url", server.url, "--num-prompts", "6", "--max-concurrency", "1,2"]
    argv += ["--output-lens", "3", "--plot", "svg", "--result-dir", str(tmp_path)]
    assert bench([*argv, "--result-filename", "run.json"]) == 0
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [
        "run-concurrency1.json", "run-concurrency1.svg", "run-concurrency2.json",
        "run-concurrency2.svg", "run-sweep.svg",
    ]  # fmt: skip
    for path in tmp_path.glob("*.svg"):
        assert ElementTree.parse(path).getroot().tag.endswith("svg")  # noqa: S314 - our own file


async def test_figures_show_what_was_measured(server: Any) -> None:
    spec = LoadSpec("m", WorkloadSpec(8, output_lens=(4,)), 3, cancel_rate=0.25)
    async with server.client() as http:
        result = await run_load(http, spec)
    ttft, itl, throughput, in_flight = load_plot.run_figure(result).axes
    done = result["completed"]
    assert len(np.asarray(ttft.lines[0].get_xdata())) == done + 1
    p50 = 1000 * statistics.median(gap for gaps in result["itls"] for gap in gaps)
    assert np.asarray(itl.lines[1].get_xdata())[0] == pytest.approx(p50)
    assert len(np.asarray(itl.lines[0].get_xdata())) == 3 * done + 1
    (line,) = in_flight.lines
    assert max(np.asarray(line.get_ydata())) == result["max_concurrent_requests"]
    assert np.asarray(line.get_ydata())[-1] == 0
    assert throughput.get_ylabel() == "tokens/s"
    vllm = {key: value for key, value in result.items() if key != "latencies"}
    assert len(load_plot.run_figure(vllm).axes) == 4
    with pytest.raises(BenchmarkError, match=r"no ttfts, itls.*--save-detailed"):
        load_plot.run_figure({"model_id": "m"})


def test_saved_files_are_drawn_by_hand(tmp_path: Path) -> None:
    rows = [
        {
            "model_id": "m", "max_concurrency": limit, "output_throughput": 10.0 * limit,
            "median_ttft_ms": limit, "p99_ttft_ms": 2 * limit, "baseline": "other",
            "baseline_output_throughput": 5.0,
        }
        for limit in (8, 1)
    ]  # fmt: skip
    files = []
    for row in rows:
        files.append(tmp_path / f"{row['max_concurrency']}.json")
        files[-1].write_text(json.dumps(row))
    out = tmp_path / "sweep.png"
    assert draw_saved([*map(str, files), "--out", str(out)]) == 0
    assert out.read_bytes().startswith(b"\x89PNG")
    by_concurrency, *_ = load_plot.sweep_figure(rows).axes
    assert list(np.asarray(by_concurrency.lines[0].get_ydata())) == [10.0, 80.0]
    assert draw_saved([str(tmp_path / "none.json")]) == 1


def test_plots_load_only_when_drawn() -> None:
    code = "import sys, benchmark.cli; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
