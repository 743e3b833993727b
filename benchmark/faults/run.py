"""Injects every fault that the service promises to survive, and checks that it does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import AsyncExitStack

from benchmark.errors import BenchmarkError
from benchmark.faults import edge as faults_edge
from benchmark.faults import engine as faults_engine
from benchmark.faults import media as faults_media
from benchmark.faults import process as faults_process
from benchmark.faults.clients import Clients
from benchmark.faults.fault import Fault, Group
from benchmark.faults.findings import Findings
from benchmark.faults.report import Check
from benchmark.faults.server import FaultServer, ServerSpec, serving
from benchmark.http.client import ChatClient
from benchmark.http.connection import open_stream_http
from benchmark.soak.requests import SoakRequests

_SEED = 5

_COMMON = (
    "--max-num-seqs", str(faults_engine.SEATS), "--media-workers", "2",
    "--shutdown-timeout-s", str(faults_process.DRAIN_S),
)  # fmt: skip
_STALLING = ("--stall-timeout-s", str(faults_engine.STALL_TIMEOUT_S), "--exit-on-engine-death")


GROUPS = (
    Group((
        Fault(
            "encode", "the encoder fails for one request",
            "only that request gets 500, all others correct answers", faults_engine.encode,
        ),
        Fault(
            "prefill", "the decoder fails for one request",
            "only that request gets 500, all others correct answers", faults_engine.prefill,
        ),
        Fault(
            "step", "a whole step fails",
            "requests in the step get 500, waiting ones correct answers", faults_engine.step,
        ),
        Fault(
            "media-worker", "kill -9 of a decoding process under load",
            "all answers are correct, a new process replaces it",
            faults_media.media_worker,
        ),
        Fault(
            "disconnect", "clients disconnect in decoding, queue, prefill and answer",
            "slots, KV cache, decoders and gauges are free at once", faults_process.disconnect,
        ),
        Fault(
            "disk", "uploads until the disk is full",
            "507, no partial files, requests continue, freed space is used", faults_media.disk,
        ),
        Fault(
            "sigterm", "SIGTERM under load",
            "unready at once, new requests get 503 with Retry-After, all others finish, exit 0",
            faults_process.sigterm,
        ),
    )),
    Group((
        Fault(
            "stall", "a step hangs",
            "/health fails, the log has the engine state; service resumes after the step",
            faults_engine.stall,
        ),
        Fault(
            "death", "the engine thread ends, with --exit-on-engine-death",
            "all requests get 503 at once, exit 1", faults_engine.death,
        ),
    ), _STALLING),
    Group((
        Fault(
            "sigkill", "kill -9 of the server during streams",
            "connections close at once, no process is left",
            faults_process.sigkill,
        ),
    )),
    Group((
        Fault(
            "restart", "a new server afterwards",
            "it binds the port and serves", faults_process.restart,
        ),
        Fault(
            "second-sigterm", "SIGTERM twice under load",
            "running requests end with an error, the process ends at once",
            faults_process.second_sigterm,
        ),
    ), port_of_last=True),
    faults_edge.GROUP,
)  # fmt: skip
NAMES = tuple(fault.name for group in GROUPS for fault in group.faults)


async def run_faults(
    spec: ServerSpec,
    chosen: Collection[str],
    patience_s: float,
    tell: Callable[[str, Check | None], None] = lambda _doing, _check: None,
) -> list[Check]:
    """Injects the chosen faults, each group on its own server.

    Args:
        spec: the servers.
        chosen: names from `NAMES`.
        patience_s: longest time of one answer.
        tell: called with the next action, and with the check of each finished fault.
    """
    checks: list[Check] = []
    port: int | None = None
    for group in GROUPS:
        faults = [fault for fault in group.faults if fault.name in chosen]
        if not faults:
            continue
        tell(f"server for {', '.join(fault.name for fault in faults)}", None)
        try:
            async with AsyncExitStack() as stack:
                server = await stack.enter_async_context(
                    serving(spec, *_COMMON, *group.flags, port=port if group.port_of_last else None)
                )
                port = server.port
                clients = await _clients(server, patience_s, stack)
                for fault in faults:
                    tell(fault.name, None)
                    checks.append(await _prove(fault, server, clients, patience_s))
                    tell(fault.name, checks[-1])
        except BenchmarkError as error:
            for check in _failed(faults, checks, str(error)):
                checks.append(check)
                tell(check.name, check)
    return checks


async def _clients(server: FaultServer, patience_s: float, stack: AsyncExitStack) -> Clients:
    http = await stack.enter_async_context(open_stream_http(server.url, patience_s))
    return Clients(http, SoakRequests(await ChatClient(http, 1).first_model(), _SEED))


async def _prove(fault: Fault, server: FaultServer, clients: Clients, patience_s: float) -> Check:
    found, started = Findings(), time.perf_counter()
    try:
        # A fault involves several answers one after another.
        async with asyncio.timeout(4 * patience_s):
            await fault.act(server, clients, found)
    except TimeoutError:
        found.note(f"not finished within {4 * patience_s:g} s", holds=False)
    except Exception as error:
        # Any error means that the promise was not kept.
        found.note(f"{type(error).__name__}: {error}", holds=False)
    seconds = time.perf_counter() - started
    return Check(fault.name, fault.what, fault.promise, found.seen, found.kept, seconds)


def _failed(faults: Sequence[Fault], checks: Sequence[Check], why: str) -> list[Check]:
    """Failed checks for the faults that did not run."""
    done = {check.name for check in checks}
    return [
        Check(fault.name, fault.what, fault.promise, why, kept=False, seconds=0.0)
        for fault in faults
        if fault.name not in done
    ]
