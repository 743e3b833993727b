"""The options of `lamm bench quality` that follow a recipe."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, NonNegativeInt, PositiveInt

from benchmark.commands.options import Argument, ServerOptions, one_of
from benchmark.errors import BenchmarkError
from benchmark.quality.recipe import RECIPES, Decoding, RecipeRun
from benchmark.quality.repetitions import MAX_REPETITIONS

_OWN = ("recipe", "decoding", "seed", "repetitions")


class RecipeOptions(ServerOptions):
    """The exam of another benchmark."""

    heading = "recipe"

    recipe: Annotated[str, one_of(RECIPES), Argument(metavar="NAME")] | None = Field(
        default=None,
        description="ask as someone else's benchmark did, with its system texts, passes, lengths "
        f"and sampling: {', '.join(RECIPES)}",
    )
    decoding: Decoding | None = Field(
        default=None,
        description="with --recipe: sampled as the recipe says, or greedy (default: sampled)",
    )
    seed: NonNegativeInt | None = Field(
        default=None, description="with --recipe: random seed of the sampled answers (default: 0)"
    )
    repetitions: Annotated[PositiveInt, Field(le=MAX_REPETITIONS)] | None = Field(
        default=None,
        description="with --recipe: draw every answer that many times (default: 1)",
    )

    def followed(self, unlike: Mapping[str, bool]) -> RecipeRun | None:
        """How the run asks; None without a recipe.

        `unlike` are other options, and whether each of them is given a value that no recipe allows.

        Raises:
            BenchmarkError: options that need a recipe, or that it cannot follow.
        """
        if self.recipe is None:
            if given := self._given():
                raise BenchmarkError(f"--{' and --'.join(given)} need --recipe")
            return None
        if self.decoding is Decoding.GREEDY and (self.repetitions or 1) > 1:
            raise BenchmarkError("--decoding greedy gives the same answers in all --repetitions")
        if found := [name for name, is_given in unlike.items() if is_given]:
            raise BenchmarkError(f"--recipe {self.recipe} cannot be asked with {', '.join(found)}")
        given = {name: value for name, value in self._given().items() if name != "recipe"}
        return RecipeRun(self.recipe, **given)

    def refuse_recipe(self, why: str) -> None:
        """Refuses all options of recipes.

        Raises:
            BenchmarkError: one of them is given.
        """
        if given := self._given():
            raise BenchmarkError(f"--{' and --'.join(given)} cannot be used with {why}")

    def _given(self) -> dict[str, Any]:
        values = {name: getattr(self, name) for name in _OWN}
        return {name: value for name, value in values.items() if value is not None}
