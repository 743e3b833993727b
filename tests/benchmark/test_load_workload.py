"""What a load test sends, and when: seeds, exact mixes, drawn and unique media, arrivals."""

from __future__ import annotations

import random
import statistics
from collections import Counter
from io import BytesIO
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmark.errors import BenchmarkError
from benchmark.load.arrivals import Arrivals, RampUp
from benchmark.load.media import Media, changed, drawn_cloud, drawn_picture
from benchmark.load.requests import RequestStyle
from benchmark.load.workload import WorkItem, WorkloadSpec, make_workload


def contents(items: list[WorkItem]) -> list[bytes]:
    return [item.media.content for item in items if item.media is not None]


def test_a_workload_is_seeded_and_its_mixes_exact() -> None:
    spec = WorkloadSpec(num_prompts=12, input_words=(3, 9), output_lens=(8, 16, 32))
    items = make_workload(spec, seed=3)
    assert items == make_workload(spec, seed=3)
    assert items != make_workload(spec, seed=4)
    assert Counter(item.output_len for item in items) == {8: 4, 16: 4, 32: 4}
    # The number of the question is a word more.
    assert Counter(len(item.prompt.split()) for item in items) == {4: 6, 10: 6}
    assert len({item.prompt for item in items}) == 12


def test_media_are_taken_in_turn_and_drawn_from_the_seed(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    Image.new("RGB", (8, 8)).save(path)
    spec = WorkloadSpec(6, images=(path,), image_sizes=((12, 7),), cloud_points=(50,))
    items = make_workload(spec, 0)
    assert [item.media.suffix for item in items if item.media] == [".jpg", ".png", ".npy"] * 2
    assert items == make_workload(spec, 0)
    # Repeated media are the same for every seed, so that later rounds find them in a cache.
    assert contents(items) == contents(make_workload(spec, 1))
    assert spec.has_clouds
    with Image.open(BytesIO(contents(items)[1])) as drawn:
        assert drawn.size == (12, 7)
    cloud = np.load(BytesIO(contents(items)[2]))
    assert (cloud.shape, cloud.dtype) == ((50, 3), np.float32)
    assert cloud.min() >= 0
    assert cloud.max() <= 6


def test_unique_media_differ_and_stay_seeded(tmp_path: Path) -> None:
    picture, cloud = tmp_path / "a.png", tmp_path / "a.npy"
    Image.new("RGB", (40, 40)).save(picture)
    np.save(cloud, np.zeros((9, 6), np.float32))
    spec = WorkloadSpec(
        16, images=(picture,), clouds=(cloud,), image_sizes=((20, 20),), cloud_points=(30,),
        unique_images=True, unique_clouds=True,
    )  # fmt: skip
    items = make_workload(spec, 5)
    assert len(set(contents(items))) == 16
    assert items == make_workload(spec, 5)
    moved = np.load(BytesIO(contents(items)[2]))
    assert 0 < np.abs(moved).max() <= 0.01
    assert np.count_nonzero(moved.any(axis=1)) == 1


def test_media_that_cannot_be_sent_are_named(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match=r"a\.npy is not a picture; --image takes .jpg"):
        make_workload(WorkloadSpec(1, images=(tmp_path / "a.npy",)), 0)
    with pytest.raises(BenchmarkError, match=r"cannot read .*b\.png"):
        make_workload(WorkloadSpec(1, images=(tmp_path / "b.png",)), 0)
    rng = random.Random(0)
    with pytest.raises(BenchmarkError, match="cannot make a picture unique"):
        changed(Media(b"no picture", ".png"), rng)
    with pytest.raises(BenchmarkError, match="cannot make a cloud unique"):
        changed(Media(b"no cloud", ".npy"), rng)
    with pytest.raises(BenchmarkError, match=r"cannot make a \.ply cloud unique; expected \.npy"):
        changed(Media(b"ply", ".ply"), rng)


def test_media_become_the_parts_of_a_message() -> None:
    rng = random.Random(0)
    style = RequestStyle()
    body = style.body("m", WorkItem("What?", drawn_picture(9, 9, rng), 5))
    part, text = body["messages"][0]["content"]
    assert part["image_url"]["url"].startswith("data:image/png;base64,")
    assert text == {"type": "text", "text": "What?"}
    assert (body["max_tokens"], body["min_tokens"], body["ignore_eos"]) == (5, 5, True)
    body = style.body("m", WorkItem("What?", drawn_cloud(9, rng), 5))
    assert body["messages"][0]["content"][0]["point_cloud_url"]["format"] == "npy"


@pytest.mark.parametrize(("burstiness", "variation"), [(1.0, 1.0), (4.0, 0.5), (0.25, 2.0)])
def test_arrivals_have_the_rate_and_the_burstiness(burstiness: float, variation: float) -> None:
    times = Arrivals(5.0, burstiness).times(20000, seed=1)
    gaps = [b - a for a, b in pairwise(times)]
    mean = statistics.fmean(gaps)
    assert mean == pytest.approx(0.2, rel=0.05)
    assert statistics.pstdev(gaps) / mean == pytest.approx(variation, rel=0.05)
    assert Arrivals().times(3, 0) == [0.0, 0.0, 0.0]
    assert Arrivals(5.0, float("inf")).times(3, 0) == pytest.approx([0.0, 0.2, 0.4])
    with pytest.raises(BenchmarkError, match="must be greater than 0"):
        Arrivals(0.0).times(3, 0)


@pytest.mark.parametrize(("strategy", "middle"), [("linear", 505.0), ("exponential", 100.0)])
def test_a_ramp_grows_from_its_first_rate_to_its_last(strategy: str, middle: float) -> None:
    ramp = RampUp(strategy, 10.0, 1000.0)  # type: ignore[arg-type]
    assert (ramp.rate(0), ramp.rate(1)) == (10.0, pytest.approx(1000.0))
    assert ramp.rate(0.5) == pytest.approx(middle)
    # With an almost constant gap the intervals are the inverse of the rate at their start.
    times = Arrivals(burstiness=1e6, ramp_up=ramp).times(101, seed=0)
    gaps = [b - a for a, b in pairwise(times)]
    assert gaps[0] == pytest.approx(1 / 10, rel=0.02)
    assert gaps[50] == pytest.approx(1 / middle, rel=0.02)
