"""`lamm bench quality --answers-from DIR`: LAMM's own answer files, joined by id."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmark.cli import bench
from benchmark.errors import BenchmarkError
from benchmark.quality.answer_files import join, read_answer_file
from benchmark.quality.tree import open_suite
from benchmark.report.files import read_findings
from benchmark.report.stamps import stamps_of
from benchmark.suite import Suite
from lamm_model.tasks.label_sets import JOINTS
from tests.training.datasets.published_tree import Tree

CIFAR, LSP = "Classification_CIFAR10", "Keypoints_Dectection_LSP"


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path / "LAMM")


def entry(id_: Any, text: Any) -> dict[str, Any]:
    """An answer as LAMM's scripts write it."""
    return {"id": id_, "text": text, "delta_path": "../ckpt/lamm_13b_lora32_186k/pytorch_model.pt"}


def write(directory: Path, name: str, entries: Any) -> Path:
    directory.mkdir(exist_ok=True)
    path = directory / f"{name}.json"
    path.write_text(json.dumps(entries, indent=4))
    return path


def write_all(directory: Path, suite: Suite) -> None:
    """A right answer to every record of a suite."""
    for row in suite.rows:
        texts: dict[str, Any] = {}
        for item in row.items:
            text = item.task.render(item.target, item.inputs)
            id_, _, joint = item.sample.id.partition("/")
            if joint:
                texts.setdefault(id_, {})[JOINTS[int(joint)]] = text
            else:
                texts[id_] = text
        write(directory, row.name, [entry(*pair) for pair in texts.items()])


def score(tree: Tree, answers: Path, out: Path, *more: str) -> tuple[int, Any]:
    """Exit status and scores.json."""
    argv = ["quality", "--data", str(tree.root), "--answers-from", str(answers), "--out", str(out)]
    status = bench([*argv, *more])
    return status, json.loads((out / "scores.json").read_text())


