"""`lamm bench soak`: its options, and the function that runs it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

import httpx
from pydantic import Field, PositiveFloat, PositiveInt
from rich.console import Console

from benchmark.answers import require_writable
from benchmark.commands.options import Address, Argument, Command, ServerOptions, Share
from benchmark.http.client import ChatClient, server_root, shown
from benchmark.http.connection import open_stream_http
from benchmark.soak import plot as soak_plot
from benchmark.soak import report as soak_report
from benchmark.soak.clients import CrowdSpec
from benchmark.soak.requests import SoakRequests
from benchmark.soak.run import Clients, SoakSpec, run_soak
from benchmark.suite import MINI_SUITE
from benchmark.suite_reader import find_suite, load_suite
from benchmark.text import print_whole, print_written

KEPT, BROKEN = 0, 1
NO_SUITE = "none"
_MINUTE = 60.0
_HELP = """\
Runs many clients for minutes and checks that the service keeps its promises under load.

  lamm serve --checkpoint checkpoints/lamm-mini & echo $!
  lamm bench soak --clients 256 --minutes 5 --server-pid PID

Each client sends one request after another; a share of the requests disconnects at a random moment;
every picture is different. Promises: no request hangs; no answer differs from the answer to the
same request alone (each finished request is sent again afterwards, one at a time); no 5xx except
the 503 of back-pressure, and each 429 and 503 has Retry-After; no lost connection; memory does not
grow; probes stay fast; no file stays open; the engine is empty at the end. Writes OUT/soak.json,
soak.md and, if matplotlib is installed, soak.svg. Exit status 1: a promise was broken or could not
be measured.

The answers alone come from the same server, whose caches the crowd has filled. --reference-url
names another server with the same weights, freshly started, which rules out a cache that holds a
wrong result.
"""


class CrowdOptions(ServerOptions):
    """The clients and their requests."""

    heading = "crowd"

    clients: PositiveInt = Field(default=256, description="clients at once")
    minutes: PositiveFloat = Field(default=5.0, description="length of the test")
    seconds: PositiveFloat | None = Field(default=None, description="instead of --minutes")
    num_prompts: PositiveInt | None = Field(
        default=None, description="total number of requests, instead of --minutes"
    )
    cancel_rate: Share = Field(default=0.3, description="share of the requests that disconnect")
    suite: str = Field(
        default=MINI_SUITE,
        description="suite whose questions are asked, about slightly changed media: 'mini', the "
        "directory of a suite, or 'none' for generated media",
    )
    data: Path | None = Field(
        default=None, description="directory of the suite (default: data/mini-suite for 'mini')"
    )
    media: Literal["images", "clouds", "both"] = Field(
        default="images", description="media of the questions"
    )
    seed: int = Field(default=0, description="random seed of media and disconnects")


class SoakOptions(CrowdOptions):
    """Options of `lamm bench soak`."""

    heading = "promises"

    # A request that is silent for so long hangs.
    timeout: Annotated[PositiveFloat, Argument(metavar="SECONDS")] = Field(
        default=60.0, description="longest time without a byte before a request counts as hung"
    )
    deadline: Annotated[PositiveFloat, Argument(metavar="SECONDS")] = Field(
        default=300.0, description="longest time of a request before it counts as hung"
    )
    verify: PositiveInt | None = Field(
        default=None,
        description="number of answers to compare, evenly spaced (default: all finished ones)",
    )
    reference_url: Annotated[Address | None, Argument(metavar="URL")] = Field(
        default=None, description="server that gives the answers alone (default: the same server)"
    )
    server_pid: Annotated[PositiveInt | None, Argument(metavar="PID")] = Field(
        default=None,
        description="process whose memory is sampled, with its children (default: the memory "
        "in /metrics)",
    )
    warm_up: Annotated[float | None, Argument(metavar="SECONDS")] = Field(
        default=None,
        description="time before the memory slope is measured (default: a fifth of the test, at "
        "most 60)",
    )
    max_memory_slope: Annotated[PositiveFloat, Argument(metavar="MB")] = Field(
        default=1.0, description="limit of memory growth per minute"
    )
    max_probe_p99: Annotated[PositiveFloat, Argument(metavar="MS")] = Field(
        default=50.0, description="limit of each probe's 99th percentile"
    )
    probe_interval: Annotated[PositiveFloat, Argument(metavar="SECONDS")] = Field(
        default=0.1, description="time between two requests to a probe"
    )
    out: Path = Field(default=Path("results/soak"), description="directory of the result")


def run(options: SoakOptions, console: Console) -> int:
    """Runs the test; returns 0 if every promise was measured and kept.

    Raises:
        BenchmarkError: the test cannot start, or the server stopped answering for good.
    """
    return asyncio.run(_run(options, console))


async def _run(options: SoakOptions, console: Console) -> int:
    require_writable(options.out)
    suite = None
    if options.suite != NO_SUITE:
        suite = load_suite(find_suite(options.suite, options.data))
    spec = _spec(options)
    reference = server_root(options.reference_url or options.url)
    async with open_stream_http(options.url, options.timeout, options.api_key) as http:
        model = options.model or await ChatClient(http, 1).first_model()
        requests = SoakRequests(model, options.seed, options.media, suite)
        with console.status("soaking") as status:
            async with _another(http, spec.url) as side, _another(http, reference) as alone:
                result = await run_soak(Clients(http, side, alone), requests, spec, status.update)
    result = {
        "model": model,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "url": shown(spec.url),
        "reference": "the same server" if reference == spec.url else shown(reference),
        "spec": {
            "clients": spec.crowd.clients, "seconds": spec.crowd.seconds,
            "cancel_rate": spec.crowd.cancel_rate, "seed": spec.crowd.seed,
            "media": options.media,
            "suite": "drawn" if suite is None else f"suite {suite.name}",
        },
        **result,
    }  # fmt: skip
    limits = soak_report.Limits(options.max_memory_slope, options.max_probe_p99)
    kept = soak_report.promises(result, limits)
    print_whole(soak_report.table(kept), console)
    written = soak_report.write(result, kept, options.out)
    if (plot := soak_plot.write(result, limits, options.out)) is not None:
        written.append(plot)
    print_written(written, console)
    return KEPT if soak_report.passed(kept) else BROKEN


def _spec(options: SoakOptions) -> SoakSpec:
    seconds = options.seconds or options.minutes * _MINUTE
    return SoakSpec(
        url=server_root(options.url),
        crowd=CrowdSpec(
            clients=options.clients,
            seconds=None if options.num_prompts else seconds,
            num_prompts=options.num_prompts,
            cancel_rate=options.cancel_rate,
            deadline_s=options.deadline,
            seed=options.seed,
        ),
        warm_up_s=options.warm_up,
        probe_interval_s=options.probe_interval,
        server_pid=options.server_pid,
        verify_limit=options.verify,
    )


def _another(http: httpx.AsyncClient, url: str) -> httpx.AsyncClient:
    """A client of `url` with the same credentials and timeout."""
    return httpx.AsyncClient(
        base_url=url, headers=http.headers, timeout=http.timeout, trust_env=False
    )


COMMAND = Command(
    "soak",
    "many clients for minutes: does the service keep its promises",
    _HELP,
    SoakOptions,
    run,
)
