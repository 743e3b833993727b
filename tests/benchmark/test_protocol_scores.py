"""From the published files to scores under protocols: asked once, scored again without a server."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmark.cli import bench
from benchmark.errors import BenchmarkError
from benchmark.protocols import Protocol
from benchmark.quality import protocol_report
from benchmark.quality.protocol_scores import PROTOCOLS, ProtocolRow, score_protocols
from benchmark.quality.run import rescore
from benchmark.suite_reader import load_suite
from tests.training.datasets.published_tree import Tree
from training.datasets.layout import PUBLISHED_FILES
from training.datasets.suite import SuiteOptions, write_suite

# Within the pictures of 8 x 6 pixels; the torso is wide enough for rounded answers.
JOINTS = [[1 + 0.4 * n, 1 + 0.3 * n, n % 2] for n in range(14)]
# Suite rows whose best score under `corrected-v1` is not 1.
PERFECT = {"Caption_flickr30k": 100.0, "Counting_FSC147": 0.0}


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A suite of all 17 files, one record each, every question another."""
    root = tmp_path_factory.mktemp("published")
    tree = Tree(root / "LAMM")
    for dataset in PUBLISHED_FILES:
        name = dataset.names[0]
        if dataset.task != "instruction":
            tree.set(name, 0, query=f"{name}: what, or where is the {{}}?")
    tree.set("Keypoints_Dectection_LSP.json", 0, gt_joints=JOINTS)
    tree.set("Locating_LSP.json", 0, gt_joints=JOINTS)
    tree.set("Locating_FSC147.json", 0, points=[[3, 4], [6, 1]])
    for dataset in PUBLISHED_FILES:
        tree.edit(dataset.names[0], keep_first)
    out = root / "suite"
    assert write_suite(tree.root, out, SuiteOptions()).complaints.total() == 0
    return out


def keep_first(records: list[dict[str, Any]]) -> None:
    del records[1:]


def right_answers(directory: Path) -> dict[str, str]:
    items = [item for row in load_suite(directory).rows for item in row.items]
    return {i.sample.question: i.task.render(i.target, i.inputs) for i in items}


def lines_of(out: Path) -> dict[tuple[str, str], dict[str, Any]]:
    scores = json.loads((out / "scores.json").read_text())
    return {(line["row"], line["protocol"]): line for line in scores["protocols"]}


