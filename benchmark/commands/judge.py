"""`lamm bench judge`: the GPT metric, two systems' answers before a judge."""

from __future__ import annotations

import argparse
import os
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from benchmark.commands.option_types import above_zero, address
from benchmark.console import print_whole
from benchmark.errors import BenchmarkError
from benchmark.http.client import ChatClient, server_root
from benchmark.judge import report as judge_report
from benchmark.judge.backends import ChatJudge, Judge, SimilarityJudge, api_key
from benchmark.judge.items import Pairs, read_pairs
from benchmark.judge.pairwise import TRANSCRIPTS_FILE, Judgement, TranscriptStore, judge_pairs
from benchmark.judge.sentence_embedding import EmbeddingProcess

_HELP = """\
Compares two systems' answers to the same questions, pair by pair: the GPT metric.

  lamm bench judge --answers lamm=results/lamm --answers llava=results/llava \\
      --judge-url https://api.openai.com --judge-model gpt-4o-mini --judge-api-key OPENAI_API_KEY
  lamm bench judge --answers base=results/base --answers tuned=results/tuned

The judge, any OpenAI-compatible chat model, sees question, reference and both answers, in both
orders. A judge that changes its verdict with the order has found no difference: such items count as
ties, and its leaning towards the answer shown first is reported. Words without a clear verdict are
counted as unparsed and in no rate. Without --judge-url a local stand-in judges: the similarity of
sentence embeddings to the reference, which is no language model's judgement and is named so
everywhere.

Every reply is kept in OUT/transcripts.jsonl as it comes; started again, the command asks only what
is missing. Writes OUT/judge.json and OUT/judge.md. Exit status 1 means that some pairs were not
judged.
"""


def add_judge_parser(commands: Any) -> None:
    """Adds the sub-command."""
    parser = commands.add_parser(
        "judge",
        help="two systems' answers compared pair by pair by a judge: the GPT metric",
        description=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--answers",
        action="append",
        required=True,
        metavar="[LABEL=]DIR",
        help="output of `lamm bench quality`; given twice, wins are the first one's",
    )
    parser.add_argument(
        "--judge-url", type=address, help="an OpenAI-compatible server (default: a local judge)"
    )
    parser.add_argument("--judge-model", help="model id (default: the server's first)")
    parser.add_argument(
        "--judge-api-key", metavar="ENV", help="environment variable that holds the judge's key"
    )
    parser.add_argument(
        "--limit", type=above_zero(int), help="judge so many pairs, drawn by --seed"
    )
    parser.add_argument("--seed", type=int, default=0, help="of that draw (default: 0)")
    parser.add_argument(
        "--concurrency", type=above_zero(int), default=4, help="pairs at once (default: 4)"
    )
    parser.add_argument(
        "--timeout", type=above_zero(float), default=120.0, help="seconds (default: 120)"
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("results/judge"),
        help="directory of transcripts and results (default: %(default)s)",
    )


async def judge_command(arguments: argparse.Namespace, console: Console) -> int:
    """Judges, prints and writes; 0 when every pair was judged.

    Raises:
        BenchmarkError: the options do not fit together, or the judge is gone.
    """
    if len(arguments.answers) != 2:
        raise BenchmarkError(f"--answers is given {len(arguments.answers)} times; needs 2")
    if arguments.judge_url is None and (arguments.judge_model or arguments.judge_api_key):
        raise BenchmarkError("--judge-model and --judge-api-key need --judge-url")
    key = api_key(arguments.judge_api_key, os.environ)
    pairs = read_pairs(
        (arguments.answers[0], arguments.answers[1]), arguments.limit, arguments.seed
    )
    store = TranscriptStore(arguments.out / TRANSCRIPTS_FILE)
    try:
        async with AsyncExitStack() as stack:
            judge = await _judge(arguments, key, stack)
            judgement = await _judged(pairs, judge, store, arguments.concurrency, console)
    finally:
        store.close()
    print_whole(judge_report.table(judgement), console)
    for note in judge_report.notes(judgement, store.broken_lines):
        console.print(f"- {note}", markup=False, highlight=False, soft_wrap=True)
    console.print(f"{judgement.asked} asked, {judgement.reused} kept from before", highlight=False)
    for path in judge_report.write_reports(judgement, arguments.out, store.broken_lines):
        console.print(f"wrote {path}", highlight=False, markup=False, soft_wrap=True)
    return 1 if any(one.failure for one in judgement.judged) else 0


async def _judge(arguments: argparse.Namespace, key: str | None, stack: AsyncExitStack) -> Judge:
    if arguments.judge_url is None:
        return SimilarityJudge(await stack.enter_async_context(EmbeddingProcess()))
    http = httpx.AsyncClient(
        base_url=server_root(arguments.judge_url),
        headers={"Authorization": f"Bearer {key}"} if key else {},
        timeout=httpx.Timeout(arguments.timeout, connect=10.0),
    )
    client = ChatClient(await stack.enter_async_context(http), arguments.concurrency)
    model = arguments.judge_model or await client.first_model()
    return ChatJudge(client, arguments.judge_url, model)


async def _judged(
    pairs: Pairs, judge: Judge, store: TranscriptStore, workers: int, console: Console
) -> Judgement:
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    with Progress(*columns, TimeRemainingColumn(), console=console) as progress:
        bar = progress.add_task("pairs", total=len(pairs.pairs))
        return await judge_pairs(pairs, judge, store, workers, lambda _pair: progress.advance(bar))
