"""What a suite asks: each row's questions under controls, by a recipe, or with examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from benchmark.quality.asker import Exam
from benchmark.quality.controls import Control, Question, questions_of
from benchmark.quality.examples import NO_EXAMPLES, ExamplePlan
from benchmark.quality.identity import Mode
from benchmark.quality.recipe import RecipeRun
from benchmark.quality.targets import asks_as_chef
from benchmark.suite import Suite, SuiteRow

_Kinds = Mapping[Control | None, tuple[Question, ...]]


def exams_of(
    suite: Suite,
    controls: Sequence[Control],
    recipe: RecipeRun | None,
    mode: Mode = Mode.TEXT,
    plan: ExamplePlan = NO_EXAMPLES,
) -> tuple[Exam, ...]:
    """Each row's questions in the suite's order, once per repetition of the recipe.

    Controls are asked in the first repetition only. `plan` draws the examples of mode `chef`.

    Raises:
        BenchmarkError: a row has too few records for its examples.
    """
    if recipe is None:
        return (
            tuple(
                _with_examples(row, questions_of(row, controls), mode, plan) for row in suite.rows
            ),
        )
    return tuple(
        tuple(_by_recipe(row, () if number else controls, recipe, number) for row in suite.rows)
        for number in range(recipe.repetitions)
    )


def _by_recipe(
    row: SuiteRow, controls: Sequence[Control], recipe: RecipeRun, repetition: int
) -> _Kinds:
    return {
        control: tuple(
            replace(question, asked=recipe.asked(row, question.item, repetition))
            for question in questions
        )
        for control, questions in questions_of(row, controls).items()
    }


def _with_examples(row: SuiteRow, kinds: _Kinds, mode: Mode, plan: ExamplePlan) -> _Kinds:
    """The questions of a row, with examples where the options are ranked as in ChEF."""
    if not plan.count or not any(asks_as_chef(question, mode) for question in kinds[None]):
        return kinds
    examples = plan.examples_of(row)
    return {
        control: tuple(
            replace(question, examples=examples[question.item.sample.id])
            if asks_as_chef(question, mode)
            else question
            for question in questions
        )
        for control, questions in kinds.items()
    }
