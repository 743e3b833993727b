"""Recipes: read strictly, explained in full."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from training.config import LoraRecipe, OptimizerRecipe, Recipe, RecipeError, explain, load_recipe
from training.config import parse_recipe as parse

MINIMAL = {"base": "b", "output": "o", "data": [{"path": "d.json"}]}
RECIPES = sorted((Path(__file__).parents[2] / "training" / "recipes").glob("*.yaml"))


def test_defaults_are_those_of_lamm() -> None:
    recipe = parse(MINIMAL)
    assert (recipe.lora.r, recipe.lora.alpha, recipe.lora.dropout) == (32, 32.0, 0.1)
    assert recipe.lora.target_modules == ("q_proj", "k_proj", "v_proj", "o_proj")
    assert recipe.data[0].root == Path()


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_shipped_recipe_is_valid(path: Path) -> None:
    assert load_recipe(path).output != Path()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batchsize": 3}, r"unknown field batchsize; did you mean batch_size\?"),
        ({"lora": {"rank": 3}}, "unknown field lora.rank"),
        ({"lora": {"droput": 0}}, r"did you mean lora\.dropout\?"),
        ({"data": [{"path": "d", "media_rot": "m"}]}, r"did you mean data\.media_root\?"),
        ({"zzz": 1}, "known: base, output"),
        ({"batch_size": 0}, "batch_size: .*greater than or equal to 1, got 0"),
        ({"batch_size": "many"}, "batch_size: .*'many'"),
        ({"precision": "fp8"}, "precision: .*'fp8'"),
        ({"lora": {"dropout": 1.0}}, "lora.dropout: .*less than 1, got 1.0"),
        ({"lora": {"target_modules": []}}, "lora.target_modules: .*at least 1 item"),
        (
            {"optimizer": {"learning_rate": float("nan")}},
            "learning_rate: .*greater than 0, got nan",
        ),
        ({"optimizer": {"learning_rate": -1}}, "learning_rate: .*greater than 0, got -1"),
        ({"optimizer": {"warmup_ratio": 1}}, "optimizer.warmup_ratio: .*less than 1, got 1"),
        ({"epochs": 0}, "epochs: .*greater than 0, got 0"),
        ({"max_steps": 0}, "max_steps: .*greater than or equal to 1, got 0"),
        ({"epochs": float("inf")}, "epochs: .*finite number, got inf"),
        ({"output": "~/runs/a"}, "output: ~ is not expanded, .*got '~/runs/a'"),
        ({"data": [{"path": "~/d.json"}]}, "data.0.path: ~ is not expanded, .*got '~/d.json'"),
        ({"max_length": 0}, "max_length: .*greater than or equal to 1, got 0"),
        ({"seed": 1 << 64}, "seed: .*less than 18446744073709551616, got 1844"),
        ({"lora": {"alpha": 0}}, "lora.alpha: .*greater than 0, got 0"),
        ({"optimizer": {"beta2": 1}}, "optimizer.beta2: .*less than 1, got 1"),
        ({"optimizer": {"weight_decay": -1}}, "weight_decay: .*greater than or equal to 0, got -1"),
        (
            {"optimizer": {"projector_learning_rate": -1}},
            "projector_learning_rate: .*equal to 0, got -1",
        ),
        ({"data": []}, "data is empty"),
        (
            {"data": [{"path": "d", "repeat": 0}]},
            "data.0.repeat: .*greater than or equal to 1, got 0",
        ),
    ],
)
def test_a_wrong_field_is_named(change: dict[str, object], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        parse(MINIMAL | change)


def test_a_missing_field_is_named() -> None:
    with pytest.raises(RecipeError, match=r"output: .*required"):
        parse({"base": "b", "data": [{"path": "d"}]})


def test_overrides_reach_groups_and_are_yaml(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("base: b\noutput: o\ndata: [{path: d}]\nlora: {r: 8}\n")
    recipe = load_recipe(path, ["lora.alpha=16", "max_steps=7", "optimizer.learning_rate=1e-4"])
    assert (recipe.lora.r, recipe.lora.alpha, recipe.max_steps) == (8, 16.0, 7)
    assert recipe.optimizer.learning_rate == 1e-4
    with pytest.raises(RecipeError, match="expected FIELD=VALUE"):
        load_recipe(path, ["max_steps"])
    with pytest.raises(RecipeError, match="base has no subfields"):
        load_recipe(path, ["base.x=1"])
    with pytest.raises(RecipeError, match=r"override 'data=\[' *: the value is not valid YAML"):
        load_recipe(path, ["data=["])


@pytest.mark.parametrize(("text", "message"), [("[1]", "got list"), ("a: [", "is not valid YAML")])
def test_a_file_that_is_no_recipe(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(text)
    with pytest.raises(RecipeError, match=message):
        load_recipe(path)
    with pytest.raises(RecipeError, match="No such file"):
        load_recipe(tmp_path / "none.yaml")
    path.write_bytes(b"base: \xff")
    with pytest.raises(RecipeError, match=r"not valid YAML: .*utf-8"):
        load_recipe(path)


def test_the_explanation_names_every_field() -> None:
    text = explain()
    for name in (item.name for item in fields(Recipe)):
        assert f"  {name}" in text
    for item in fields(LoraRecipe):
        assert f"  lora.{item.name}" in text
    for item in fields(OptimizerRecipe):
        assert f"  optimizer.{item.name}" in text
