"""`lamm train`, `lamm data` and `lamm model` as a user meets them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lamm_model.checkpoint.cli import model
from lamm_model.checkpoint.load import load_model
from lamm_model.spec import CheckpointSpec
from training.cli import data, train
from training.config import DataSource

SMOKE = Path(__file__).parents[2] / "training" / "recipes" / "smoke.yaml"


def test_the_smoke_recipe_trains_merges_and_loads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert train(["--config", str(SMOKE), "--device", "cpu"]) == 0
    out = capsys.readouterr().out
    assert "next: lamm model merge --base runs/smoke/tiny/base --adapter runs/smoke/adapter" in out
    provenance = json.loads(Path("runs/smoke/adapter/provenance.json").read_text())
    assert provenance["losses"]["validation"] < 0.1
    command = "merge --base runs/smoke/tiny/base --adapter runs/smoke/adapter --out merged"
    assert model(command.split()) == 0
    spec = CheckpointSpec.from_pretrained("merged")
    assert spec.provenance["dtype"] == "float16"
    assert spec.digest in capsys.readouterr().out
    assert str(load_model("merged").dtype) == "torch.float16"
    assert model(command.split()) == 1
    assert "merged already exists" in capsys.readouterr().err
    assert model(["inspect", "merged"]) == 0
    out = capsys.readouterr().out
    for text in (spec.digest, "F16", "32 x 32 pixels -> 4 tokens", "64 points", "512 tokens"):
        assert text in out


def test_the_help_teaches_every_field(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        train(["--help"])
    out = capsys.readouterr().out
    for text in (
        "optimizer.warmup_ratio = 0.05",
        "data[].media_root",
        "metrics.jsonl",
        "--restart",
    ):
        assert text in out


@pytest.mark.parametrize(
    ("overrides", "status", "message"),
    [
        (["max_stepz=3"], 2, "did you mean max_steps?"),
        (["base=/nowhere", "data=[{path: none.json}]"], 1, "directory not found"),
        (["data=[{path: none.json}]"], 1, "none.json: No such file"),
        (["precision=fp16"], 1, "precision fp16 needs CUDA, not cpu"),
    ],
)
def test_a_refusal_is_one_line_and_a_status(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    overrides: list[str],
    status: int,
    message: str,
) -> None:
    options = [f"--set={text}" for text in (f"output={tmp_path / 'run'}", *overrides)]
    assert train(["--config", str(SMOKE), "--device", "cpu", *options]) == status
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        (["--device", "gpu"], 2, "--device 'gpu' is not available; available: cpu and"),
        (["--device", "cuda:99"], 2, "--device 'cuda:99' is not available"),
        (["--device", "cpu", "--set", "data=["], 2, "the value is not valid YAML"),
        (["--device", "cpu", "--set", "output=FILE/run"], 1, "Not a directory"),
    ],
)
def test_what_the_command_line_cannot_mean_is_one_line_too(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    status: int,
    message: str,
) -> None:
    (tmp_path / "file").touch()
    options = [text.replace("FILE", str(tmp_path / "file")) for text in options]
    default = f"--set=output={tmp_path / 'run'}"
    assert train(["--config", str(SMOKE), default, *options]) == status
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_threads_are_at_least_one(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        train(["--config", str(SMOKE), "--threads", "0"])
    assert "0 is less than 1" in capsys.readouterr().err


def test_data_check_lists_bad_records_and_writes_the_good(
    tmp_path: Path, tiny_base: Path, tiny_source: DataSource, capsys: pytest.CaptureFixture[str]
) -> None:
    records = json.loads(tiny_source.path.read_text())
    (tiny_source.root / "broken.png").write_bytes(b"rubbish")
    bad = [
        {"id": "cut", "conversations": records[0]["conversations"][:1]},
        records[0] | {"id": "gone", "image": "gone.png"},
        records[0] | {"id": "broken", "image": "broken.png"},
    ]
    file, clean = tmp_path / "all.json", tmp_path / "clean.json"
    file.write_text(json.dumps(records + bad))
    options = ["--media-root", str(tiny_source.root), "--out", str(clean)]
    assert data(["check", str(file), "--base", str(tiny_base), *options]) == 1
    out = capsys.readouterr().out
    for text in ("(id 'cut')", "(id 'gone')", "(id 'broken')", "20 good records, 3 bad"):
        assert text in out
    assert json.loads(clean.read_text()) == records
    assert data(["check", str(clean), "--media-root", str(tiny_source.root)]) == 0


def test_data_help_lists_its_commands(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        data(["--help"])
    assert "check" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        data(["no-such-command"])
