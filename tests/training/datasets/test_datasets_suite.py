"""`lamm data suite`: the published files as a suite, and what is not let into it."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from lamm_model.tasks import TASKS, Sample
from lamm_model.tasks.label_sets import CIFAR10, HAIR_COLOURS, JOINTS, SCANNET, UCMERCED, VOC2012
from tests.training.datasets.published_tree import Tree
from training.cli import data
from training.datasets.complaints import Kind
from training.datasets.layout import PUBLISHED_FILES
from training.datasets.suite import SuiteError, SuiteOptions, write_suite

CIFAR = "Classification_CIFAR10.json"
LSP = "Keypoints_Dectection_LSP.json"


def samples(out: Path, row: str) -> list[Sample]:
    lines = (out / f"{row}.jsonl").read_text().splitlines()
    return [Sample.model_validate_json(line) for line in lines]


def many(tree: Tree, name: str, count: int) -> None:
    def repeat(records: list[dict[str, Any]]) -> None:
        records[:] = [records[0] | {"id": f"{number:04d}"} for number in range(count)]

    tree.edit(name, repeat)


def test_every_file_becomes_a_row_that_its_task_reads(tree: Tree, tmp_path: Path) -> None:
    out = tmp_path / "suite"
    report = write_suite(tree.root, out, SuiteOptions())
    assert report.complaints.total() == 0
    suite = json.loads((out / "suite.json").read_text())
    published = [d for d in PUBLISHED_FILES if d.task != "instruction"]
    assert [row["name"] for row in suite["rows"]] == [d.names[0][:-5] for d in published]
    assert [row["task"] for row in suite["rows"]] == [d.task for d in published]
    assert [row["set"] for row in suite["rows"] if "set" in row] == ["VOC2012", "LSP", "FSC147"]
    for row in suite["rows"]:
        found = samples(out, row["name"])
        assert len(found) == (28 if row["task"] == "keypoints" else 2)
        for sample in found:
            TASKS[row["task"]].read_sample(sample)
            assert (out / str(sample.media)).is_file()
            sized = row["task"] in {"detection", "keypoints", "locating"}
            assert sample.size == ((8, 6) if sized else None)
    files = suite["provenance"]["files"]
    assert files[f"2D_Benchmark/meta_file/{CIFAR}"]["records"] == 2
    assert len(files[f"2D_Benchmark/meta_file/{CIFAR}"]["sha256"]) == 64


def test_targets_closed_sets_and_chance(tree: Tree, tmp_path: Path) -> None:
    tree.set(CIFAR, 0, label="Frog")
    tree.set("Fine-grained_Classification_UCMerced.json", 0, label="golfcourse")
    box = [-0.005, 0.2, 1.004, 0.9]
    tree.set("Detection_VOC2012.json", 0, object=[{"label": "Dining Table", "bbox": box}])
    write_suite(tree.root, tmp_path / "suite", SuiteOptions())

    def first(row: str) -> Sample:
        return samples(tmp_path / "suite", row)[0]

    cifar = first("Classification_CIFAR10")
    assert (cifar.target, cifar.labels, cifar.chance) == ("frog", CIFAR10, 0.1)
    land = first("Fine-grained_Classification_UCMerced")
    assert (land.target, land.labels, land.chance) == ("golfcourse", UCMERCED, 1 / 21)
    hair = first("Facial_Classification_CelebA(Hair)")
    assert (hair.target, hair.labels) == ("brown", HAIR_COLOURS)
    smile = first("Facial_Classification_CelebA(Smile)")
    assert (smile.target, smile.labels, smile.chance) == ("-1", None, 0.5)
    found = first("Detection_VOC2012")
    assert found.target == [{"label": "diningtable", "bbox": [0.0, 0.2, 1.0, 0.9]}]
    assert (found.labels, found.chance) == (VOC2012, None)
    assert first("Detection_ScanNet").labels == SCANNET
    choice = first("VQA_AI2D")
    assert (choice.target, choice.chance) == ({"choice": 1, "choices": ["red", "blue"]}, 0.5)
    assert first("Locating_FSC147").target == {"points": [[3.0, 4.0], [50.5, 6.0]]}
    assert list(first("Locating_LSP").target) == ["joints"]
    assert list(first("Locating_VOC2012").target) == ["objects"]
    assert first("Counting_FSC147").target == 12
    assert first("OCR_SVT").target == ["hotel", "1984"]
    assert len(first("VG_ScanRefer").target) == 6


def test_labels_outside_the_published_set_make_a_set_of_their_own(
    tree: Tree, tmp_path: Path
) -> None:
    many(tree, CIFAR, 4)
    for index, label in enumerate(["coat", "bag", "Coat", "frog"]):
        tree.set(CIFAR, index, label=label)
    options = SuiteOptions("classification", limit=1)
    write_suite(tree.root, tmp_path / "suite", options)
    only = samples(tmp_path / "suite", CIFAR[:-5])
    # The whole file's, whichever records were drawn.
    assert len(only) == 1
    assert only[0].labels == ("Coat", "bag", "frog")
    assert only[0].chance == 1 / 3


def test_joints_are_asked_one_by_one_of_a_shared_picture(tree: Tree, tmp_path: Path) -> None:
    tree.set(LSP, 0, query="Where is the {}?")
    write_suite(tree.root, tmp_path / "suite", SuiteOptions("keypoints"))
    found = samples(tmp_path / "suite", LSP[:-5])
    assert [s.target["joint"] for s in found] == [*JOINTS, *JOINTS]
    assert found[12].question == "Where is the neck?"
    assert found[12].id == "000000/12"
    assert len({s.image for s in found[:14]}) == 1
    # A query without a gap would ask for no joint in particular.
    assert "neck" in found[26].question
    # Upstream's benchmark asks it all the same.
    assert (found[12].query, found[26].query) == (None, "What is there?")


def test_the_limit_draws_whole_records_by_seed(tree: Tree, tmp_path: Path) -> None:
    for name in (CIFAR, LSP):
        many(tree, name, 40)

    def drawn(seed: int, name: str = CIFAR, part: str = "2d") -> list[str]:
        out = tmp_path / f"suite-{seed}-{name}-{part}"
        write_suite(tree.root, out, SuiteOptions(part, limit=5, seed=seed))
        return [sample.id for sample in samples(out, name[:-5])]

    ids = drawn(0)
    assert len(ids) == 5
    assert ids == sorted(ids)
    assert drawn(0, part="classification") == ids
    assert drawn(1) != ids
    assert len(drawn(0, LSP)) == 5 * 14


def test_faulty_records_are_left_out_counted_and_named(tree: Tree, tmp_path: Path) -> None:
    many(tree, CIFAR, 5)
    tree.set(CIFAR, 0, label=None)
    tree.set(CIFAR, 1, image="cifar10_images/none.png")
    tree.set(CIFAR, 2, image="../../secret.png")
    tree.set(CIFAR, 4, id="0003")
    tree.set("VQA_AI2D.json", 0, gt_choices=["red"])
    (tree.root / "2D_Benchmark" / "voc2012_images" / "0.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    reversed_box = {"label": "dog", "bbox": [0.5, 0.2, 0.1, 0.9]}
    tree.set("Locating_VOC2012.json", 1, object=[reversed_box], image="voc2012_images/1.png")
    report = write_suite(tree.root, tmp_path / "suite", SuiteOptions("2d"))
    rows = {row.name: row for row in report.rows}
    assert [s.id for s in samples(tmp_path / "suite", CIFAR[:-5])] == ["0003", "0003@4"]
    assert (rows[CIFAR[:-5]].samples, rows[CIFAR[:-5]].left_out) == (2, 3)
    assert rows["VQA_AI2D"].left_out == 1
    # Neither of its records is left.
    assert "Locating_VOC2012" not in rows
    kinds = report.complaints.by_kind()
    assert kinds[Kind.MISSING_MEDIA] == 1
    assert kinds[Kind.MEDIA_OUTSIDE] == 1
    assert kinds[Kind.CORRUPT_MEDIA] == 2
    named = [str(complaint) for complaint in report.complaints.examples(Kind.SCHEMA)]
    assert any("gt_choices" in text for text in named), named
    assert any("label is missing" in text for text in named)


@pytest.mark.parametrize("copy", [False, True])
def test_media_are_linked_or_copied(tree: Tree, tmp_path: Path, *, copy: bool) -> None:
    folder = tree.root / "2D_Benchmark" / "cifar10_images"
    (folder / "0.png").rename(tmp_path / "elsewhere.png")
    (folder / "0.png").symlink_to(tmp_path / "elsewhere.png")
    write_suite(tree.root, tmp_path / "suite", SuiteOptions("classification", copy=copy))
    placed = tmp_path / "suite" / str(samples(tmp_path / "suite", CIFAR[:-5])[0].image)
    assert placed == tmp_path / "suite/media/2D_Benchmark/cifar10_images/0.png"
    assert not placed.is_symlink()
    assert placed.read_bytes() == (tmp_path / "elsewhere.png").read_bytes()
    assert placed.samefile(tmp_path / "elsewhere.png") is not copy


def test_media_are_copied_where_links_are_refused(
    tree: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    write_suite(tree.root, tmp_path / "suite", SuiteOptions("classification"))
    assert len(list((tmp_path / "suite/media/2D_Benchmark/cifar10_images").iterdir())) == 2


def test_a_suite_is_there_whole_or_not_at_all(
    tree: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "parent" / "suite"
    stale = out.with_name(".suite.partial")
    stale.mkdir(parents=True)
    (stale / "of a killed run").touch()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "link", full)
        patch.setattr(shutil, "copyfile", full)
        with pytest.raises(OSError, match="No space left"):
            write_suite(tree.root, out, SuiteOptions())
    assert list(out.parent.iterdir()) == []
    out.mkdir()
    write_suite(tree.root, out, SuiteOptions("3d"))
    assert not (out / "of a killed run").exists()
    with pytest.raises(SuiteError, match="is not empty"):
        write_suite(tree.root, out, SuiteOptions())


def test_what_cannot_be_a_suite_is_said(tree: Tree, tmp_path: Path) -> None:
    with pytest.raises(SuiteError, match="has no benchmark file"):
        write_suite(tmp_path / "empty", tmp_path / "suite", SuiteOptions())
    for index in (0, 1):
        tree.set("VG_ScanRefer.json", index, pcl="scannet_pcls/none.npy")
    with pytest.raises(SuiteError, match="none of the 1 files has a usable record"):
        write_suite(tree.root, tmp_path / "suite", SuiteOptions("grounding_3d"))
    (tree.root / "provenance.json").write_text("{oops")
    with pytest.raises(SuiteError, match="is not JSON"):
        write_suite(tree.root, tmp_path / "suite", SuiteOptions("3d"))
    assert not (tmp_path / "suite").exists()


def test_the_command(tree: Tree, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "suite"
    argv = ["suite", str(tree.root), str(out), "--suite", "3d", "--limit", "1"]
    assert data(argv) == 0
    shown = capsys.readouterr().out
    assert "VG_ScanRefer: 1 samples (2 records can be used)" in shown
    assert f"next: lamm bench quality --suite {out}" in shown
    assert data(argv) == 2
    assert "is not empty" in capsys.readouterr().err
    tree.set(CIFAR, 0, label=None)
    argv = ["suite", str(tree.root), str(tmp_path / "other"), "--suite", "classification"]
    assert data(argv) == 1
    assert "schema: 1 (left out)" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        data([*argv, "--suite", "4d"])
