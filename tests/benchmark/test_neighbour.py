"""The benchmark of a busy neighbour, with real servers of lamm-mini."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmark.baselines.neighbour import main

_ROW = re.compile(r"\| (\w+) \| (\d+), (\d+) \| (\d+), (\d+) \| (\d+\.\d\d) x \|")


@pytest.mark.slow
def test_each_way_is_measured_quiet_and_beside_a_busy_process(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["--ways", "one", "default", "--rounds", "1", "--tokens", "2"]) == 0
    head, _, *rows = capsys.readouterr().out.splitlines()
    assert "beside 1 busy" in head
    found = [_ROW.fullmatch(row) for row in rows]
    assert [match and match[1] for match in found] == ["one", "default"]
    for match in found:
        assert match is not None
        quiet, beside, slower = int(match[2]), int(match[4]), float(match[6])
        # The printed milliseconds are rounded.
        assert (beside - 1) / (quiet + 1) < slower < (beside + 1) / max(quiet - 1, 1)


def test_a_server_that_does_not_start_ends_the_run(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--checkpoint", str(tmp_path), "--ways", "one"])
    assert ended.value.code == 1
    assert str(tmp_path) in capfd.readouterr().err


def test_a_number_below_one_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--rounds", "0"])
    assert "--rounds 0 must be at least 1" in capsys.readouterr().err
