"""Injects every fault that the service promises to survive, and checks that it does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

from benchmark.errors import BenchmarkError
from benchmark.faults import engine as faults_engine
from benchmark.faults import media as faults_media
from benchmark.faults import process as faults_process
from benchmark.faults.clients import Clients
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


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault, what is promised under it, and who brings it about."""

    name: str
    what: str
    promise: str
    act: Callable[[FaultServer, Clients, Findings], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Group:
    """Faults of one server, in this order; the last may end it.

    `port_of_last`: it takes the port of the server before.
    """

    faults: tuple[Fault, ...]
    flags: tuple[str, ...] = ()
    port_of_last: bool = False


GROUPS = (
    Group((
        Fault(
            "encode", "the encoder breaks of one request's picture",
            "that request alone gets 500, all others right answers", faults_engine.encode,
        ),
        Fault(
            "prefill", "the decoder breaks of one request's prompt",
            "that request alone gets 500, all others right answers", faults_engine.prefill,
        ),
        Fault(
            "step", "a step fails as a whole",
            "what runs in it gets 500, what waits right answers", faults_engine.step,
        ),
        Fault(
            "media-worker", "kill -9 of a decoding process under load",
            "every request is answered right, another process takes its place",
            faults_media.media_worker,
        ),
        Fault(
            "disconnect", "clients leave in decoding, queue, prefill and answer",
            "seats, KV cache, decoders and gauges are free at once", faults_process.disconnect,
        ),
        Fault(
            "disk", "uploads until the disk is full",
            "507, nothing half written, questions go on, room is used again", faults_media.disk,
        ),
        Fault(
            "sigterm", "SIGTERM under load",
            "unready at once, new ones get 503 with Retry-After, all others finish, exit 0",
            faults_process.sigterm,
        ),
    )),
    Group((
        Fault(
            "stall", "a step that does not end",
            "/health fails, the log has the engine's state; when it ends, all goes on",
            faults_engine.stall,
        ),
        Fault(
            "death", "the engine's thread ends, with --exit-on-engine-death",
            "all requests get 503 at once, exit 1", faults_engine.death,
        ),
    ), _STALLING),
    Group((
        Fault(
            "sigkill", "kill -9 of the server in the middle of streams",
            "clients see the connection break at once, nothing stays behind",
            faults_process.sigkill,
        ),
    )),
    Group((
        Fault(
            "restart", "a new server after it",
            "it takes the port and serves", faults_process.restart,
        ),
        Fault(
            "second-sigterm", "SIGTERM twice under load",
            "what runs is cut off with an error, the process ends at once",
            faults_process.second_sigterm,
        ),
    ), port_of_last=True),
)  # fmt: skip
NAMES = tuple(fault.name for group in GROUPS for fault in group.faults)


async def run_faults(
    spec: ServerSpec,
    chosen: Collection[str],
    patience_s: float,
    tell: Callable[[str, Check | None], None] = lambda _doing, _check: None,
) -> list[Check]:
    """Brings the chosen faults about, each group on a server of its own.

    Args:
        spec: the server.
        chosen: names of `NAMES`.
        patience_s: how long any one answer, and any one fault, may take.
        tell: called with what is about to be done, and with each fault's check when it has ended.
    """
    checks: list[Check] = []
    port: int | None = None
    for group in GROUPS:
        faults = [fault for fault in group.faults if fault.name in chosen]
        if not faults:
            continue
        tell(f"a server for {', '.join(fault.name for fault in faults)}", None)
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
        # Many answers one after another are allowed what one is, a few times over.
        async with asyncio.timeout(4 * patience_s):
            await fault.act(server, clients, found)
    except TimeoutError:
        found.note(f"no end within {4 * patience_s:g} s", holds=False)
    except Exception as error:
        # Whatever it is, the promise was not seen to be kept.
        found.note(f"{type(error).__name__}: {error}", holds=False)
    seconds = time.perf_counter() - started
    return Check(fault.name, fault.what, fault.promise, found.seen, found.kept, seconds)


def _failed(faults: Sequence[Fault], checks: Sequence[Check], why: str) -> list[Check]:
    """The faults that were not reached."""
    done = {check.name for check in checks}
    return [
        Check(fault.name, fault.what, fault.promise, why, kept=False, seconds=0.0)
        for fault in faults
        if fault.name not in done
    ]
