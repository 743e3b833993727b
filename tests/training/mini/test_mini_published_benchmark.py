"""The mini-benchmark: all 17 files, read without complaint by the published files' own readers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFont

from lamm_model.tasks import TASKS
from lamm_model.tasks.label_sets import HAIR_COLOURS, UCMERCED
from training.datasets.check import CheckOptions, check_tree
from training.datasets.complaints import Kind
from training.datasets.layout import META_FOLDER, PUBLISHED_FILES
from training.datasets.suite import SuiteOptions, write_suite
from training.mini import corpus
from training.mini.scenes import clouds, drawings, pictures
from training.mini.sources import FURNITURE, PRODUCTS, Mesh
from training.mini.writers.published_benchmark import write_benchmark

COUNT = 3


@pytest.fixture(scope="module")
def pools(tmp_path_factory: pytest.TempPathFactory) -> corpus.Pools:
    """Rectangles for products, a box for each kind of furniture, Pillow's own font."""
    rng = np.random.default_rng(0)
    products = np.zeros((20, 28, 28), np.uint8)
    products[:, 4:24, 6:22] = rng.integers(120, 255, (20, 1, 1))
    font = tmp_path_factory.mktemp("font") / "font.ttf"
    drawn = ImageFont.load_default(20)
    assert isinstance(drawn, ImageFont.FreeTypeFont)
    font.write_bytes(drawn.font_bytes)
    corners = rng.uniform(-0.5, 0.5, (12, 3))
    faces = np.array([(k, (k + 1) % 12, (k + 5) % 12) for k in range(12)])
    meshes = [Mesh(f"a {label}", label, "nobody", corners, faces) for label in FURNITURE]
    return corpus.Pools(
        pictures.ProductPool(products, np.arange(20, dtype=np.uint8) % 10),
        pictures.WordPool(["lamp", "chair"], [font]),
        clouds.SurfacePool(meshes, seed=0),
    )


@pytest.fixture(scope="module")
def benchmark_root(tmp_path_factory: pytest.TempPathFactory, pools: corpus.Pools) -> Path:
    out = tmp_path_factory.mktemp("mini") / "LAMM"
    return write_benchmark(pools, out, COUNT, {"a-package": "its digest"}, progress=False)


def records_of(root: Path, name: str) -> list[dict[str, Any]]:
    folder = next(d.folder for d in PUBLISHED_FILES if name in d.names)
    loaded: list[dict[str, Any]] = json.loads((root / folder / META_FOLDER / name).read_text())
    return loaded


def test_a_check_finds_all_files_and_nothing_wrong(benchmark_root: Path) -> None:
    report = check_tree(benchmark_root, CheckOptions(jobs=2))
    # There is no instruction data in it, and it is smaller than what was published.
    assert set(report.complaints.by_kind()) == {Kind.MISSING_FILE, Kind.RECORD_COUNT}
    assert len(report.files) == 17
    assert {summary.records for summary in report.files} == {COUNT}
    tasks = {summary.found.dataset.task for summary in report.files}
    assert len(tasks) == 14
    assert tasks <= set(TASKS)


def test_sets_that_ask_about_the_same_pictures_share_them(benchmark_root: Path) -> None:
    for pair in (
        ("Detection_VOC2012.json", "Locating_VOC2012.json"),
        ("Counting_FSC147.json", "Locating_FSC147.json"),
        ("Keypoints_Dectection_LSP.json", "Locating_LSP.json"),
        ("Facial_Classification_CelebA(Smile).json", "Facial_Classification_CelebA(Hair).json"),
    ):
        first, second = (records_of(benchmark_root, name) for name in pair)
        assert [record["image"] for record in first] == [record["image"] for record in second]
        assert [record["query"] for record in first] != [record["query"] for record in second]


def test_the_published_peculiarities_are_kept(benchmark_root: Path) -> None:
    for record in records_of(benchmark_root, "VG_ScanRefer.json"):
        assert record["pcl"].startswith("./scannet_pcls/")
        assert len(record["object"]) == 6
    for record in records_of(benchmark_root, "Keypoints_Dectection_LSP.json"):
        assert "left knee" in record["query"].format("left knee")
        assert "{}" in record["query"]


