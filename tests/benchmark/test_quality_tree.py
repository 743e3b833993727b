"""`lamm bench quality --data TREE`: the published layout asked as it lies there."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmark.cli import bench
from benchmark.errors import BenchmarkError
from benchmark.quality.tree import open_suite
from benchmark.suite import Suite
from tests.training.datasets.published_tree import Tree
from training.cli import DATA_COMMANDS

CIFAR = "Classification_CIFAR10.json"
ROWS_2D, ROWS_3D = 14, 3


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path / "LAMM")


def names(suite: Suite) -> list[str]:
    return [row.name for row in suite.rows]


def right_answers(suite: Suite) -> dict[str, str]:
    items = [item for row in suite.rows for item in row.items]
    return {item.sample.question: item.task.render(item.target, item.inputs) for item in items}


def test_parts_of_a_tree(tree: Tree, tmp_path: Path) -> None:
    out = tmp_path / "out"
    whole = open_suite(None, tree.root, None, out)
    assert len(whole.rows) == ROWS_2D + ROWS_3D
    assert len(open_suite("2d", tree.root, None, out).rows) == ROWS_2D
    assert names(open_suite("3d", tree.root, None, out)) == [
        "Detection_ScanNet", "VG_ScanRefer", "VQA_ScanQA_multiplechoice",
    ]  # fmt: skip
    only = open_suite("vqa_choice", tree.root, 1, out)
    assert [(row.name, len(row.items)) for row in only.rows] == [
        ("VQA_SQAimage", 1), ("VQA_AI2D", 1),
    ]  # fmt: skip
    item = only.rows[0].items[0]
    assert item.media is not None
    # Media stay in the tree, and only its records are written.
    assert item.media.is_relative_to(tree.root)
    assert sorted(path.name for path in (out / "suite").iterdir()) == [
        "VQA_AI2D.jsonl", "VQA_SQAimage.jsonl", "suite.json",
    ]  # fmt: skip


def test_linked_media_folders_are_followed(tree: Tree, tmp_path: Path) -> None:
    folder = tree.root / "2D_Benchmark" / "cifar10_images"
    folder.rename(tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")
    suite = open_suite("classification", tree.root, None, tmp_path / "out")
    assert [len(row.items) for row in suite.rows] == [2]
    assert not suite.rows[0].problems


def test_parts_of_a_suite(suite_files: Any, tmp_path: Path) -> None:
    directory = suite_files.directory
    assert names(open_suite(None, directory, None, tmp_path)) == ["classify", "count", "clouds"]
    assert names(open_suite("mini", directory, None, tmp_path)) == ["classify", "count", "clouds"]
    assert names(open_suite("2d", directory, None, tmp_path)) == ["classify", "count"]
    assert names(open_suite("vqa_choice_3d", directory, 2, tmp_path)) == ["clouds"]
    assert names(open_suite(str(directory), None, None, tmp_path)) == [
        "classify",
        "count",
        "clouds",
    ]
    with pytest.raises(BenchmarkError, match="has no rows of caption; it has classification"):
        open_suite("caption", directory, None, tmp_path)


@pytest.mark.parametrize(
    ("suite", "data", "message"),
    [
        ("4d", True, "--suite is '4d'; with --data, expected all, 2d, 3d or a task"),
        ("mini", True, "--suite is 'mini'; with --data, expected all"),
        ("2d", False, "directory 2d not found; without --data, .* it is all, 2d, 3d or a task"),
    ],
)
def test_what_is_not_there_is_said(
    tree: Tree, tmp_path: Path, suite: str, data: bool, message: str
) -> None:
    with pytest.raises(BenchmarkError, match=message):
        open_suite(suite, tree.root if data else None, None, tmp_path)


def test_a_folder_of_neither_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match=r"has no suite\.json and no directory 2D_Benchmark"):
        open_suite("all", tmp_path, None, tmp_path)
    (tmp_path / "2D_Benchmark").mkdir()
    with pytest.raises(BenchmarkError, match="has no valid records"):
        open_suite("all", tmp_path, None, tmp_path / "out")


def test_a_missing_package_is_named(
    tree: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "training.datasets.suite", None)
    monkeypatch.delitem(sys.modules, "training.datasets.suite_cli", raising=False)
    with pytest.raises(BenchmarkError, match=r"pip install 'lamm\[train\]'"):
        open_suite("all", tree.root, None, tmp_path)


def test_the_command_asks_a_tree_and_misses_nothing_in_silence(
    server: Any, tree: Tree, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    for index in range(2):
        tree.set("VQA_AI2D.json", index, query=f"Which one, try {index}? (A) red (B) blue")
    tree.set(CIFAR, 1, image="cifar10_images/none.png")
    tree.edit("Counting_FSC147.json", lambda records: records.clear())
    path = tree.path("Caption_flickr30k.json")
    path.write_text(path.read_text()[:-40])
    server.answers = right_answers(open_suite("2d", tree.root, None, tmp_path / "look"))
    argv = ["quality", "--url", server.url, "--data", str(tree.root), "--suite", "2d"]
    argv += ["--out", str(out), "--concurrency", "4"]
    assert bench(argv) == 1
    shown = capsys.readouterr().out
    assert (
        f"2D_Benchmark/meta_file/{CIFAR}: record 1 (id '000001'): cifar10_images/none.png" in shown
    )
    assert "Caption_flickr30k: invalid records: 1" in shown
    assert "is it whole?" in shown
    assert "Counting_FSC147: no valid records" in shown
    scores = {row["name"]: row for row in json.loads((out / "scores.json").read_text())["rows"]}
    assert len(scores) == ROWS_2D
    assert (scores[CIFAR[:-5]]["n"], len(scores[CIFAR[:-5]]["problems"])) == (1, 1)
    assert (scores["Counting_FSC147"]["n"], scores["Counting_FSC147"]["score"]) == (0, None)
    assert scores["VQA_AI2D"]["score"] == 1.0
    asked = len(server.asked)
    # Mended, only what was missing is asked.
    tree.set(CIFAR, 1, image="cifar10_images/1.png")
    bench(argv)
    assert len(server.asked) == asked + 1
    server.stop()
    bench([*argv, "--rescore", "--protocol", "upstream-2023-07"])
    assert "0 asked" in capsys.readouterr().out
    protocols = json.loads((out / "scores.json").read_text())["protocols"]
    assert {line["protocol"] for line in protocols} == {"upstream-2023-07"}


def test_asking_a_tree_loads_no_torch(tree: Tree, tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; import benchmark.cli, benchmark.client_cost;"
        "before = [m for m in ('torch', 'transformers', 'training') if m in sys.modules];"
        "from benchmark.quality.tree import open_suite;"
        "suite = open_suite('all', Path(sys.argv[1]), None, Path(sys.argv[2]));"
        "after = [m for m in ('torch', 'transformers') if m in sys.modules];"
        "print(before, after, len(suite.rows))"
    )
    argv = [sys.executable, "-c", program, str(tree.root), str(tmp_path / "out")]
    done = subprocess.run(argv, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == f"[] [] {ROWS_2D + ROWS_3D}", done.stderr


def test_the_mini_benchmark_goes_by_two_names() -> None:
    assert DATA_COMMANDS["mini"][:2] == DATA_COMMANDS["mini-benchmark"][:2]


def test_somebodys_own_suite_is_not_removed(tree: Tree, tmp_path: Path) -> None:
    own = tmp_path / "suite" / "images" / "mine.png"
    own.parent.mkdir(parents=True)
    own.write_bytes(b"a picture")
    with pytest.raises(BenchmarkError, match="has other files"):
        open_suite("classification", tree.root, None, tmp_path)
    assert own.read_bytes() == b"a picture"
    # Its own of an earlier run is written anew.
    for limit in (1, None):
        suite = open_suite("classification", tree.root, limit, tmp_path / "out")
    assert [len(row.items) for row in suite.rows] == [2]
