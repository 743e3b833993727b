"""In-context examples: ChEF's draws, but never the asked record."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmark.errors import BenchmarkError
from benchmark.quality.examples import ExamplePlan, refuse_encoders
from benchmark.suite import Item, SuiteRow
from lamm_model.tasks import TASKS, Sample

RECORDED: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[1] / "protocols" / "chef_values.json").read_text()
)["retrieval"]


def row(size: int) -> SuiteRow:
    task = TASKS["classification"]
    items = []
    for number in range(size):
        record = {"id": f"s{number}", "task": "classification", "question": "?", "target": "dog"}
        sample = Sample.model_validate({**record, "labels": ["dog", "cat"]})
        inputs, target = task.read_sample(sample)
        items.append(Item("animals", sample, task, inputs, target, None))
    return SuiteRow("animals", task, "accuracy", None, None, tuple(items), ())


def positions(found: tuple[Item, ...]) -> list[int]:
    return [int(item.sample.id[1:]) for item in found]


@pytest.mark.parametrize("recorded", RECORDED)
@pytest.mark.parametrize("retriever", ["fixed", "random"])
def test_examples_are_those_that_chef_draws_except_the_asked_one(
    recorded: dict[str, Any], retriever: str
) -> None:
    plan = ExamplePlan(recorded["k"], retriever, seed=1)
    drawn = plan.examples_of(row(recorded["n"]))
    replaced = 0
    for number, expected in enumerate(recorded[retriever]):
        ours = positions(drawn[f"s{number}"])
        assert len(set(ours)) == recorded["k"]
        assert number not in ours
        if number in expected:
            replaced += 1
            kept = [position for position in ours if position in expected]
            assert len(kept) == recorded["k"] - 1
        else:
            assert ours == expected
    assert replaced > 0 or recorded["n"] > 20


def test_another_seed_draws_others() -> None:
    first, second = (ExamplePlan(3, "random", seed).examples_of(row(30)) for seed in (1, 2))
    assert first != second
    assert first == ExamplePlan(3, "random", 1).examples_of(row(30))


def test_a_row_needs_more_records_than_examples() -> None:
    with pytest.raises(BenchmarkError, match="row animals has 3 records; 3 examples need at least"):
        ExamplePlan(3, "fixed").examples_of(row(3))
    assert len(ExamplePlan(3, "fixed").examples_of(row(4))) == 4
    assert ExamplePlan(0).examples_of(row(3)) == {}


def test_retrievers_by_similarity_are_refused_with_their_encoder() -> None:
    with pytest.raises(ValueError, match="topk_text needs the encoder all-mpnet-base-v2"):
        refuse_encoders("topk_text")
    assert refuse_encoders("random") == "random"