def test_published_files_are_asked_once_and_scored_under_each_protocol(
    server: Any, published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.answers = right_answers(published)
    argv = ["quality", "--url", server.url, "--suite", str(published), "--out", str(tmp_path)]
    assert bench(argv) == 0
    shown = capsys.readouterr().out
    assert "30 asked, 0 kept" in shown
    # Whole, though the console is narrow.
    assert "Fine-grained_Classification_UCMerced" in shown.partition("protocols (scores")[2]
    assert "Facial_Classification_CelebA(Smile)" in shown
    lines = lines_of(tmp_path)
    assert {protocol for _, protocol in lines} == {"corrected-v1"}
    for (row, _), line in lines.items():
        assert line["score"] == pytest.approx(PERFECT.get(row, 1.0)), row
        assert line["interval_95"][0] <= line["score"] <= line["interval_95"][1] + 1e-9
        assert line["unparsed"] == 0.0
    assert lines["Classification_CIFAR10", "corrected-v1"]["chance"] == 0.1
    assert lines["Keypoints_Dectection_LSP", "corrected-v1"]["n"] == 14
    assert lines["Binary-Locating 3-set", "corrected-v1"]["n"] == 3

    server.stop()
    argv += ["--rescore", "--protocol", "upstream-2023-07", "--protocol", "upstream-2023-06"]
    assert bench([*argv, "--protocol", "upstream-intended"]) == 0
    assert "0 asked, 30 kept" in capsys.readouterr().out
    lines = lines_of(tmp_path)
    assert lines["Keypoints_Dectection_LSP", "upstream-2023-07"]["score"] == 0.0
    assert lines["Keypoints_Dectection_LSP", "upstream-intended"]["score"] == 1.0
    assert lines["Detection_VOC2012", "upstream-2023-07"]["metric"] == "recall@0.5"
    pooled = sorted(key for key in lines if key[0].startswith("Binary-Locating"))
    assert pooled == [
        ("Binary-Locating 2-set", "upstream-2023-07"),
        ("Binary-Locating 2-set", "upstream-intended"),
        ("Binary-Locating 3-set", "upstream-2023-06"),
        ("Binary-Locating 3-set", "upstream-intended"),
    ]
    written = (tmp_path / "scores.md").read_text()
    assert "| Detection_VOC2012 | upstream-2023-07 | 1 | recall@0.5 | 100.0 |" in written


def test_rows_without_a_score_say_why(
    server: Any, suite_files: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = suite_files.directory / "suite.json"
    suite = json.loads(path.read_text())
    sample = {"id": "q", "task": "vqa", "question": "Which?", "target": "a boat"}
    suite_files.write_rows("open.jsonl", [json.dumps(sample)])
    places = {"points": [[1, 1]]}
    for name in ("VOC2012", "FSC147"):
        place = {"id": "l", "task": "locating", "question": f"Where, {name}?", "target": places}
        suite_files.write_rows(f"{name}.jsonl", [json.dumps({**place, "size": [4, 4]})])
        row = {"name": name, "task": "locating", "file": f"{name}.jsonl", "set": name}
        suite["rows"].append(row)
    suite["rows"].append({"name": "open", "task": "vqa", "file": "open.jsonl"})
    path.write_text(json.dumps(suite))
    argv = ["quality", "--url", server.url, "--data", str(suite_files.directory)]
    argv += ["--out", str(tmp_path), "--protocol", "upstream-2023-07"]
    assert bench(argv) == 0
    assert "LSP missing" in capsys.readouterr().out
    lines = lines_of(tmp_path)
    assert lines["open", "upstream-2023-07"]["score"] is None
    assert "no rule for task 'vqa'" in lines["open", "upstream-2023-07"]["reason"]
    assert lines["classify", "upstream-2023-07"]["unparsed"] == 1.0
    (tmp_path / "answers.jsonl").unlink()
    run = rescore(load_suite(suite_files.directory), tmp_path)
    unasked = score_protocols(run.rows, ["corrected-v1", "corrected-v1"])
    assert [line.reason for line in unasked] == ["no answers"] * 6
    assert protocol_report.notes(unasked)[0] == ("classify, corrected-v1: no score, no answers")


def test_two_rows_of_one_set_are_refused(suite_files: Any) -> None:
    path = suite_files.directory / "suite.json"
    suite = json.loads(path.read_text())
    for row in suite["rows"][:2]:
        row["set"] = "LSP"
    path.write_text(json.dumps(suite))
    with pytest.raises(BenchmarkError, match="sets must be unique"):
        load_suite(suite_files.directory)


def test_faults_are_told_and_no_protocol_is_no_section() -> None:
    from benchmark.protocols import ProtocolScore

    faults = {f"fault {number}": number for number in range(7)}
    score = ProtocolScore(Protocol.UPSTREAM_2023_07, "detection", "mAP", {}, (), None, faults)
    row = ProtocolRow("VOC", "detection", "upstream-2023-07", score)
    assert protocol_report.notes([row])[0].endswith("fault 4 (4 answers); and 2 more")
    assert protocol_report.as_json([row])[0]["score"] is None
    assert protocol_report.as_markdown([]) == []


def test_the_options_name_every_protocol(capsys: pytest.CaptureFixture[str]) -> None:
    assert set(PROTOCOLS) == set(Protocol)
    with pytest.raises(SystemExit):
        bench(["quality", "--protocol", "upstream"])
    assert "corrected-v1" in capsys.readouterr().err


def test_without_sacrebleu_a_note_replaces_the_table_and_a_wish_is_refused(
    server: Any, suite_files: Any, tmp_path: Path
) -> None:
    program = (
        "import sys; sys.modules['sacrebleu'] = None\n"
        "from benchmark.cli import bench\n"
        "plain = bench(sys.argv[1:])\n"
        "print('status', plain, bench([*sys.argv[1:], '--protocol', 'corrected-v1']),"
        " bench(['calibrate', '--fit', 'nowhere']))"
    )
    argv = ["quality", "--url", server.url, "--data", str(suite_files.directory)]
    command = [sys.executable, "-c", program, *argv, "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert "pip install 'lamm[bench]'" in done.stdout
    assert "status 0 1 1" in done.stdout
    assert done.stderr.count("pip install 'lamm[bench]'") == 2
    assert json.loads((tmp_path / "scores.json").read_text())["protocols"] == []
