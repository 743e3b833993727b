"""The options of `lamm bench quality`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, PositiveInt

from benchmark.commands.options import Argument, one_of
from benchmark.commands.recipe_options import RecipeOptions
from benchmark.errors import BenchmarkError
from benchmark.http.client import Backend
from benchmark.quality.controls import Control
from benchmark.quality.examples import MAX_EXAMPLES, ExamplePlan, Retriever, refuse_encoders
from benchmark.quality.identity import Mode, ModelIdentity
from benchmark.quality.protocol_scores import CHEF_PROTOCOLS, DEFAULT_PROTOCOLS, PROTOCOLS
from benchmark.quality.recipe import RecipeRun
from benchmark.quality.run import RUN_FILE, answers_file
from lamm_model.tasks.dialects.base import Frame
from lamm_model.tasks.dialects.manner import DIALECT_NAMES, LAMM, Manner

# Options that have no meaning for answers from files.
_OF_SERVERS = frozenset(
    {
        "api_key",
        "backend",
        "concurrency",
        "control",
        "max_tokens",
        "mode",
        "rescore",
        "through",
        "timeout",
        "url",
    }
)


class QualityOptions(RecipeOptions):
    """Options of `lamm bench quality`."""

    heading = "questions and answers"

    suite: Annotated[str | None, Argument(metavar="NAME")] = Field(
        default=None,
        description="'mini', or the directory of a suite; with --data a part of it: all, 2d, 3d or "
        "a task (default: all of --data if given, else mini)",
    )
    data: Annotated[Path | None, Argument(metavar="ROOT")] = Field(
        default=None,
        description="directory with 2D_Benchmark or 3D_Benchmark in the published layout, or the "
        "directory of a suite",
    )
    limit: PositiveInt | None = Field(
        default=None,
        description="ask only N records per row: the first N of a suite, a seeded sample of a "
        "published file",
    )
    concurrency: PositiveInt = Field(default=8, description="questions in flight at once")
    out: Annotated[Path, Argument(metavar="DIR")] = Field(
        default=Path("results/quality"), description="directory of answers and reports"
    )
    backend: Backend = Field(
        default=Backend.LAMM,
        description="lamm, or openai-chat for any other server with that API: sends standard "
        "fields only, and no point clouds",
    )
    through: Literal["requests", "batch"] = Field(
        default="requests",
        description="send --concurrency requests at once, or files to /v1/batches",
    )
    dialect: Annotated[str, one_of(DIALECT_NAMES), Argument(metavar="NAME")] = Field(
        default=LAMM,
        description="how the model writes places; lamm reads free text, auto finds out each "
        f"answer's notation; {', '.join(DIALECT_NAMES)}",
    )
    frame: Frame | None = Field(
        default=None,
        description="what the model's coordinates in a picture are parts of (default: what the "
        "dialect says)",
    )
    y_first: bool = Field(default=False, description="the model writes y before x")
    max_tokens: PositiveInt | None = Field(
        default=None,
        description="limit of every answer that the model writes, thoughts included (default: that "
        "of its task)",
    )
    mode: Mode = Field(
        default=Mode.TEXT,
        description="text: the words of the suite. likelihood: multiple-choice and closed-set "
        "questions by the most likely option, through /v1/tasks. chef: the same with ChEF's "
        "prompts, answer texts and means per token, through /v1/likelihoods. task: the tasks' own "
        "words, and the scores of the answers are kept, through /v1/tasks",
    )
    examples: Annotated[int, Field(ge=0, le=MAX_EXAMPLES)] = Field(
        default=0,
        description="with --mode chef: in-context examples before each ranked question, other "
        f"records of its row; at most {MAX_EXAMPLES}",
    )
    retriever: Annotated[Retriever, BeforeValidator(refuse_encoders)] = Field(
        default=Retriever.RANDOM,
        description="with --examples: random draws them for each question, fixed once for a row",
    )
    examples_seed: Annotated[int, Field(ge=0, lt=1 << 32)] = Field(
        default=1, description="random seed of the examples"
    )
    control: Annotated[tuple[Control, ...], Argument(action="append")] = Field(
        default=(), description="ask everything again under a blind control; may be repeated"
    )
    protocol: Annotated[
        tuple[Annotated[str, one_of(PROTOCOLS)], ...], Argument(action="append", metavar="NAME")
    ] = Field(
        default=(),
        description=f"also score under this protocol; may be repeated: {', '.join(PROTOCOLS)} "
        f"(default: {', '.join(DEFAULT_PROTOCOLS)}; with --mode chef also "
        f"{', '.join(CHEF_PROTOCOLS)})",
    )
    rescore: bool = Field(
        default=False, description="score the answers saved in OUT, without a server"
    )
    answers_from: Annotated[Path | None, Argument(metavar="DIR")] = Field(
        default=None,
        description="score the answer files of LAMM's own scripts (Task_Dataset.json) in DIR, "
        "without a server",
    )

    @property
    def plan(self) -> ExamplePlan:
        """How in-context examples are drawn."""
        return ExamplePlan(self.examples, self.retriever.value, self.examples_seed)

    @property
    def manner(self) -> Manner:
        """How the model writes places."""
        return Manner(self.dialect, self.frame, self.y_first)

    def recipe_run(self) -> RecipeRun | None:
        """The recipe to follow, or None.

        Raises:
            BenchmarkError: the other options do not go with it.
        """
        if self.rescore:
            self.refuse_recipe("--rescore, which scores what was asked")
            return None
        if self.answers_from is not None:
            self.refuse_recipe("--answers-from, which asks nothing")
            return None
        return self.followed(
            {
                f"--backend {self.backend}": self.backend is not Backend.LAMM,
                f"--mode {self.mode}": self.mode is not Mode.TEXT,
                f"--max-tokens {self.max_tokens}": self.max_tokens is not None,
                # A question that is asked twice needs its first answer first.
                f"--through {self.through}": self.through != "requests",
                # Upstream's prompt has a place for exactly one medium.
                f"--control {Control.TEXT_ONLY}": Control.TEXT_ONLY in self.control,
            }
        )

    def refuse_contradictions(self) -> None:
        """Refuses options that do not go together.

        Raises:
            BenchmarkError: options of examples or --max-tokens where they have no effect, --mode
                chef in batches, or options of a server with --answers-from.
        """
        if self.mode is Mode.CHEF and self.through == "batch":
            raise BenchmarkError("--mode chef cannot be combined with --through batch")
        if self.max_tokens is not None and self.rescore:
            raise BenchmarkError(
                f"--max-tokens {self.max_tokens} cannot be given with --rescore, which uses the "
                "run's own"
            )
        given = sorted(self.model_fields_set & {"examples", "retriever", "examples_seed"})
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        if given and self.rescore:
            raise BenchmarkError(
                f"{flags} cannot be given with --rescore, which uses the run's own"
            )
        if given and self.mode is not Mode.CHEF:
            raise BenchmarkError(f"{flags} needs --mode chef, which adds the examples")
        if given and not self.examples:
            raise BenchmarkError(f"{flags} has no effect: --examples is 0")
        if self.answers_from is None:
            return
        useless = [name for name in sorted(_OF_SERVERS) if name in self.model_fields_set]
        if useless:
            flag = f"--{useless[0].replace('_', '-')}"
            raise BenchmarkError(f"{flag} has no meaning with --answers-from: no server is asked")

    def refuse_another_run(self) -> None:
        """With --rescore: refuses options that say that the run in OUT was asked in another way.

        Raises:
            BenchmarkError: one of them differs from the run, or the run is not readable.
        """
        asked = ModelIdentity.read(self.out / RUN_FILE)
        for name in sorted({"backend", "mode", "model"} & self.model_fields_set):
            mine, its = getattr(self, name), getattr(asked, name)
            if mine is not None and mine != its:
                raise BenchmarkError(
                    f"--{name} {mine} cannot be given with --rescore: the run in {self.out} was "
                    f"asked with {name} {its}"
                )
        for control in self.control:
            if not (self.out / answers_file(control)).is_file():
                raise BenchmarkError(
                    f"--control {control} cannot be given with --rescore: {self.out} has no "
                    f"{answers_file(control)}"
                )