def test_answers_are_in_what_the_tasks_know(benchmark_root: Path) -> None:
    land = records_of(benchmark_root, "Fine-grained_Classification_UCMerced.json")
    assert all(record["label"] in UCMERCED for record in land)
    hair = records_of(benchmark_root, "Facial_Classification_CelebA(Hair).json")
    assert all(record["attr"] in HAIR_COLOURS for record in hair)
    for record in records_of(benchmark_root, "Caption_flickr30k.json"):
        assert any(product in record["sentences"][0] for product in PRODUCTS)
    for record in records_of(benchmark_root, "VQA_SQAimage.json"):
        options = record["gt_choices"]
        assert f"({'ABCD'[record['gt_choice']]}) {options[record['gt_choice']]}" in record["query"]


def test_the_provenance_says_what_is_drawn(benchmark_root: Path) -> None:
    provenance = json.loads((benchmark_root / "provenance.json").read_text())
    assert provenance["comparable_with_published_results"] is False
    drawn = {name for name, described in provenance["sets"].items() if described["drawn"]}
    assert len(provenance["sets"]) == 17
    assert drawn == {
        "Fine-grained_Classification_UCMerced.json",
        "Facial_Classification_CelebA(Smile).json",
        "Facial_Classification_CelebA(Hair).json",
        "Keypoints_Dectection_LSP.json",
        "Locating_LSP.json",
    }


def test_the_same_seed_writes_the_same_bytes(
    benchmark_root: Path, pools: corpus.Pools, tmp_path: Path
) -> None:
    again = write_benchmark(pools, tmp_path / "again", COUNT, {}, progress=False)
    for path in sorted(benchmark_root.rglob("*")):
        if path.is_file() and path.name != "provenance.json":
            assert (again / path.relative_to(benchmark_root)).read_bytes() == path.read_bytes()


def test_joints_lie_on_the_drawn_person() -> None:
    for seed in range(10):
        picture, joints = drawings.body(np.random.default_rng(seed))
        assert picture.shape == (drawings.SIZE, drawings.SIZE, 3)
        ground = np.median(picture.reshape(-1, 3), axis=0)
        for x, y in joints[:6]:  # the legs, which nothing covers
            assert 0 <= x < drawings.SIZE
            assert 0 <= y < drawings.SIZE
            around = picture[max(0, int(y) - 1) : int(y) + 2, max(0, int(x) - 1) : int(x) + 2]
            assert np.abs(around - ground).sum(axis=-1).max() > 40


def test_a_smile_bends_up_and_hair_has_its_colour() -> None:
    faces = {
        (smile, hair): drawings.face(np.random.default_rng(7), smile, hair)[0]
        for smile in (True, False)
        for hair in drawings.HAIR
    }
    assert not np.array_equal(faces[True, "brown"], faces[False, "brown"])
    # The top of the head is darker with black hair than with blond.
    above = [faces[True, hair][8:16, 28:36].mean() for hair in ("black", "blond")]
    assert above[0] < above[1] - 60


@pytest.mark.parametrize("label", list(drawings.LAND))
def test_land_is_drawn_whole(label: str) -> None:
    picture = Image.fromarray(drawings.land(np.random.default_rng(3), label))
    assert picture.size == (drawings.SIZE, drawings.SIZE)
    assert np.asarray(picture).std() > 5


def test_it_becomes_a_suite_of_its_own_labels(benchmark_root: Path, tmp_path: Path) -> None:
    report = write_suite(benchmark_root, tmp_path / "suite", SuiteOptions())
    assert report.complaints.total() == 0
    rows = {row.name: row for row in report.rows}
    assert len(rows) == 17
    assert set(rows["Classification_CIFAR10"].labels or ()) <= set(PRODUCTS)
    assert set(rows["Detection_ScanNet"].labels or ()) <= set(FURNITURE)
    assert rows["Fine-grained_Classification_UCMerced"].labels == UCMERCED
    assert rows["Keypoints_Dectection_LSP"].samples == 14 * COUNT
    suite = json.loads((tmp_path / "suite" / "suite.json").read_text())
    assert suite["name"] == "mini-benchmark"
    assert suite["provenance"]["source"]["comparable_with_published_results"] is False
