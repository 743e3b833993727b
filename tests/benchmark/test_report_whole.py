"""One command makes the whole report from stored answers: both revisions, ChEF, fine-tuning."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmark.cli import bench
from benchmark.quality.tree import open_suite
from benchmark.report.figures import Change, Figure
from benchmark.report.lines import lines_of
from benchmark.report.stamps import run_names
from tests.benchmark.quality.test_chef_target import LikelihoodServer
from tests.benchmark.test_answer_files import write_all
from tests.training.datasets.published_tree import Tree

CIFAR, TUNED_ROWS = "CIFAR10", 6
DATES = ("2023-07-28", "2023-06-11")


@pytest.fixture
def stored(tmp_path: Path) -> Iterator[Path]:
    """Three runs of a small tree: right answer files, as in ChEF, and always wrong."""
    tree, out = Tree(tmp_path / "LAMM"), tmp_path / "runs"
    suite = open_suite(None, tree.root, None, tmp_path / "look")
    write_all(tmp_path / "answers", suite)
    server = LikelihoodServer()
    server.start()
    argv = ["quality", "--data", str(tree.root)]
    given = ["--answers-from", str(tmp_path / "answers"), "--out", str(out / "text")]
    assert bench([*argv, *given]) == 0
    argv += ["--url", server.url]
    assert bench([*argv, "--out", str(out / "chef"), "--mode", "chef"]) == 0
    assert bench([*argv, "--out", str(out / "tuned")]) == 0
    server.stop()
    for scores in out.glob("*/scores.json"):
        # What is in the report comes from the answers alone.
        scores.write_text(scores.read_text().replace('"score": ', '"score": null, "old": '))
    yield out
    server.stop()


def report(runs: Path, out: Path) -> tuple[dict[str, Any], str]:
    """The tables by id, and the page."""
    text, chef, tuned = (str(runs / name) for name in ("text", "chef", "tuned"))
    sides = ["--zero-shot", text, "--fine-tuned", tuned]
    argv = ["report", f"lamm={text}", f"chef={chef}", *sides, "--rescore", "--out", str(out)]
    assert bench(argv) == 0
    tables = json.loads((out / "report.json").read_text())["tables"]
    return {table["id"]: table for table in tables}, (out / "report.html").read_text()


def figures(table: dict[str, Any], data_set: str, column: str) -> dict[tuple[str, str], float]:
    """Scores of a cell by protocol and metric."""
    at = next(i for i, name in enumerate(table["columns"]) if name.startswith(column))
    row = next(row for row in table["rows"] if row[1]["text"] == data_set)
    return {(one["protocol"], one["metric"]): one["score"] for one in row[at]["figures"]}


def test_one_command_makes_the_whole_report_from_answers(stored: Path, tmp_path: Path) -> None:
    tables, page = report(stored, tmp_path / "report")
    whole, tuning = tables["comparison_2d"], tables["fine_tuning"]
    for table in (whole, tuning):
        assert [name[-10:] for name in table["columns"] if "zero-shot, 2023" in name] == [*DATES]
    read = ("corrected-v1", "accuracy")
    assert figures(whole, CIFAR, "lamm (ours")[read] == 1.0
    ranked = figures(whole, CIFAR, "chef (ours")
    assert {("chef-ea57136", "ppl_accuracy"), ("chef-ea57136", "ece")} <= set(ranked)
    assert ("chef-ea57136", "ppl_accuracy") not in figures(whole, CIFAR, "lamm (ours")
    assert len(tuning["rows"]) == TUNED_ROWS
    sides = [figures(tuning, CIFAR, side)[read] for side in ("zero-shot (", "fine-tuned (")]
    assert sides == [1.0, 0.0]
    assert figures(tuning, CIFAR, "change")[read] == -1.0
    assert "ppl_accuracy, chef-ea57136" in " ".join(page.replace("</span>", "").split())

    # Another stored answer is another report.
    answers = stored / "text" / "answers.jsonl"
    lines = [json.loads(line) for line in answers.read_text().splitlines()]
    changed = next(line for line in lines if line["row"] == "Classification_CIFAR10")
    changed["text"] = "I do not know."
    answers.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    tables, again = report(stored, tmp_path / "again")
    assert figures(tables["comparison_2d"], CIFAR, "lamm (ours")[read] == 0.5
    assert figures(tables["fine_tuning"], CIFAR, "change")[read] == -0.5
    assert figures(tables["comparison_2d"], CIFAR, "chef (ours") == ranked
    assert again != page


def test_scores_that_read_alike_are_one_line() -> None:
    shared = Figure("upstream-2023-06", "accuracy", 0.5, n=10)
    same = Figure("upstream-2023-07", "accuracy", 0.5001, n=10)
    lines = lines_of([shared, same, Figure("corrected-v1", "accuracy", 0.6, n=10)])
    assert [line.rule for line in lines] == [
        "accuracy, upstream-2023-06, upstream-2023-07", "accuracy, corrected-v1",
    ]  # fmt: skip
    other_items = Figure("upstream-2023-07", "accuracy", 0.5, n=9)
    assert len(lines_of([shared, other_items])) == 2
    assert lines_of([Change("x", "", None, reason="no")])[0].rule == "x"


def test_runs_of_a_group_share_its_name() -> None:
    assert run_names(["a", "b"]) == "a, b"
    assert run_names(["a", "tuned: x", "tuned: y", "b"]) == "a; tuned: x, y; b"
