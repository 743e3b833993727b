"""`lamm data check ROOT`: each kind of fault is found, counted, named, and decides the status."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lamm_model.conversation import Modality, Turn
from tests.training.datasets.published_tree import Tree
from training.cli import data
from training.datasets import check as check_module
from training.datasets.check import CheckOptions, CheckReport, check_tree
from training.datasets.complaints import ERRORS, WARNINGS, Complaint, ComplaintLog, Kind
from training.datasets.layout import PUBLISHED_FILES
from training.datasets.lengths import LengthCounter, LengthTally, RecordLength
from training.datasets.report import as_json

INSTRUCT = "daily_dialogue_49k.json"
CIFAR = "Classification_CIFAR10.json"


def messages(report: CheckReport, kind: Kind) -> list[str]:
    return [str(complaint) for complaint in report.complaints.examples(kind)]


def test_a_good_tree_has_no_errors(tree: Tree) -> None:
    report = check_tree(tree.root, CheckOptions(jobs=2))
    assert report.complaints.total(ERRORS) == 0
    # Two records are not 49,000: the only thing that a small tree lacks.
    assert set(report.complaints.by_kind()) == {Kind.RECORD_COUNT}
    assert len(report.files) == len(PUBLISHED_FILES)
    assert {summary.records for summary in report.files} == {2}
    assert {summary.media for summary in report.files} == {2}
    totals = messages(report, Kind.RECORD_COUNT)
    assert "2D_Benchmark: 22 usable records in 11 files; 62439 were published" in totals
    assert "3D_Benchmark: 6 usable records in 3 files; 12788 were published" in totals


def test_the_published_number_of_records_is_no_complaint(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check_module, "PUBLISHED_TOTALS", {"2D_Benchmark": 22, "3D_Benchmark": 6})
    shutil.rmtree(tree.root / "2D_Instruct")
    shutil.rmtree(tree.root / "3D_Instruct")
    report = check_tree(tree.root, CheckOptions())
    assert messages(report, Kind.RECORD_COUNT) == []
    assert messages(report, Kind.MISSING_FILE) == [
        "2D_Instruct/meta_file: folder not found",
        "3D_Instruct/meta_file: folder not found",
    ]


def test_every_kind_of_bad_medium_is_told_for_every_record_that_names_it(tree: Tree) -> None:
    folder = tree.root / "2D_Instruct"
    (folder / "bamboo_images" / "0.png").unlink()
    truncated = folder / "coco_images" / "1.png"
    truncated.write_bytes(truncated.read_bytes()[:-30])
    cloud = tree.root / "3D_Benchmark" / "scannet_pcls" / "0.npy"
    cloud.write_bytes(cloud.read_bytes()[:-60])
    (tree.root / "2D_Benchmark" / "svt_images" / "1.png").write_bytes(b"")
    report = check_tree(tree.root, CheckOptions(jobs=3))
    # Seven instruction files name the same two pictures, three benchmarks the same cloud.
    assert report.complaints.by_kind()[Kind.MISSING_MEDIA] == 7
    assert report.complaints.by_kind()[Kind.CORRUPT_MEDIA] == 7 + 3 + 1
    assert messages(report, Kind.MISSING_MEDIA)[0] == (
        "2D_Instruct/meta_file/daily_dialogue_49k.json: record 0 (id '000000'): "
        "2D_Instruct/bamboo_images/0.png: file not found"
    )
    corrupt = "\n".join(messages(report, Kind.CORRUPT_MEDIA))
    assert "coco_images/1.png: the PNG picture is corrupt or truncated" in corrupt
    assert "scannet_pcls/0.npy: the npy header declares 60 bytes, but the body has 0" in corrupt
    assert "svt_images/1.png: the medium has 0 bytes" in corrupt


def test_a_packed_media_folder_is_told_once(tree: Tree) -> None:
    folder = tree.root / "2D_Benchmark" / "cifar10_images"
    shutil.rmtree(folder)
    folder.with_name("cifar10_images.zip").write_bytes(b"PK")
    report = check_tree(tree.root, CheckOptions())
    assert report.complaints.by_kind()[Kind.MISSING_MEDIA] == 2
    (message,) = messages(report, Kind.MISSING_FOLDER)
    assert message.endswith("cifar10_images not found; unpack cifar10_images.zip")


def test_the_same_bytes_under_two_names_are_told(tree: Tree) -> None:
    trained_on = tree.root / "2D_Instruct" / "coco_images" / "1.png"
    shutil.copy(trained_on, tree.root / "2D_Benchmark" / "cifar10_images" / "0.png")
    report = check_tree(tree.root, CheckOptions())
    assert messages(report, Kind.DUPLICATE_MEDIA) == [
        "2D_Benchmark/meta_file/Classification_CIFAR10.json: record 0 (id '000000'): "
        "2D_Benchmark/cifar10_images/0.png has the same bytes as 2D_Instruct/coco_images/1.png"
    ]


def test_a_repeated_id_is_told_once_with_its_count(tree: Tree) -> None:
    tree.edit(CIFAR, lambda records: records.extend([records[1], records[1]]))
    report = check_tree(tree.root, CheckOptions())
    assert messages(report, Kind.RECORD_ID) == [
        "2D_Benchmark/meta_file/Classification_CIFAR10.json: record 1 (id '000001'): "
        "the id occurs 3 times in the file"
    ]


def test_absent_and_unknown_files_are_told(tree: Tree) -> None:
    path = tree.path("LAMM_instruct_98k.json")
    path.rename(path.with_name("LAMM_instruct_99k.json"))
    report = check_tree(tree.root, CheckOptions())
    assert messages(report, Kind.MISSING_FILE) == [
        "2D_Instruct/meta_file/LAMM_instruct_98k.json: file not found "
        "(nor LAMM_2dinstruct_98k.json)"
    ]
    assert len(messages(report, Kind.UNKNOWN_FILE)) == 1


def test_complaints_are_capped_and_counted() -> None:
    log = ComplaintLog(keep=2)
    for number in range(5):
        log.add(Complaint(Kind.BOX, f"{number % 2}.json", "odd", number, str(number)))
    log.add(Complaint(Kind.SCHEMA, "0.json", "bad"))
    assert log.by_kind() == {Kind.SCHEMA: 1, Kind.BOX: 5}
    assert log.of_file("0.json") == {Kind.SCHEMA: 1, Kind.BOX: 3}
    assert [complaint.index for complaint in log.examples(Kind.BOX)] == [0, 1]
    assert (log.total(ERRORS), log.total(WARNINGS), log.total()) == (1, 5, 6)


class WordTokenizer:
    """A token for each word: lengths that a test can count."""

    def encode(self, text: str) -> list[int]:
        return [0] * len(text.split())


def counter(**prompts: str) -> LengthCounter:
    tokens = {Modality.IMAGE: 10, Modality.POINT_CLOUD: 20}
    return LengthCounter(WordTokenizer(), {"normal": ""} | prompts, tokens)  # type: ignore[arg-type]


def test_lengths_are_counted_as_the_trainer_cuts_them() -> None:
    turns = (Turn("What is it?", "A boat.", (Modality.IMAGE,)), Turn("Why?", "So."))
    # BOS; "### Human: <Img>"; picture; "</Img> What is it?", "### Assistant:"; "A boat.", "###"
    first = 1 + 3 + 10 + 4 + 2 + 3
    both = first + 2 + 2 + 2
    measured = {limit: counter().measure(turns, "VQA", limit) for limit in (None, both, first, 5)}
    assert measured[None] == RecordLength(both, 2, 2)
    assert [measured[limit].kept for limit in (both, first, 5)] == [2, 1, 0]
    with_system = counter(VQA="Two words").measure(turns, "VQA", None)
    assert with_system.tokens == both + 2
    question = (Turn("What is it?", media=(Modality.POINT_CLOUD,)),)
    assert counter().measure(question, "normal", 30) == RecordLength(1 + 3 + 20 + 4 + 2, 1, 1)
    assert counter().measure(question, "normal", 29).kept == 0


def test_a_tally_says_what_a_limit_costs() -> None:
    tally = LengthTally()
    assert tally.quantile(0.5) == 0
    for tokens in range(1, 101):
        tally.add(RecordLength(tokens, 2, 2 if tokens <= 90 else 1 if tokens <= 97 else 0))
    assert (tally.shortened, tally.dropped) == (7, 3)
    assert [tally.quantile(share) for share in (0.5, 0.95, 1.0)] == [50, 95, 100]


def test_records_over_the_limit_are_told(tree: Tree) -> None:
    report = check_tree(tree.root, CheckOptions(lengths=counter(), limit_length=30))
    by_name = {summary.found.path.name: summary for summary in report.files}
    assert (by_name[INSTRUCT].lengths.shortened, by_name[INSTRUCT].lengths.dropped) == (2, 0)
    assert by_name["LAMM_3dinstruct_10k.json"].lengths.dropped == 2
    assert by_name[CIFAR].lengths.dropped == 0
    assert "tokens exceed the limit 30: 1 of 2 turns fit" in messages(report, Kind.TOO_LONG)[0]


def test_the_json_report_has_every_total(tree: Tree) -> None:
    tree.set(INSTRUCT, 1, conversations=[])
    tree.set(CIFAR, 0, image="gone.png")
    report = check_tree(tree.root, CheckOptions(lengths=counter(), limit_length=30))
    document: dict[str, Any] = json.loads(json.dumps(as_json(report, ERRORS)))
    assert (document["errors"], document["totals"]["missing_media"]) == (2, 1)
    files = {Path(described["file"]).name: described for described in document["files"]}
    assert files[INSTRUCT]["records"] == 1
    assert files[INSTRUCT]["published"] == [48_500, 49_999]
    assert files[INSTRUCT]["complaints"]["empty_conversation"] == 1
    assert set(files[INSTRUCT]["tokens"]) == {"p50", "p95", "p100"}
    (gone,) = [c for c in document["complaints"] if c["kind"] == "missing_media"]
    assert (gone["index"], gone["id"], gone["file"]) == (0, "000000", files[CIFAR]["file"])


def run(*arguments: str) -> int:
    return data(["check", *arguments])


def test_the_exit_status_follows_fail_on(
    tree: Tree, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    root, out = str(tree.root), tmp_path / "report.json"
    assert run(root) == 0
    assert run(root, "--fail-on", "any") == 1
    tree.set(INSTRUCT, 0, task_type="poetry")
    tree.edit(INSTRUCT, lambda records: records.extend([records[0] | {"id": n} for n in range(9)]))
    capsys.readouterr()
    assert run(root, "--show", "3", "--json", str(out), "--jobs", "2") == 1
    text = capsys.readouterr().out
    assert "unknown_task_type: 10 (error)" in text
    assert text.count("task_type is 'poetry'") == 3
    assert "... and 7 more" in text
    assert "record 0 (id '000000'): task_type is 'poetry'" in text
    assert json.loads(out.read_text())["totals"]["unknown_task_type"] == 10
    assert run(root, "--fail-on", "none") == 0
    assert run(root, "--fail-on", "schema, unreadable") == 0
    assert run(root, "--fail-on", "schema,unknown_task_type") == 1


def test_lengths_by_a_checkpoint_of_our_own(
    tree: Tree, tiny_base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--limit-length", "150", "--json", str(tmp_path / "report.json")]
    assert run(str(tree.root), "--tokenizer", str(tiny_base), *options) == 0
    lines = capsys.readouterr().out.splitlines()
    (heading,) = [line.split() for line in lines if line.split()[:2] == ["file", "records"]]
    assert heading[-6:] == ["tokens", "p95", "longest", "cut", "lost", "complaints"]
    (row,) = [line.split() for line in lines if line.split()[:1] == ["VQA_AI2D"]]
    assert row[1:4] == ["2", "-", "2"]
    # A folder with the tokenizer alone counts LAMM's own 256 places for a medium.
    shutil.copy(tiny_base / "tokenizer.json", tmp_path)
    other = LengthCounter.from_pretrained(tmp_path)
    ours = LengthCounter.from_pretrained(tiny_base)
    question = (Turn("What is it?", media=(Modality.IMAGE,)),)
    places = {c.measure(question, "normal", None).tokens for c in (other, ours)}
    assert max(places) - min(places) == 256 - 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "has no published file"),
        (["--tokenizer", "nowhere"], "nowhere: tokenizer.json not found"),
    ],
)
def test_nothing_to_check_is_status_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    assert run(str(tmp_path), *options) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    "options", [["--limit-length", "9"], ["--fail-on", "typo"], ["--jobs", "0"], ["--show", "x"]]
)
def test_wrong_options_are_usage_errors(tmp_path: Path, options: list[str]) -> None:
    with pytest.raises(SystemExit) as exit:
        run(str(tmp_path), *options)
    assert exit.value.code == 2


def test_checking_a_tree_needs_no_torch(tree: Tree) -> None:
    program = (
        "import sys; from training.cli import data; status = data(['check', sys.argv[1]]); "
        "sys.exit(status or 'torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program, str(tree.root)]).returncode == 0
