"""A run that is killed and started again makes the losses of one that never was."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from training import metrics_log
from training.config import DataSource, Recipe, RecipeError
from training.data.dataset import DatasetError, InstructionDataset
from training.loss import TrainingError
from training.metrics_log import MetricsLog, read_metrics
from training.run import run
from training.run_state import checkpoints, load_state, save_state
from training.tiny import make_tiny_base

ROOT = Path(__file__).parents[2]
CPU = torch.device("cpu")
MakeRecipe = Callable[..., Recipe]
STEPS = 60


def curve(folder: Path) -> list[tuple[int, float, float]]:
    return [
        (line["step"], line["loss"], line["grad_norm"])
        for line in read_metrics(folder)
        if "loss" in line
    ]


def start(config: Path) -> subprocess.Popen[bytes]:
    program = "import sys; from training.cli import train; sys.exit(train(sys.argv[1:]))"
    return subprocess.Popen(
        [
            sys.executable,
            "-c",
            program,
            "--config",
            str(config),
            "--device",
            "cpu",
            "--threads",
            "1",
        ],
        cwd=ROOT,
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_killed_run_gives_the_same_losses_bit_for_bit(
    make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    # Two batches of 3 of 20 records a step: the kill falls within an epoch, and dropout draws.
    settings = {
        "max_steps": STEPS,
        "save_every": 4,
        "batch_size": 3,
        "gradient_accumulation": 2,
        "lora": {"r": 4, "dropout": 0.2},
    }
    whole, killed = (
        make_recipe(**settings),
        make_recipe(**settings, output=str(tmp_path / "killed")),
    )
    config = tmp_path / "recipe.yaml"
    config.write_text(yaml.safe_dump(killed.as_json()))
    with start(config) as victim:
        run(whole, CPU)
        while len(curve(killed.output)) < 11 and victim.poll() is None:
            time.sleep(0.02)
        victim.send_signal(signal.SIGKILL)
        assert victim.wait() == -signal.SIGKILL, "the run ended before it could be killed"
    steps_made = len(curve(killed.output))
    assert 11 <= steps_made < STEPS
    assert len(checkpoints(killed.output / "checkpoints")) == 2
    run(killed, CPU)
    assert len(curve(whole.output)) == STEPS
    assert curve(killed.output) == curve(whole.output)
    weights = "adapter/adapter_model.safetensors"
    assert (killed.output / weights).read_bytes() == (whole.output / weights).read_bytes()


class Stopped(Exception):
    """Stands for a kill at a chosen place."""


@pytest.mark.parametrize("stop_at", [7, 23])
def test_a_stop_anywhere_in_an_epoch_is_made_good(
    make_recipe: MakeRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop_at: int
) -> None:
    settings = {"max_steps": 10, "save_every": 3, "batch_size": 3, "lora": {"r": 4, "dropout": 0.2}}
    whole = make_recipe(**settings)
    broken = make_recipe(**settings, output=str(tmp_path / "broken"))
    run(whole, CPU)
    reads = 0
    read = InstructionDataset.__getitem__

    def failing(self: InstructionDataset, index: int) -> object:
        nonlocal reads
        reads += 1
        if reads > stop_at:
            raise Stopped
        return read(self, index)

    monkeypatch.setattr(InstructionDataset, "__getitem__", failing)
    with pytest.raises(Stopped):
        run(broken, CPU)
    monkeypatch.undo()
    run(broken, CPU)
    assert curve(broken.output) == curve(whole.output)


def test_a_finished_run_only_writes_its_adapter_again(make_recipe: MakeRecipe) -> None:
    recipe = make_recipe()
    adapter = run(recipe, CPU)
    before, weights = curve(recipe.output), (adapter / "adapter_model.safetensors").read_bytes()
    run(recipe, CPU)
    assert curve(recipe.output) == before
    assert (adapter / "adapter_model.safetensors").read_bytes() == weights


def test_half_a_checkpoint_is_not_one(make_recipe: MakeRecipe) -> None:
    recipe = make_recipe(max_steps=4, save_every=2)
    run(recipe, CPU)
    before = curve(recipe.output)
    folder = recipe.output / "checkpoints"
    (folder / ".step-00000009.writing").mkdir()
    with (recipe.output / "metrics.jsonl").open("a") as file:
        file.write('{"step": 5, "loss"')
    assert [path.name for path in checkpoints(folder)] == ["step-00000002", "step-00000004"]
    run(recipe, CPU)
    assert curve(recipe.output) == before


def test_another_recipe_is_refused_until_restarted(make_recipe: MakeRecipe) -> None:
    first = make_recipe()
    run(first, CPU)
    changed = make_recipe(seed=1, log_every=1)
    with pytest.raises(
        RecipeError, match=r"another recipe \(seed: 0 in the run, 1 in the recipe\).*--restart"
    ):
        run(changed, CPU)
    before = curve(first.output)
    run(changed, CPU, restart=True)
    assert _seed(changed) == 1
    assert len(curve(first.output)) == len(before)
    assert curve(first.output) != before


def test_a_start_that_failed_binds_nobody_to_its_recipe(
    make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    with pytest.raises(DatasetError, match="No such file"):
        run(make_recipe(data=[{"path": str(tmp_path / "tpyo.json")}]), CPU)
    run(make_recipe(), CPU)


@pytest.mark.parametrize("what", ["base", "data"])
def test_what_a_recipe_names_must_still_be_what_it_was(
    make_recipe: MakeRecipe, tiny_source: DataSource, tmp_path: Path, what: str
) -> None:
    base, records = tmp_path / "base", tmp_path / "records.json"
    make_tiny_base(base)
    records.write_text(tiny_source.path.read_text())
    source = {"path": str(records), "media_root": str(tiny_source.root)}
    recipe = make_recipe(base=str(base), data=[source])
    adapter = run(recipe, CPU)
    provenance = (adapter / "provenance.json").read_bytes()
    if what == "base":
        make_tiny_base(base, seed=5)
    else:
        records.write_text(json.dumps(json.loads(records.read_text())[:-1]))
    with pytest.raises(TrainingError, match=rf"trained on another {what} .*--restart"):
        run(recipe, CPU)
    # Nor does the adapter now claim to belong to what came later.
    assert (adapter / "provenance.json").read_bytes() == provenance
    run(recipe, CPU, restart=True)


def test_restart_deletes_a_run_and_nothing_else(make_recipe: MakeRecipe) -> None:
    recipe = make_recipe()
    mine = recipe.output / "checkpoints" / "my-model"
    mine.mkdir(parents=True)
    with pytest.raises(
        RecipeError, match=r"is not a run's folder; --restart would delete .*/checkpoints"
    ):
        run(recipe, CPU, restart=True)
    assert mine.is_dir()


def test_restart_goes_on_from_nothing_that_it_could_not_delete(
    make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    recipe = make_recipe(max_steps=2)
    run(recipe, CPU)
    (recipe.output / "checkpoints").rename(tmp_path / "big-disk")
    (recipe.output / "checkpoints").symlink_to(tmp_path / "big-disk")
    with pytest.raises(OSError, match="symbolic link"):
        run(recipe, CPU, restart=True)


_HOLD = (
    "import fcntl, sys; held = open(sys.argv[1], 'w'); fcntl.lockf(held, fcntl.LOCK_EX); "
    "print(flush=True); input()"
)


def test_a_second_run_keeps_out_of_the_folder(make_recipe: MakeRecipe) -> None:
    recipe = make_recipe(max_steps=2)
    run(recipe, CPU)
    command = [sys.executable, "-c", _HOLD, str(recipe.output / "run.lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        for restart in (False, True):
            with pytest.raises(RecipeError, match="in use by another training process"):
                run(recipe, CPU, restart=restart)
        other.kill()
    assert checkpoints(recipe.output / "checkpoints")
    run(recipe, CPU)


def test_a_full_disk_is_told_and_leaves_what_was_saved(
    make_recipe: MakeRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = make_recipe(max_steps=4, save_every=2)
    whole = make_recipe(max_steps=4, save_every=2, output=f"{recipe.output}-whole")
    run(whole, CPU)
    saved: list[Path] = []

    def full(folder: Path, *rest: Any) -> None:
        saved.append(folder)
        if len(saved) == 2:
            raise SafetensorError("I/O error: No space left on device (os error 28)")
        save_state(folder, *rest)

    monkeypatch.setattr("training.trainer.save_state", full)
    with pytest.raises(TrainingError, match=r"step-00000004 cannot be written: .*No space left"):
        run(recipe, CPU)
    assert [p.name for p in (recipe.output / "checkpoints").iterdir()] == ["step-00000002"]
    monkeypatch.undo()
    run(recipe, CPU)
    assert curve(recipe.output) == curve(whole.output)


def test_a_checkpoint_moves_to_a_machine_of_more_devices(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))])
    save_state(tmp_path, optimizer, {"step": 3})
    generators = load_file(tmp_path / "generators.safetensors")
    restored: list[int] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda _, index: restored.append(index))
    assert load_state(tmp_path, optimizer) == {"step": 3}
    generators["cuda0"] = generators["cpu"].clone()
    save_file(generators, tmp_path / "generators.safetensors")
    assert load_state(tmp_path, optimizer) == {"step": 3}
    assert restored == [0]


def test_a_run_begun_again_clears_the_curve_of_the_lost_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    purged: list[int | None] = []

    class Board:
        def __init__(self, _: str, purge_step: int | None) -> None:
            purged.append(purge_step)

        def close(self) -> None: ...

    monkeypatch.setattr(metrics_log, "SummaryWriter", Board)
    for step in (0, 3):
        log = MetricsLog(tmp_path, step)
        log.write(step + 1, scalars=False, loss=1.0, grad_norm=float("inf"))
        log.close()
    assert purged == [1, 4]
    text = (tmp_path / "metrics.jsonl").read_text()
    assert [json.loads(line) for line in text.splitlines()] == [
        {"step": 1, "loss": 1.0, "grad_norm": None},
        {"step": 4, "loss": 1.0, "grad_norm": None},
    ]


def _seed(recipe: Recipe) -> int:
    seed: int = json.loads((recipe.output / "adapter" / "provenance.json").read_text())["seed"]
    return seed
