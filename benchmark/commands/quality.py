"""`lamm bench quality`: its options, and the function that runs it."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, PositiveInt
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from benchmark.commands.options import Argument, Command, ServerOptions, one_of
from benchmark.http.batches import BatchClient
from benchmark.http.client import Backend, ChatClient
from benchmark.http.connection import open_http
from benchmark.quality import controls_report, protocol_report, report
from benchmark.quality.controls import Control, questions_of
from benchmark.quality.protocol_scores import (
    DEFAULT_PROTOCOLS,
    PROTOCOLS,
    ProtocolRow,
    ProtocolsMissingError,
    require_protocols,
    score_protocols,
)
from benchmark.quality.run import QualityRun, rescore, run_quality
from benchmark.quality.targets import Mode
from benchmark.quality.tree import open_suite
from benchmark.report.provenance import keep_server_facts
from benchmark.suite import Item, Suite
from benchmark.text import print_notes, print_whole, print_written
from lamm_model.tasks.dialects.base import Frame
from lamm_model.tasks.dialects.manner import DIALECT_NAMES, LAMM, Manner

SUCCESS, FAILED = 0, 1
# Drawing ten times per second would cost more than the requests.
BARS_A_SECOND = 2
_HELP = """\
Sends the questions of a suite, or of LAMM's benchmark files, to a running server and scores the
answers.

  lamm data mini-suite data/mini-suite      makes the mini suite
  lamm serve --checkpoint checkpoints/lamm-mini
  lamm bench quality --suite mini

  lamm bench quality --data LAMM_Dataset --suite all --out results/lamm      the published layout
  lamm bench quality --data LAMM_Dataset --suite 2d --limit 200 --control blank-media
  lamm bench quality --data LAMM_Dataset --out results/lamm --rescore --protocol upstream-2023-07
  lamm bench quality --data LAMM_Dataset --backend openai-chat --url http://host:8000 --model llava
  lamm bench quality --data LAMM_Dataset --out results/lamm --rescore --dialect qwen3-vl

Decoding is greedy. Each answer is saved in OUT/answers.jsonl as soon as it arrives: if the run or
the server dies, the same command continues where it stopped. --rescore scores the saved answers
without a server. --through batch uploads the questions to /v1/batches, and the server answers when
it has capacity; a client that was killed finds its batches again. A new checkpoint or prompt preset
has a new fingerprint, so its questions are asked again. Writes OUT/scores.json, OUT/scores.md and
OUT/gallery.html (hits and misses with their pictures). Exit status 1: broken records, or questions
without an answer.
"""


class QualityOptions(ServerOptions):
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
        description="how the model writes places; lamm reads free text, auto tells each answer's "
        f"notation: {', '.join(DIALECT_NAMES)}",
    )
    frame: Frame | None = Field(
        default=None,
        description="what the model's coordinates in a picture are parts of (default: what the "
        "dialect says)",
    )
    y_first: bool = Field(default=False, description="the model writes y before x")
    mode: Mode = Field(
        default=Mode.TEXT,
        description="text, or likelihood: answer multiple-choice and closed-set questions by the "
        "most likely option, through /v1/tasks",
    )
    control: Annotated[tuple[Control, ...], Argument(action="append")] = Field(
        default=(), description="ask everything again under a blind control; may be repeated"
    )
    protocol: Annotated[
        tuple[Annotated[str, one_of(PROTOCOLS)], ...], Argument(action="append", metavar="NAME")
    ] = Field(
        default=(),
        description=f"also score under this protocol; may be repeated: {', '.join(PROTOCOLS)} "
        f"(default: {', '.join(DEFAULT_PROTOCOLS)})",
    )
    rescore: bool = Field(
        default=False, description="score the answers saved in OUT, without a server"
    )


def run(options: QualityOptions, console: Console) -> int:
    """Asks or rescores, prints and writes; returns 1 if something was not measured.

    Raises:
        BenchmarkError: the run cannot start or continue; the answers so far are saved.
    """
    if options.protocol:
        require_protocols()
    suite = open_suite(options.suite, options.data, options.limit, options.out)
    suite = suite.in_manner(Manner(options.dialect, options.frame, options.y_first))
    if options.rescore:
        result = rescore(suite, options.out)
    else:
        result = asyncio.run(_ask(suite, options, console))
    protocol_rows, missing = _protocol_rows(result, options)
    print_whole(report.table(result), console)
    if (controls := controls_report.table(result.rows)) is not None:
        print_whole(controls, console)
    if protocol_rows:
        print_whole(protocol_report.table(protocol_rows), console)
    notes = [*report.notes(result), *controls_report.notes(result.rows)]
    print_notes([*notes, *protocol_report.notes(protocol_rows), *missing], console)
    console.print(f"{result.asked} asked, {result.reused} kept from before", highlight=False)
    print_written(report.write_reports(result, options.out, protocol_rows), console)
    return SUCCESS if result.complete else FAILED


async def _ask(suite: Suite, options: QualityOptions, console: Console) -> QualityRun:
    columns = TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn()
    progress = Progress(
        *columns, TimeRemainingColumn(), console=console, refresh_per_second=BARS_A_SECOND
    )
    totals: Counter[str] = Counter()
    for row in suite.rows:
        kinds = questions_of(row, options.control)
        totals[row.name] = sum(len(questions) for questions in kinds.values())
    with progress:
        bars = {name: progress.add_task(name, total=total) for name, total in totals.items()}

        def advance(item: Item) -> None:
            progress.advance(bars[item.row])

        async with open_http(options.url, options.timeout, options.api_key) as http:
            client = ChatClient(http, options.concurrency)
            result = await run_quality(
                suite,
                client,
                options.url,
                options.out,
                options.concurrency,
                options.model,
                advance,
                backend=options.backend,
                mode=options.mode,
                controls=options.control,
                batches=BatchClient(http, client) if options.through == "batch" else None,
            )
            await keep_server_facts(http, result.identity.model, options.out)
            return result


def _protocol_rows(
    run: QualityRun, options: QualityOptions
) -> tuple[tuple[ProtocolRow, ...], list[str]]:
    """The scores under the protocols; a note if sacrebleu is missing and no protocol was chosen."""
    try:
        return score_protocols(run.rows, options.protocol or DEFAULT_PROTOCOLS), []
    except ProtocolsMissingError as error:
        if options.protocol:
            raise
        return (), [str(error)]


COMMAND = Command("quality", "task scores with intervals, resumable", _HELP, QualityOptions, run)
