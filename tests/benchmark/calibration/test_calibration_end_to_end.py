"""`lamm bench calibrate` with lamm-mini behind a real server, each in a process of its own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image, ImageChops

from lamm_model.tasks.calibration import Calibration, Scored
from tests.service.running_server import serving

ROOT = Path(__file__).parents[3]
CHECKPOINT = ROOT / "checkpoints/lamm-mini"
CLASSES = ["coat", "bag", "sneaker"]
PRODUCTS = {
    "bag": (0.363, 0.07, 0.707, 0.461),
    "pullover": (0.102, 0.527, 0.402, 0.871),
    "sneaker": (0.457, 0.59, 0.777, 0.727),
}


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serving(CHECKPOINT, engine="torch") as (_, address):
        yield address


def moved(name: str, number: int) -> tuple[Image.Image, float, float]:
    """An example's picture, moved round its edges by some pixels, and the shares of its sides."""
    x, y = number % 8, number // 8
    with Image.open(ROOT / f"examples/{name}.png") as picture:
        return ImageChops.offset(picture, x, y), x / picture.width, y / picture.height


def write_suite(at: Path, seed: int, products: range, coats: range) -> Path:
    """Pictures of the examples; every third coat is called a bag, so that its answer is wrong."""
    at.mkdir()
    rows: dict[str, list[dict[str, Any]]] = {"classification": [], "detection": []}
    for number in coats:
        moved("coat", number)[0].save(at / f"coat-{number}.png")
        target = "bag" if number % 3 == 0 else "coat"
        rows["classification"].append(
            {"id": f"c{number}", "task": "classification", "question": "What is this?",
             "target": target, "image": f"coat-{number}.png", "labels": CLASSES}
        )  # fmt: skip
    for number in products:
        picture, x, y = moved("products", number)
        picture.save(at / f"products-{number}.png")
        boxes = [
            {"label": label, "bbox": [box[0] + x, box[1] + y, box[2] + x, box[3] + y]}
            for label, box in PRODUCTS.items()
        ]
        rows["detection"].append(
            {"id": f"d{number}", "task": "detection", "question": "Where are the items?",
             "target": boxes, "image": f"products-{number}.png", "labels": list(PRODUCTS)}
        )  # fmt: skip
    described = []
    for name, lines in rows.items():
        (at / f"{name}.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
        described.append({"name": name, "task": name, "file": f"{name}.jsonl"})
    suite = {"name": "moved", "rows": described, "provenance": {"seed": seed}}
    (at / "suite.json").write_text(json.dumps(suite))
    return at


def calibrate(url: str, out: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable, "-m", "lamm_model.cli", "bench", "calibrate", "--url", url,
        "--out", str(out), *flags,
    ]  # fmt: skip
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=110, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip


def answered(url: str) -> float:
    """Answers that the server's task routes have given."""
    text = httpx.get(f"{url}/metrics").text
    found = re.findall(r"^lamm:task_answers_total\{.*\} (\S+)$", text, re.MULTILINE)
    return sum(map(float, found))


def kept(out: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in out.rglob("answers.jsonl")}


def test_asks_fits_checks_and_asks_nothing_twice(url: str, tmp_path: Path) -> None:
    fit = write_suite(tmp_path / "fit", 1, range(30), range(60))
    held_out = write_suite(tmp_path / "held-out", 2, range(30, 33), range(60, 66))
    last = write_suite(tmp_path / "last", 3, range(33, 36), range(66, 72))
    flags = ("--fit", str(fit), "--held-out", str(held_out), "--test", str(last))
    out = tmp_path / "out"

    first = calibrate(url, out, *flags)
    assert first.returncode == 0, first.stderr + first.stdout
    digest = httpx.get(f"{url}/v1/models").json()["data"][0]["digest"]
    made = Calibration.beside(out, digest)
    assert made is not None
    assert [(one.name, one.seed) for one in (*made.fit, *made.held_out, *made.test)] == [
        ("moved", 1), ("moved", 2), ("moved", 3),
    ]  # fmt: skip
    for kind in (Scored.ANSWER, Scored.LIKELIHOOD):
        curve = made.curve("classification", kind)
        assert curve is not None
        assert curve.held_out is not None
        assert curve.test is not None
        assert (curve.n, curve.held_out.n, curve.test.n) == (60, 6, 6)
        assert 0 < curve.hits <= 40
    places = made.curve("detection", Scored.PLACE)
    assert places is not None
    assert places.n >= 50
    assert places.test is not None
    assert places.test.ap is not None
    assert set(places.test.ap) == {"ap@0.5", "ap@0.5:0.95"}
    # 30 whole answers are too few.
    assert made.curve("detection", Scored.ANSWER) is None
    assert "detection, answer: 30 scores are too few" in first.stdout
    table = (out / "calibration.md").read_text()
    assert table.count("| classification | likelihood | 60 | 6 |") == 2
    with Image.open(out / "reliability.png") as plot:
        assert min(plot.size) > 200

    before, stored, asked = (out / "calibration.json").read_text(), kept(out), answered(url)
    assert len(stored) == 3
    # 30 + 60, 3 + 6 and 3 + 6 in text; the server does not count answers by likelihood.
    assert asked >= 108
    second = calibrate(url, out, *flags)
    assert second.returncode == 0, second.stderr
    assert (answered(url), kept(out)) == (asked, stored)
    assert (out / "calibration.json").read_text() == before

    both = calibrate(url, tmp_path / "none", "--fit", str(fit), "--test", str(fit))
    assert both.returncode != 0
    assert "90 of 90 test questions are also fit questions" in both.stderr + both.stdout
    assert answered(url) == asked
    assert not (tmp_path / "none/calibration.json").exists()
