"""What learns and what does not, and that the arithmetic of a step is right."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from lamm_model.checkpoint.load import load_model
from lamm_model.checkpoint.merge import merge
from lamm_model.modeling import LammForConditionalGeneration
from lamm_model.processing import LammProcessor
from lamm_model.spec import CheckpointError
from tests.lamm_model.checkpoint.attached import attach
from training.config import DataSource, LoraRecipe, Recipe, RecipeError
from training.data.collator import collate
from training.data.dataset import InstructionDataset
from training.export import prepare_model, trainable_parameters
from training.loss import TrainingError
from training.metrics_log import read_metrics
from training.run import run
from training.run_state import seed_everything
from training.trainer import Trainer

CPU = torch.device("cpu")
MakeRecipe = Callable[..., Recipe]


def make_trainer(
    recipe: Recipe, source: DataSource
) -> tuple[Trainer, LammForConditionalGeneration, InstructionDataset]:
    base = Path(recipe.base)
    data = InstructionDataset([source], LammProcessor.from_pretrained(base), 512)
    seed_everything(recipe.seed)
    model = load_model(base, torch.float32)
    config = prepare_model(model, recipe.lora, recipe.precision, recipe.gradient_checkpointing)
    return Trainer(recipe, model, config, data, data, CPU, {}), model, data


def losses(recipe: Recipe) -> list[float]:
    return [line["loss"] for line in read_metrics(recipe.output) if "loss" in line]


def test_only_lora_and_projectors_learn_and_encoders_stay_in_eval(
    make_recipe: MakeRecipe, tiny_source: DataSource
) -> None:
    trainer, model, _ = make_trainer(make_recipe(), tiny_source)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    modes: list[bool] = []
    for tower in (model.vision_tower, model.point_tower):
        assert isinstance(tower, nn.Module)
        tower.register_forward_hook(lambda module, *_: modes.append(module.training))
    trainer.train()
    assert modes
    assert not any(modes)
    assert model.language_model.training
    changed = {n for n, tensor in model.state_dict().items() if not tensor.equal(before[n])}
    assert changed == set(trainable_parameters(model))
    # Two layers with LoRA's A and B on q, k, v and o; two projectors with weight and bias.
    assert len(changed) == 2 * 2 * 4 + 2 * 2


def test_lora_goes_to_the_language_model_alone(tiny_base: Path) -> None:
    model = load_model(tiny_base)
    prepare_model(model, LoraRecipe(r=2), "fp32", checkpointing=False)
    names = [name for name in trainable_parameters(model) if "lora" in name]
    assert all(name.startswith("language_model.model.layers.") for name in names)
    assert {name.split(".")[5] for name in names} == {"q_proj", "k_proj", "v_proj", "o_proj"}


def test_a_target_that_matches_nothing_is_refused(tiny_base: Path) -> None:
    recipe = LoraRecipe(target_modules=("q_proj", "query"))
    with pytest.raises(CheckpointError, match=r"targets query match no linear layer.*q_proj"):
        prepare_model(load_model(tiny_base), recipe, "fp32", checkpointing=False)


def test_accumulated_batches_make_the_step_of_one_batch(
    make_recipe: MakeRecipe, tiny_source: DataSource
) -> None:
    results, weights = [], []
    for cut in ([[0, 1, 2, 10, 11]], [[0, 1], [2, 10, 11]], [[0], [1], [2], [10], [11]]):
        trainer, model, data = make_trainer(make_recipe(lora={"r": 4, "dropout": 0.0}), tiny_source)
        results.append(trainer.train_step([collate([data[i] for i in part]) for part in cut]))
        weights.append([p.detach().clone() for p in trainable_parameters(model).values()])
    for result, weight in zip(results[1:], weights[1:], strict=True):
        assert result.loss == pytest.approx(results[0].loss, rel=1e-5)
        assert result.grad_norm == pytest.approx(results[0].grad_norm, rel=1e-4)
        assert result.tokens == results[0].tokens
        for one, other in zip(weight, weights[0], strict=True):
            torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_records(
    make_recipe: MakeRecipe, tiny_source: DataSource
) -> None:
    trainer, model, data = make_trainer(make_recipe(), tiny_source)
    with torch.no_grad():
        model.language_model.lm_head.weight.fill_(float("nan"))
    with pytest.raises(
        TrainingError, match=r"loss of step 1 is nan.*\n.*record 3 \(id 'picture-3'"
    ):
        trainer.train_step([collate([data[3]])])


@pytest.mark.parametrize(
    "change",
    [{"gradient_checkpointing": True}, {"workers": 1}],
    ids=lambda change: next(iter(change)),
)
def test_options_that_must_not_change_the_losses(
    make_recipe: MakeRecipe, tmp_path: Path, change: dict[str, Any]
) -> None:
    plain = make_recipe()
    other = make_recipe(output=str(tmp_path / "other"), **change)
    run(plain, CPU)
    run(other, CPU)
    assert losses(other) == pytest.approx(losses(plain), rel=1e-5)


def test_cached_features_train_as_encoders_do(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    plain = make_recipe(max_steps=6)
    cached = make_recipe(
        max_steps=6, output=str(tmp_path / "other"), cache_features=str(tmp_path / "features")
    )
    run(plain, CPU)
    run(cached, CPU)
    assert losses(cached) == pytest.approx(losses(plain), rel=2e-3)
    assert list((tmp_path / "features").rglob("*.npy"))


def test_bf16_trains_close_to_fp32(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    plain, half = make_recipe(), make_recipe(output=str(tmp_path / "half"), precision="bf16")
    run(plain, CPU)
    run(half, CPU)
    assert losses(half) == pytest.approx(losses(plain), rel=0.05)
    assert losses(half) != losses(plain)


def test_fp16_is_refused_without_cuda(make_recipe: MakeRecipe) -> None:
    with pytest.raises(RecipeError, match="precision fp16 needs CUDA, not cpu"):
        run(make_recipe(precision="fp16"), CPU)


def test_a_run_leaves_metrics_checkpoints_and_provenance(make_recipe: MakeRecipe) -> None:
    recipe = make_recipe(max_steps=5, save_every=2, eval_every=2, log_every=1, keep_last=2)
    recipe_with_validation = make_recipe(
        max_steps=5,
        save_every=2,
        eval_every=2,
        log_every=1,
        keep_last=2,
        validation=[{"path": str(recipe.data[0].path)}],
    )
    adapter = run(recipe_with_validation, CPU)
    folder = recipe.output
    assert sorted(p.name for p in (folder / "checkpoints").iterdir()) == [
        "step-00000004",
        "step-00000005",
    ]
    assert list((folder / "tensorboard").glob("events.*"))
    lines = read_metrics(folder)
    assert [line["step"] for line in lines if "validation_loss" in line] == [2, 4, 5]
    assert len(losses(recipe)) == 5
    provenance = json.loads((adapter / "provenance.json").read_text())
    assert provenance["base"]["digest"] == LammProcessor.from_pretrained(recipe.base).spec.digest
    assert provenance["data"]["records"] == 20
    assert len(next(iter(provenance["data"]["sha256"].values()))) == 64
    assert (provenance["step"], provenance["seed"]) == (5, 0)
    assert provenance["losses"]["last"] == losses(recipe)[-1]
    assert provenance["losses"]["validation"] == lines[-1]["validation_loss"]
    assert json.loads((adapter / "adapter_config.json").read_text())["peft_type"] == "LORA"


def test_epochs_set_the_number_of_steps(make_recipe: MakeRecipe, tiny_source: DataSource) -> None:
    recipe = make_recipe(max_steps=None, epochs=1.5, batch_size=3, gradient_accumulation=2)
    assert make_trainer(recipe, tiny_source)[0].total_steps == 6  # 7 batches an epoch
    recipe = make_recipe(max_steps=None, epochs=1.1, batch_size=2)
    many = DataSource(path=tiny_source.path, repeat=11)
    assert make_trainer(recipe, many)[0].total_steps == 121  # 1.1 * 110 is a hair more in binary


def test_a_projector_rate_of_zero_leaves_the_projectors_alone(
    make_recipe: MakeRecipe, tiny_source: DataSource
) -> None:
    recipe = make_recipe(optimizer={"learning_rate": 1e-2, "projector_learning_rate": 0})
    trainer, model, data = make_trainer(recipe, tiny_source)
    before = {n: p.detach().clone() for n, p in trainable_parameters(model).items()}
    trainer.train_step([collate([data[0], data[10]])])
    changed = {n for n, p in trainable_parameters(model).items() if not p.equal(before[n])}
    assert changed
    assert not [name for name in changed if "projector" in name]


def test_four_samples_are_learnt_by_heart_and_said_again(
    make_recipe: MakeRecipe, tiny_source: DataSource, tmp_path: Path
) -> None:
    records = json.loads(tiny_source.path.read_text())
    four = [records[0], records[1], records[10], records[11]]
    path = tmp_path / "four.json"
    path.write_text(json.dumps(four))
    recipe = make_recipe(
        data=[{"path": str(path), "media_root": str(tiny_source.root)}],
        batch_size=4,
        max_steps=120,
        lora={"r": 16, "alpha": 32, "dropout": 0.0},
        optimizer={"learning_rate": 1e-2},
    )
    adapter = run(recipe, CPU)
    assert losses(recipe)[-1] < 0.05
    merged = tmp_path / "merged"
    merge(Path(recipe.base), adapter, merged, torch.float32)
    model, processor = load_model(merged), LammProcessor.from_pretrained(merged)
    data = InstructionDataset([*recipe.data], processor, 512)
    for index in range(4):
        example = data[index]
        trained = (example.labels != -100).nonzero()[0]
        gap = next((i for i in range(1, len(trained)) if trained[i] != trained[i - 1] + 1), None)
        answer = example.labels[trained[:gap]].tolist()
        batch = collate([example])
        output = model.generate(  # type: ignore[misc] # a mixin whose self is a protocol
            input_ids=batch.input_ids[:, : int(trained[0])],
            pixel_values=batch.pixel_values,
            points=batch.points,
            max_new_tokens=len(answer),
            do_sample=False,
        )
        assert processor.decode(output[0, -len(answer) :].tolist()) == processor.decode(answer)


def test_an_adapter_in_training_equals_the_attached_one(make_recipe: MakeRecipe) -> None:
    recipe = make_recipe()
    adapter = run(recipe, CPU)
    attached = attach(Path(recipe.base), adapter)
    newest = attach(Path(recipe.base), recipe.output / "checkpoints" / "step-00000004")
    for (name, one), other in zip(
        attached.state_dict().items(), newest.state_dict().values(), strict=True
    ):
        assert one.equal(other), name
