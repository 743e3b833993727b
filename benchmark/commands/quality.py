"""`lamm bench quality`: the function that runs it; `quality_options` holds its options."""

from __future__ import annotations

import asyncio
from collections import Counter

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from benchmark.commands.options import Command
from benchmark.commands.quality_options import QualityOptions
from benchmark.http.batches import BatchClient
from benchmark.http.client import ChatClient
from benchmark.http.connection import open_http
from benchmark.quality import controls_report, protocol_report, repetitions, report
from benchmark.quality.answer_import import import_answers
from benchmark.quality.exams import exams_of
from benchmark.quality.identity import Mode
from benchmark.quality.protocol_scores import (
    CHEF_PROTOCOLS,
    DEFAULT_PROTOCOLS,
    ProtocolRow,
    ProtocolsMissingError,
    require_protocols,
    score_protocols,
)
from benchmark.quality.recipe import RecipeRun
from benchmark.quality.run import QualityRun, rescore, run_quality
from benchmark.quality.stored_suite import store_suite
from benchmark.quality.tree import open_suite
from benchmark.report.provenance import keep_server_facts
from benchmark.suite import Item, Suite
from benchmark.text import print_notes, print_whole, print_written

SUCCESS, FAILED = 0, 1
# Drawing ten times per second would cost more than the requests.
BARS_A_SECOND = 2
_HELP = """\
Sends the questions of a suite, or of LAMM's benchmark files, to a running server and scores the
answers.

  lamm data mini-suite data/mini-suite      makes the mini suite
  lamm serve --checkpoint checkpoints/lamm-mini
  lamm bench quality --suite mini

The published layout (D is the directory of LAMM's data):

  lamm bench quality --data D --out results/lamm
  lamm bench quality --data D --suite 2d --limit 200 --control blank-media
  lamm bench quality --data D --suite 2d --recipe upstream-2023-07 --repetitions 3
  lamm bench quality --data D --mode chef --out results/chef
  lamm bench quality --data D --backend openai-chat --url http://host:8000 --model llava

Without a server, from answers:

  lamm bench quality --data D --out results/lamm --rescore --protocol upstream-2023-07
  lamm bench quality --data D --out results/qwen --rescore --dialect qwen3-vl
  lamm bench quality --data D --answers-from LAMM/answers --protocol upstream-2023-07

Decoding is greedy, or as the --recipe says. Each answer is saved in OUT/answers.jsonl as soon as it
arrives: if the run or the server dies, the same command continues where it stopped. --rescore
refuses a --mode, --backend, --model or --control that the saved run does not have. --through batch
uploads the questions to /v1/batches, and the server answers when it has capacity; a client that was
killed finds its batches again. A new checkpoint or prompt preset has a new fingerprint, so its
questions are asked again. Writes OUT/scores.json, OUT/scores.md and OUT/gallery.html (hits and
misses with their pictures). Exit status 1: broken records, or questions without an answer.
"""


def run(options: QualityOptions, console: Console) -> int:
    """Asks or rescores, prints and writes; returns 1 if something was not measured.

    Raises:
        BenchmarkError: the run cannot start or continue; the answers so far are saved.
    """
    if options.protocol:
        require_protocols()
    recipe = options.recipe_run()
    options.refuse_contradictions()
    if options.rescore:
        options.refuse_another_run()
    suite = open_suite(options.suite, options.data, options.limit, options.out)
    suite = suite.in_manner(options.manner)
    store_suite(options.suite, options.data, options.limit, options.out, options.manner)
    if options.answers_from is not None:
        import_answers(suite, options.answers_from, options.out, options.model)
        result = rescore(suite, options.out)
    elif options.rescore:
        result = rescore(suite, options.out)
    else:
        result = asyncio.run(_ask(suite, options, recipe, console))
    by_protocol, missing = _protocol_rows(result, options)
    protocol_rows = by_protocol[0]
    repeated = repetitions.over_repetitions(result.repetitions, by_protocol)
    print_whole(report.table(result), console)
    if (controls := controls_report.table(result.rows)) is not None:
        print_whole(controls, console)
    if protocol_rows:
        print_whole(protocol_report.table(protocol_rows), console)
    if repeated:
        print_whole(repetitions.table(repeated), console)
    notes = [*report.notes(result), *controls_report.notes(result.rows)]
    print_notes([*notes, *protocol_report.notes(protocol_rows), *missing], console)
    console.print(f"{result.asked} asked, {result.reused} kept from before", highlight=False)
    print_written(report.write_reports(result, options.out, protocol_rows, repeated), console)
    return SUCCESS if result.complete else FAILED


async def _ask(
    suite: Suite, options: QualityOptions, recipe: RecipeRun | None, console: Console
) -> QualityRun:
    columns = TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn()
    progress = Progress(
        *columns, TimeRemainingColumn(), console=console, refresh_per_second=BARS_A_SECOND
    )
    totals: Counter[str] = Counter()
    for exam in exams_of(suite, options.control, recipe, options.mode, options.plan):
        for row, kinds in zip(suite.rows, exam, strict=True):
            totals[row.name] += sum(len(questions) for questions in kinds.values())
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
                recipe=recipe,
                examples=options.plan,
                max_tokens=options.max_tokens,
            )
            await keep_server_facts(http, result.identity.model, options.out)
            return result


def _protocol_rows(
    run: QualityRun, options: QualityOptions
) -> tuple[list[tuple[ProtocolRow, ...]], list[str]]:
    """The scores of each repetition under the protocols: those chosen, by default also the one of
    the recipe. A note if sacrebleu is missing and no protocol was chosen.
    """
    followed = run.identity.recipe
    own = () if followed is None else (followed.recipe.protocol,)
    names = options.protocol or (*DEFAULT_PROTOCOLS, *own)
    try:
        chef = CHEF_PROTOCOLS if run.identity.mode == Mode.CHEF else ()
        names = options.protocol or (*DEFAULT_PROTOCOLS, *own, *chef)
        return [score_protocols(rows, names) for rows in run.repetitions], []
    except ProtocolsMissingError as error:
        if options.protocol:
            raise
        return [() for _ in run.repetitions], [str(error)]


COMMAND = Command("quality", "task scores with intervals, resumable", _HELP, QualityOptions, run)
