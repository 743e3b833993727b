"""`lamm bench calibrate`: its options, and the function that runs it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, PositiveInt
from rich.console import Console
from rich.progress import Progress

from benchmark.answers import Answer, write_whole
from benchmark.calibration import report
from benchmark.calibration.checks import with_checks
from benchmark.calibration.fit import fitted
from benchmark.calibration.plot import save_plot
from benchmark.calibration.questions import Questions, ask, check_disjoint
from benchmark.calibration.samples import Key, gathered
from benchmark.commands.options import Argument, Command, ServerOptions
from benchmark.errors import BenchmarkError
from benchmark.http.client import ChatClient
from benchmark.http.connection import open_http
from benchmark.quality.identity import Mode
from benchmark.quality.protocol_scores import require_protocols
from benchmark.report.provenance import server_facts
from benchmark.suite import Item
from benchmark.text import print_notes, print_whole, print_written
from lamm_model.tasks.calibration import CALIBRATION_FILE, Calibration, Curve, Scored

_HELP = """\
Makes the calibration of a checkpoint's scores: asks the questions of --fit at /v1/tasks, fits a
curve per task from log-probabilities to the share of right answers, and checks it on the questions
of --held-out and --test, which must be others.

  lamm data mini data/fit --count 500 --seed 1
  lamm data mini data/held-out --count 500 --seed 2
  lamm data mini data/test --count 500 --seed 3
  lamm serve --checkpoint checkpoints/lamm-mini
  lamm bench calibrate --fit data/fit --held-out data/held-out --test data/test
  cp results/calibration/calibration.json checkpoints/lamm-mini/

Each may be given several times, and is a suite or a tree in the published layout. Errors on
questions by which something was chosen are too small; ask those of --test after all choices. Closed
questions are asked in text and by likelihood. Answers are saved in OUT as they arrive: the same
command continues where it stopped, and asks nothing twice. Writes OUT/calibration.json,
OUT/calibration.md and OUT/reliability.png. The service reads calibration.json beside the weights,
and refuses that of other weights.
"""


class CalibrateOptions(ServerOptions):
    """Options of `lamm bench calibrate`."""

    heading = "questions and answers"

    fit: Annotated[tuple[Path, ...], Argument(action="append", metavar="DATA")] = Field(
        default=(), description="questions to fit the curves on; may be repeated"
    )
    held_out: Annotated[tuple[Path, ...], Argument(action="append", metavar="DATA")] = Field(
        default=(), description="other questions to check them on; may be repeated"
    )
    test: Annotated[tuple[Path, ...], Argument(action="append", metavar="DATA")] = Field(
        default=(),
        description="further questions, for the errors after all choices; may be repeated",
    )
    mode: Annotated[tuple[Literal["task", "likelihood"], ...], Argument(action="append")] = Field(
        default=(),
        description="task: ask for text; likelihood: rank the options of closed questions; may be "
        "repeated (default: both)",
    )
    limit: PositiveInt = Field(default=500, description="questions per task and DATA")
    concurrency: PositiveInt = Field(default=8, description="questions in flight at once")
    out: Annotated[Path, Argument(metavar="DIR")] = Field(
        default=Path("results/calibration"), description="directory of answers and files"
    )


@dataclass(frozen=True, slots=True)
class _Asked:
    """The questions of each role with their answers, and the model that gave them."""

    answers: Mapping[str, list[tuple[Item, Answer]]]
    model: str
    checkpoint: str


def run(options: CalibrateOptions, console: Console) -> int:
    """Asks what is missing, fits, checks, prints and writes; returns 0.

    Raises:
        BenchmarkError: no questions, the same ones in two roles, no answers with scores, or a
            server that does not name its weights.
    """
    if not options.fit:
        raise BenchmarkError("no questions to fit on: give --fit DATA")
    # For the average precision of boxes.
    require_protocols()
    roles = {
        "fit": _questions(options.fit, options, "fit"),
        "held-out": _questions(options.held_out, options, "held-out"),
        "test": _questions(options.test, options, "test"),
    }
    check_disjoint(roles)
    asked = asyncio.run(_ask(roles, options, console))
    samples = gathered(asked.answers["fit"])
    if not samples:
        raise BenchmarkError(f"no answer of {asked.model} has a score")
    curves = with_checks(fitted(samples), "held_out", asked.answers["held-out"])
    curves = with_checks(curves, "test", asked.answers["test"])
    for table in report.tables(curves):
        print_whole(table, console)
    print_notes(report.notes(samples), console)
    suites = {role: tuple(one.described() for one in found) for role, found in roles.items()}
    made = Calibration(
        checkpoint=asked.checkpoint,
        fit=suites["fit"],
        held_out=suites["held-out"],
        test=suites["test"],
        tasks=_by_task(curves),
    )
    written = [options.out / CALIBRATION_FILE, options.out / "calibration.md"]
    write_whole(written[0], made.written())
    write_whole(written[1], report.as_markdown(curves, asked.model, asked.checkpoint))
    drawn = gathered(asked.answers["test"] or asked.answers["held-out"])
    plot = save_plot(curves, drawn, options.out / "reliability.png")
    print_written([*written, *([plot] if plot else [])], console)
    return 0


def _questions(
    data: Sequence[Path], options: CalibrateOptions, folder: str
) -> tuple[Questions, ...]:
    return tuple(
        Questions.of(path, options.out / folder / f"{number}-{path.resolve().name}", options.limit)
        for number, path in enumerate(data, 1)
    )


async def _ask(
    roles: Mapping[str, Sequence[Questions]], options: CalibrateOptions, console: Console
) -> _Asked:
    async with open_http(options.url, options.timeout, options.api_key) as http:
        client = ChatClient(http, options.concurrency)
        found: dict[str, list[tuple[Item, Answer]]] = {role: [] for role in roles}
        model = options.model
        with Progress(console=console, refresh_per_second=2) as progress:
            for role, questions in ((role, one) for role, each in roles.items() for one in each):
                bar = progress.add_task(str(questions.data), total=None)
                answered, model = await ask(
                    questions,
                    client,
                    options.url,
                    options.concurrency,
                    model,
                    [Mode(one) for one in options.mode] or [Mode.TASK, Mode.LIKELIHOOD],
                    lambda _item, bar=bar: progress.advance(bar),  # type: ignore[misc]
                )
                found[role] += answered
        facts = await server_facts(http, str(model))
    digest = (facts.get("model_card") or {}).get("digest")
    if not digest:
        raise BenchmarkError(f"{options.url} does not tell the digest of {model}'s weights")
    return _Asked(found, str(model), str(digest))


def _by_task(curves: dict[Key, Curve]) -> dict[str, dict[Scored, Curve]]:
    tasks: dict[str, dict[Scored, Curve]] = {}
    for (task, kind), curve in curves.items():
        tasks.setdefault(task, {})[kind] = curve
    return tasks


COMMAND = Command("calibrate", "calibration of a checkpoint's scores", _HELP, CalibrateOptions, run)
