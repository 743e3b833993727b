"""lamm-mini's records: what is held out is not what is trained on, and media fit what is said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from training.mini import corpus, data_cli
from training.mini.mixture import Mixture
from training.mini.sources import Split
from training.mini.writers.instruction_records import write_records

# Drawings and talk need no pool of a split: nothing but the draw tells one split from the other.
DRAWN = Mixture(words=0.0, look_ups=0.0, drawn=0.59)


def test_no_test_record_is_a_training_record(pools: corpus.Pools, tmp_path: Path) -> None:
    splits: list[list[dict[str, Any]]] = []
    pictures: list[set[bytes]] = []
    names: tuple[Split, Split] = ("train", "test")
    for split in names:
        path = write_records(pools, tmp_path, 40, 3, split, DRAWN)
        splits.append(json.loads(path.read_text()))
        named = [record["image"] for record in splits[-1] if "image" in record]
        pictures.append({(tmp_path / name).read_bytes() for name in named})
    assert all(pictures)
    assert not pictures[0] & pictures[1]
    said = [[record["conversations"] for record in records] for records in splits]
    assert not [one for one, other in zip(*said, strict=True) if one == other]


@pytest.mark.parametrize("change", [{"seed": 4}, {"mixture": Mixture()}])
def test_media_of_other_records_are_not_kept(
    pools: corpus.Pools, tmp_path: Path, change: dict[str, Any]
) -> None:
    wanted: dict[str, Any] = {"seed": 3, "mixture": DRAWN} | change
    write_records(pools, tmp_path / "used", 20, 3, "train", DRAWN)
    for out in ("used", "fresh"):
        write_records(pools, tmp_path / out, 20, split="train", **wanted)
    records = json.loads((tmp_path / "used" / "train.json").read_text())
    assert records == json.loads((tmp_path / "fresh" / "train.json").read_text())
    for name in (record.get("image") or record.get("pcl") for record in records):
        if name is not None:
            used, fresh = tmp_path / "used" / name, tmp_path / "fresh" / name
            assert used.read_bytes() == fresh.read_bytes(), name


def test_what_is_there_already_is_not_written_again(pools: corpus.Pools, tmp_path: Path) -> None:
    write_records(pools, tmp_path, 10, 3, "train", DRAWN)
    before = {path: path.stat().st_ino for path in (tmp_path / "train_media").rglob("*.png")}
    assert before
    write_records(pools, tmp_path, 10, 3, "train", DRAWN)
    assert {path: path.stat().st_ino for path in before} == before


def test_a_folder_that_cannot_be_written_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(_: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(data_cli, "fetch", full)
    assert data_cli.fetch_sources(["--sources", str(tmp_path)]) == 1
    assert "lamm data fetch: [Errno 28] No space left on device" in capsys.readouterr().err
