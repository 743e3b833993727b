"""`lamm data finetune`: training records and a held-out benchmark without a medium in common."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.training.datasets.published_tree import Tree
from training.cli import data
from training.config import load_recipe
from training.data.reading import read_records
from training.datasets.finetune import FINE_TUNED, is_for_training
from training.datasets.layout import benchmark_files
from training.datasets.reading import read_dataset

CIFAR = "Classification_CIFAR10.json"
COUNT = 24
RECIPES = Path(__file__).parents[3] / "training" / "recipes"


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """The six files, with `COUNT` records each; those of one modality share their media."""
    tree = Tree(tmp_path / "LAMM")
    for stem in FINE_TUNED:
        path = tree.path(f"{stem}.json")
        record = json.loads(path.read_text())[0]
        key = "image" if "image" in record else "pcl"
        source = path.parents[1] / record[key]
        records = []
        for number in range(COUNT):
            name = f"shared/scene{number // 2:04d}_{number % 2:02d}{source.suffix}"
            target = path.parents[1] / name
            target.parent.mkdir(exist_ok=True)
            shutil.copyfile(source, target)
            records.append(record | {"id": number, key: f"./{name}"})
        path.write_text(json.dumps(records))
    return tree


def split(tree: Tree, out: Path, *more: str) -> int:
    return data(["finetune", str(tree.root), str(out), *more])


def media(records: list[dict[str, Any]]) -> set[str]:
    return {Path(record.get("image") or record["pcl"]).name for record in records}


def test_no_picture_and_no_room_is_on_both_sides(
    tree: Tree, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert split(tree, out) == 0
    shown = " ".join(capsys.readouterr().out.split())
    sides: dict[str, set[str]] = {"train": set(), "test": set()}
    for stem in FINE_TUNED:
        train = json.loads((out / "train" / f"{stem}.json").read_text())
        folder = tree.path(f"{stem}.json").parents[1].name
        test = json.loads((out / "test" / folder / "meta_file" / f"{stem}.json").read_text())
        assert len(train) + len(test) == COUNT
        assert f"{stem}: {len(train)} records to train, {len(test)} held out" in shown
        sides["train"] |= media(train)
        sides["test"] |= media(test)
    assert sides["train"] & sides["test"] == set()
    # Two scans of one room are on one side.
    clouds = {side: [n for n in names if n.endswith(".npy")] for side, names in sides.items()}
    rooms = {side: {name[:9] for name in names} for side, names in clouds.items()}
    assert rooms["train"] & rooms["test"] == set()
    assert len(rooms["train"]) + len(rooms["test"]) == COUNT // 2
    described = json.loads((out / "test" / "provenance.json").read_text())["held_out"]
    assert (described["train_share"], described["seed"]) == (0.5, 0)
    assert sum(file["train"] + file["test"] for file in described["files"]) == 6 * COUNT


def test_both_sides_are_read_by_their_programs(tree: Tree, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert split(tree, out, "--train-share", "0.3") == 0
    answers = {}
    for stem in FINE_TUNED:
        path = out / "train" / f"{stem}.json"
        errors: list[Any] = []
        records = list(read_records(path, path.parent, errors.append))
        assert errors == []
        assert all(medium.path.is_file() for record in records for medium in record.media)
        value = json.loads(path.read_text())[0]
        answers[stem] = value["conversations"][1]["value"]
    assert answers == {
        "Classification_CIFAR10": "frog",
        "Detection_VOC2012": "dog [0.10, 0.20, 0.50, 0.90]",
        "VQA_SQAimage": "The answer is (B).",
        "Detection_ScanNet": "chair [1.00, -2.00, 0.50, 0.40, 0.60, 1.10]",
        "VG_ScanRefer": "[1.00, -2.00, 0.50, 0.40, 0.60, 1.10]",
        "VQA_ScanQA_multiplechoice": "The answer is (B).",
    }
    complaints: list[Any] = []
    held_out = [
        read
        for file in benchmark_files(out / "test", "all")
        for read in read_dataset(file, complaints.append)
    ]
    assert complaints == []
    assert all(read.media is not None and read.media.is_file() for read in held_out)


def test_faulty_records_are_left_out_and_named(
    tree: Tree, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tree.set(CIFAR, 3, image="shared/none.png")
    tree.set(CIFAR, 4, label=None)
    tree.set("VQA_SQAimage.json", 5, gt_choices=["red"])
    out = tmp_path / "out"
    assert split(tree, out) == 1
    shown = capsys.readouterr().err
    assert f"{CIFAR}: record 3 (id '3'): shared/none.png is missing" in shown
    assert "missing_media: 1 (left out)" in shown
    assert "schema: 2 (left out)" in shown
    files = json.loads((out / "test" / "provenance.json").read_text())["held_out"]["files"]
    left_out = {file["name"]: file["left_out"] for file in files if file["left_out"]}
    assert left_out == {"Classification_CIFAR10": 2, "VQA_SQAimage": 1}


def test_the_seed_chooses_and_the_share_counts() -> None:
    names = [f"voc2012_images/{n}.jpg" for n in range(2000)]
    taken = [name for name in names if is_for_training(name, 0.25, 0)]
    assert 430 < len(taken) < 570
    assert taken != [name for name in names if is_for_training(name, 0.25, 1)]
    assert is_for_training("./a/b.npy", 0.5, 0) == is_for_training("a/b.npy", 0.5, 0)


def test_what_cannot_be_split_is_refused(
    tree: Tree, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    tree.edit(CIFAR, lambda records: records.__delitem__(slice(1, None)))
    assert split(tree, out) == 2
    assert "Classification_CIFAR10.json: " in capsys.readouterr().err
    assert not out.exists()
    assert split(tree, tree.root) == 2
    assert "is not empty" in capsys.readouterr().err
    (tmp_path / "none").mkdir()
    assert data(["finetune", str(tmp_path / "none"), str(out)]) == 2
    assert "has none of Classification_CIFAR10" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        split(tree, out, "--train-share", "1")
    assert "'1' is not between 0 and 1" in capsys.readouterr().err


def test_there_is_a_recipe_for_each_row() -> None:
    recipes = [load_recipe(path) for path in sorted(RECIPES.glob("finetune-*.yaml"))]
    assert {recipe.data[0].path for recipe in recipes} == {
        Path(f"data/finetune/train/{stem}.json") for stem in FINE_TUNED
    }
    assert len({recipe.output for recipe in recipes}) == len(FINE_TUNED)
