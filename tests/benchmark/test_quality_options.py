"""Options of `lamm bench quality` that contradict the saved run are refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmark.cli import bench
from tests.benchmark.conftest import FakeServer


def test_rescoring_refuses_another_run(
    server: FakeServer, suite_files: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "out")
    argv = ["quality", "--data", str(suite_files.directory), "--out", out]
    asked = [*argv, "--url", server.url, "--mode", "text", "--model", "fake-lamm"]
    assert bench(asked) == 0
    server.stop()
    # The command that asked, with --rescore added.
    assert bench([*asked, "--concurrency", "2", "--rescore"]) == 0
    saved = Path(out, "scores.json").read_bytes()
    for flags, told in (
        (["--mode", "chef"], f"--mode chef cannot be given with --rescore: the run in {out} was"),
        (["--mode", "likelihood"], "asked with mode text"),
        (["--backend", "openai-chat"], "asked with backend lamm"),
        (["--model", "other"], "asked with model fake-lamm"),
        (["--control", "text-only"], "has no answers.text-only.jsonl"),
    ):
        assert bench([*argv, "--rescore", *flags]) == 1
        assert told in " ".join(capsys.readouterr().err.split())
    assert Path(out, "scores.json").read_bytes() == saved


@pytest.mark.parametrize("flags", [["--timeout", "3"], ["--api-key", "k"], ["--through", "batch"]])
def test_answer_files_take_no_option_of_servers(
    flags: list[str], suite_files: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["quality", "--data", str(suite_files.directory), "--answers-from", str(tmp_path)]
    assert bench([*argv, "--out", str(tmp_path / "out"), *flags]) == 1
    assert f"{flags[0]} has no meaning with --answers-from" in capsys.readouterr().err
