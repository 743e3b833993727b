"""A run that is killed and started again makes the losses of one that never was."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
import yaml

from training.config import Recipe, RecipeError
from training.data.dataset import InstructionDataset
from training.metrics_log import read_metrics
from training.run import run
from training.run_state import checkpoints

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


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Sums are bit-equal only when they are cut alike."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.usefixtures("one_thread")
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


@pytest.mark.usefixtures("one_thread")
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
    with pytest.raises(RecipeError, match=r"another recipe \(seed: 0 there, 1 here\).*--restart"):
        run(changed, CPU)
    before = curve(first.output)
    run(changed, CPU, restart=True)
    assert _seed(changed) == 1
    assert len(curve(first.output)) == len(before)
    assert curve(first.output) != before


def _seed(recipe: Recipe) -> int:
    seed: int = json.loads((recipe.output / "adapter" / "provenance.json").read_text())["seed"]
    return seed
