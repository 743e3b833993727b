"""The faults, of which a few are brought about here: a real server, hurt, keeps its promises."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import httpx
import pytest

from benchmark.cli import bench
from benchmark.faults import report as faults_report
from benchmark.faults import run as faults
from benchmark.faults.clients import Reply, read_rest, told
from benchmark.faults.fault import Fault
from benchmark.faults.findings import Findings
from benchmark.faults.report import Check
from benchmark.faults.server import ServerSpec

MINI = Path(__file__).parents[2] / "checkpoints" / "lamm-mini"


@pytest.mark.slow
@pytest.mark.timeout(600)  # a server loads, and every request counts on a machine of two cores
async def test_a_hurt_server_keeps_its_promises() -> None:
    chosen = ("prefill", "disconnect")
    checks = await faults.run_faults(ServerSpec(MINI, 240.0), chosen, 100.0)
    assert [check.name for check in checks] == list(chosen)
    broken = [f"{check.name}: {check.seen}" for check in checks if not check.kept]
    assert not broken


async def test_a_server_that_does_not_start_keeps_none(tmp_path: Path) -> None:
    spec = ServerSpec(tmp_path / "nothing", 100.0)
    checks = await faults.run_faults(spec, ("encode", "disk"), 5.0)
    assert [(check.name, check.kept) for check in checks] == [
        ("encode", False), ("disk", False),
    ]  # fmt: skip
    assert "lamm serve:" in checks[0].seen


async def test_a_fault_that_ends_otherwise_is_no_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    async def hang(*_: object) -> None:
        await asyncio.sleep(60)

    async def err(*_: object) -> None:
        raise KeyError("id")

    for act, words in ((hang, "not finished within 0.2 s"), (err, "KeyError: 'id'")):
        fault = Fault("name", "what", "promise", act)
        check = await faults._prove(fault, None, None, 0.05)  # type: ignore[arg-type]
        assert (check.kept, check.seen) == (False, f"NOT AS PROMISED: {words}")


def test_a_promise_is_kept_when_all_that_was_seen_holds() -> None:
    found = Findings()
    assert not found.kept
    found.note("7 x 200")
    assert (found.kept, found.seen) == (True, "7 x 200")
    found.note("2 wrong", holds=False)
    assert (found.kept, found.seen) == (False, "7 x 200; NOT AS PROMISED: 2 wrong")


def test_the_report(tmp_path: Path) -> None:
    checks = [
        Check("one", "a|b", "promise", "seen", kept=True, seconds=1.5),
        Check("two", "c", "promise", "not", kept=False, seconds=0.5),
    ]
    paths = faults_report.write(checks, "DIR", "2026-01-01", tmp_path)
    value = json.loads(paths[0].read_text())
    assert (value["passed"], [one["kept"] for one in value["faults"]]) == (False, [True, False])
    page = paths[1].read_text()
    assert "# Faults: 1 of 2 promises kept" in page
    assert "| a\\|b | promise | seen | kept |" in page
    assert faults_report.line(checks[1]) == "BROKEN: c (0.5 s)"
    assert faults_report.table(checks).row_count == 2


def test_the_exit_status_tells(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--checkpoint", str(tmp_path / "nothing"), "--only", "sigkill"]
    assert bench(["faults", *flags, "--out", str(tmp_path)]) == 1
    assert json.loads((tmp_path / "faults.json").read_text())["passed"] is False
    assert "BROKEN" in capsys.readouterr().out


def test_every_fault_has_a_name_of_its_own() -> None:
    assert len(set(faults.NAMES)) == len(faults.NAMES) > 10


async def _lines(lines: Sequence[str], error: Exception | None = None) -> AsyncIterator[str]:
    for line in lines:
        yield line
    if error is not None:
        raise error


END = 'data: {"choices": [{"delta": {}, "finish_reason": "length"}]}'


@pytest.mark.parametrize(
    ("lines", "error", "end"),
    [
        (['data: {"choices": [{"delta": {"content": "a"}}]}', END, "data: [DONE]"], None,
         ("done", "length")),
        (['data: {"error": {"code": "engine_stopped"}}'], None, ("error", "engine_stopped")),
        ([": keep-alive", ""], None, ("cut", "end of the stream")),
        ([END], httpx.ReadError("reset"), ("cut", "ReadError")),
        ([], httpx.ReadTimeout("silence"), ("hung", None)),
    ],
)  # fmt: skip
async def test_how_streams_end(
    lines: list[str], error: Exception | None, end: tuple[str, str | None]
) -> None:
    assert await read_rest(_lines(lines, error)) == end


def test_replies_are_told_by_status() -> None:
    replies = [Reply(0, 200, "a", 0.1, 3, "stop"), Reply(1, 500, "no", 0.1)]
    replies += [Reply(2, 200, "b", 0.1, 3, "length"), Reply(3, 0, "ReadError", 0.1)]
    assert told(replies) == "2 x 200, 1 x 500, 1 x ReadError"
    assert [reply.answered for reply in replies] == [True, False, True, False]