def test_all_files_are_scored_without_a_server(
    tree: Tree, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answers, out = tmp_path / "answers", tmp_path / "out"
    for name in (f"{LSP}.json", "Locating_LSP.json"):
        for index in range(2):
            tree.set(name, index, gt_joints=[[(n + index) / 4, n / 3] for n in range(14)])
            tree.set("Locating_FSC147.json", index, points=[[3, 4], [1.5, 2]])
    write_all(answers, open_suite(None, tree.root, None, tmp_path / "look"))
    # The scripts' own spelling, and the lines that an interrupted script leaves.
    (answers / f"{LSP}.json").rename(answers / "Keypoints_Detection_LSP.json")
    lines = [json.dumps(one) for one in json.loads((answers / "OCR_SVT.json").read_text())]
    (answers / "OCR_SVT.json").unlink()
    (answers / "OCR_SVT.jsonl").write_text("\n".join(lines) + "\n")
    status, scores = score(tree, answers, out, "--protocol", "upstream-2023-07")
    assert status == 0
    assert len(scores["rows"]) == 17
    rows = {row["name"]: row for row in scores["rows"]}
    assert {name: row["score"] for name, row in rows.items() if row["score"] != 1.0} == {}
    assert (rows[LSP]["n"], rows["Detection_ScanNet"]["n"]) == (28, 2)
    assert scores["model"]["model"] == "lamm_13b_lora32_186k"
    assert scores["model"]["backend"] == "answer-files"
    by_row = {line["row"]: line["score"] for line in scores["protocols"]}
    assert by_row["VG_ScanRefer"] == by_row["Binary-Locating 2-set"] == 1.0
    # Scored again without the files, as a stored run.
    (answers / "OCR_SVT.jsonl").unlink()
    assert bench(["quality", "--data", str(tree.root), "--out", str(out), "--rescore"]) == 0
    again = json.loads((out / "scores.json").read_text())
    assert again["rows"] == scores["rows"]
    [stamp] = stamps_of(read_findings([str(out)]).runs[0])
    assert stamp.text.startswith("Answers read from files, joined by id")


def test_ids_that_do_not_fit_are_named_and_counted(
    tree: Tree, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answers, out = tmp_path / "answers", tmp_path / "out"
    tree.edit("Classification_CIFAR10.json", lambda records: records.extend([
        {**records[0], "id": 2}, {**records[0], "id": "3"}, {**records[0], "id": "4"},
    ]))  # fmt: skip
    write(answers, CIFAR, [
        entry("000000", "a frog"), entry(2, "a frog"), entry("3", "a frog"), entry("3", "a dog"),
        entry("4", "a frog"), entry("4", "a frog"), entry("99", "a frog"), entry("5", None),
        "a frog", entry(1.5, "a frog"),
    ])  # fmt: skip
    write(answers, "Counting_NewSet", [])
    status, scores = score(tree, answers, out, "--suite", "classification")
    shown = capsys.readouterr().out
    assert status == 1
    [row] = scores["rows"]
    assert row["n"] == 3
    assert row["unanswered"] == {
        "000001": "no answer with id '000001' in Classification_CIFAR10.json",
        "3": "2 different answers with id '3' in Classification_CIFAR10.json",
    }
    where = f"{CIFAR}: {CIFAR}.json"
    assert f"{where}: ids without a record: 1 (99)" in shown
    assert f"{where}: ids with several equal answers, one is used: 1 (4)" in shown
    assert f"{where}: entries that are no answers: 3 (entry 7: id '5': text is None" in shown
    assert "answers: files without a row in this suite: 1 (Counting_NewSet.json)" in shown
    stamps = " ".join(stamp.text for stamp in stamps_of(read_findings([str(out)]).runs[0]))
    assert "1 ids without a record; 1 repeated ids; 3 entries that are no answers" in stamps
    assert "2 questions have no answer" in stamps
    status, _ = score(tree, answers, out, "--suite", "classification", "--limit", "1")
    assert "ids without a record (the suite has only some of the records): " in (
        capsys.readouterr().out
    )


def test_a_file_in_another_order_is_joined_by_id(tree: Tree, tmp_path: Path) -> None:
    tree.set("Classification_CIFAR10.json", 1, label="cat")
    answers = tmp_path / "answers"
    write(answers, CIFAR, [entry("000001", "It is a cat."), entry("000000", "It is a frog.")])
    status, scores = score(tree, answers, tmp_path / "out", "--suite", "classification")
    assert (status, scores["rows"][0]["score"]) == (0, 1.0)


def test_repeated_ids_of_the_published_file_are_joined_by_position(
    tree: Tree, tmp_path: Path
) -> None:
    tree.edit("Classification_CIFAR10.json", lambda records: records.append(
        {**records[0], "label": "cat"}))  # fmt: skip
    suite = open_suite("classification", tree.root, None, tmp_path / "out")
    assert [item.sample.id for item in suite.rows[0].items] == ["000000", "000001", "000000@2"]
    entries = [entry("000000", "frog"), entry("000001", "frog"), entry("000000", "cat")]
    file = read_answer_file(write(tmp_path / "answers", CIFAR, entries))
    texts, found = join(suite.rows[0], file)
    assert texts == {"000000": "frog", "000001": "frog", "000000@2": "cat"}
    assert (found.unknown, found.repeated) == ((), ())
    # An answer is missing before it: the positions do not tell which is which.
    file = read_answer_file(write(tmp_path / "answers", CIFAR, [entries[0], entries[2]]))
    texts, found = join(suite.rows[0], file)
    assert texts == {}
    assert "2 different answers with id '000000'" in found.reasons["000000"]


def test_pictures_with_the_answers_of_another_are_noticed(tree: Tree, tmp_path: Path) -> None:
    answers = tmp_path / "answers"
    same = dict.fromkeys(JOINTS, "[0.1, 0.2]")
    write(answers, LSP, [entry("000000", same), entry("000001", same)])
    status, scores = score(tree, answers, tmp_path / "out", "--suite", "keypoints")
    assert status == 0
    [file] = scores["answer_files"]["files"]
    assert file["notes"][0].startswith("1 of 2 pictures have the same answers for all joints")
    write(answers, LSP, [entry("000000", {"neck": "[0.1, 0.2]"}), entry("000001", "[0.1, 0.2]")])
    _, scores = score(tree, answers, tmp_path / "out", "--suite", "keypoints")
    unanswered = scores["rows"][0]["unanswered"]
    assert len(unanswered) == 27
    assert unanswered["000000/00"] == "the answer has no joint 'right ankle'"
    assert unanswered["000001/00"] == "the answer is one text; expected one per joint"


def test_folders_and_options_that_cannot_be_used_are_refused(
    tree: Tree, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = ["quality", "--data", str(tree.root), "--out", str(tmp_path / "out")]
    empty = tmp_path / "empty"
    assert bench([*base, "--answers-from", str(empty)]) == 1
    assert "is not a directory" in capsys.readouterr().err
    write(empty, "Other", [])
    assert bench([*base, "--suite", "caption", "--answers-from", str(empty)]) == 1
    assert "has none of Caption_flickr30k.json; it has Other.json" in capsys.readouterr().err
    assert bench([*base, "--answers-from", str(empty), "--rescore"]) == 1
    assert "--rescore has no meaning with --answers-from" in capsys.readouterr().err
    path = write(empty, CIFAR, {"id": 1})
    with pytest.raises(BenchmarkError, match="is a JSON dict; expected a list of answers"):
        read_answer_file(path)
    path.write_text('[{"id": 1, ')
    with pytest.raises(BenchmarkError, match=r"is not JSON .* may have been interrupted"):
        read_answer_file(path)
