"""`lamm bench judge`: its options, and the function that runs it."""

from __future__ import annotations

import asyncio
import os
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Annotated

import httpx
from pydantic import Field, PositiveFloat, PositiveInt
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from benchmark.commands.options import Address, Argument, Command, Options
from benchmark.errors import BenchmarkError
from benchmark.http.client import ChatClient, server_root
from benchmark.judge import report as judge_report
from benchmark.judge.backends import ChatJudge, Judge, SimilarityJudge, api_key
from benchmark.judge.items import Pairs, read_pairs
from benchmark.judge.pairwise import TRANSCRIPTS_FILE, Judgement, TranscriptStore, judge_pairs
from benchmark.judge.sentence_embedding import EmbeddingProcess
from benchmark.text import print_notes, print_whole, print_written

_HELP = """\
Compares two systems' answers to the same questions, pair by pair: the GPT metric.

  lamm bench judge --answers lamm=results/lamm --answers llava=results/llava \\
      --judge-url https://api.openai.com --judge-model gpt-4o-mini --judge-api-key OPENAI_API_KEY
  lamm bench judge --answers base=results/base --answers tuned=results/tuned

The judge, any OpenAI-compatible chat model, sees the question, the reference and both answers, in
both orders. If its verdict changes with the order, the item counts as a tie, and the report gives
the judge's preference for the answer shown first. Replies without a clear verdict are counted as
unparsed and are left out of all rates. Without --judge-url a local substitute judges: the cosine
similarity of sentence embeddings to the reference. It is not the judgement of a language model, and
every output says so.

Each reply is saved in OUT/transcripts.jsonl as soon as it arrives; a restarted command asks only
for the missing ones. Writes OUT/judge.json and OUT/judge.md. Exit status 1: some pairs were not
judged.
"""


class JudgeOptions(Options):
    """Options of `lamm bench judge`."""

    answers: Annotated[tuple[str, ...], Argument(action="append", metavar="[LABEL=]DIR")] = Field(
        description="output of `lamm bench quality`; give it twice: wins are those of the first"
    )
    judge_url: Annotated[Address | None, Argument(metavar="URL")] = Field(
        default=None, description="OpenAI-compatible server (default: a local judge)"
    )
    judge_model: str | None = Field(
        default=None, description="model id (default: the server's first)"
    )
    judge_api_key: Annotated[str | None, Argument(metavar="ENV")] = Field(
        default=None, description="environment variable with the API key of the judge"
    )
    limit: PositiveInt | None = Field(
        default=None, description="judge only N pairs, sampled with --seed"
    )
    seed: int = Field(default=0, description="random seed of the sample")
    concurrency: PositiveInt = Field(default=4, description="pairs at once")
    timeout: Annotated[PositiveFloat, Argument(metavar="SECONDS")] = Field(
        default=120.0, description="longest time without a byte before a request is given up"
    )
    out: Path = Field(
        default=Path("results/judge"), description="directory of transcripts and results"
    )


def run(options: JudgeOptions, console: Console) -> int:
    """Judges, prints and writes; returns 0 if every pair was judged.

    Raises:
        BenchmarkError: the options contradict one another, or the judge stopped answering.
    """
    return asyncio.run(_run(options, console))


async def _run(options: JudgeOptions, console: Console) -> int:
    if len(options.answers) != 2:
        raise BenchmarkError(f"--answers is given {len(options.answers)} times; expected 2")
    if options.judge_url is None and (options.judge_model or options.judge_api_key):
        raise BenchmarkError("--judge-model and --judge-api-key need --judge-url")
    key = api_key(options.judge_api_key, os.environ)
    pairs = read_pairs((options.answers[0], options.answers[1]), options.limit, options.seed)
    store = TranscriptStore(options.out / TRANSCRIPTS_FILE)
    try:
        async with AsyncExitStack() as stack:
            judge = await _judge(options, key, stack)
            judgement = await _judged(pairs, judge, store, options.concurrency, console)
    finally:
        store.close()
    print_whole(judge_report.table(judgement), console)
    print_notes(judge_report.notes(judgement, store.broken_lines), console)
    console.print(f"{judgement.asked} asked, {judgement.reused} kept from before", highlight=False)
    print_written(judge_report.write_reports(judgement, options.out, store.broken_lines), console)
    return 1 if any(one.failure for one in judgement.judged) else 0


async def _judge(options: JudgeOptions, key: str | None, stack: AsyncExitStack) -> Judge:
    if options.judge_url is None:
        return SimilarityJudge(await stack.enter_async_context(EmbeddingProcess()))
    http = httpx.AsyncClient(
        base_url=server_root(options.judge_url),
        headers={"Authorization": f"Bearer {key}"} if key else {},
        timeout=httpx.Timeout(options.timeout, connect=10.0),
    )
    client = ChatClient(await stack.enter_async_context(http), options.concurrency)
    model = options.judge_model or await client.first_model()
    return ChatJudge(client, options.judge_url, model)


async def _judged(
    pairs: Pairs, judge: Judge, store: TranscriptStore, workers: int, console: Console
) -> Judgement:
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    with Progress(*columns, TimeRemainingColumn(), console=console) as progress:
        bar = progress.add_task("pairs", total=len(pairs.pairs))
        return await judge_pairs(pairs, judge, store, workers, lambda _pair: progress.advance(bar))


COMMAND = Command(
    "judge",
    "pairwise comparison of two systems' answers by a judge: the GPT metric",
    _HELP,
    JudgeOptions,
    run,
)
