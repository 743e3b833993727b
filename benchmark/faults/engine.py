"""Faults of the engine: in one request, in a whole step, a step that hangs, a dead thread."""

from __future__ import annotations

import asyncio
import json

from benchmark.faults.clients import Clients, Reply, told
from benchmark.faults.findings import Findings
from benchmark.faults.server import FaultServer

SEATS = 4
STALL_TIMEOUT_S = 2.0
_CROWD = 3 * SEATS
_ALL_AT_ONCE_S = 5.0
_INJECTED = "was asked for"


async def encode(server: FaultServer, clients: Clients, found: Findings) -> None:
    """The encoder fails for one request."""
    await _one_fails_alone("encode", server, clients, found)


async def prefill(server: FaultServer, clients: Clients, found: Findings) -> None:
    """The decoder fails in the prefill of one request."""
    await _one_fails_alone("prefill", server, clients, found)


async def step(server: FaultServer, clients: Clients, found: Findings) -> None:
    """A whole step fails."""
    with server.fault("step"):
        replies = await clients.ask_all(clients.numbers(_CROWD))
    failed = [reply for reply in replies if reply.status == 500]
    _note_replies(replies, failed, found)
    found.note(f"{len(failed)} ran in the step", 1 <= len(failed) <= SEATS)
    await _note_aftermath(replies, clients, found)


async def stall(server: FaultServer, clients: Clients, found: Findings) -> None:
    """A step hangs for longer than the timeout, then ends."""
    [number] = clients.numbers(1)
    with server.fault("stall"):
        asking = asyncio.create_task(clients.ask(number))
        seconds = await clients.until("/health", 503, status="stalled")
        found.note(f"/health reports stalled after {seconds:.1f} s")
        line = await server.logged("ended no step for")
        state, _ = json.JSONDecoder().raw_decode(line, line.index("{"))
        names = {"running", "waiting", "last_step", "kv_blocks", "stack"}
        held = len(state["running"]) + len(state["waiting"])
        found.note(f"the log has the engine state with {held} request", names <= set(state))
        alive, _ = await clients.status("/livez")
        found.note(f"/livez {alive}", alive == 200)
    answer = await asking
    found.note(f"after the step, the request is answered ({answer.status})", answer.answered)
    await clients.until("/health", 200, status="healthy")
    await server.logged("makes progress again")
    found.note("/health reports healthy again, and the log says so")
    await _note_aftermath([answer], clients, found)


async def death(server: FaultServer, clients: Clients, found: Findings) -> None:
    """The engine thread ends; the server runs with --exit-on-engine-death."""
    numbers = clients.numbers(_CROWD)
    with server.fault("death"):
        replies = await clients.ask_all(numbers)
    # The last requests may find no server: the process ends at once.
    ended = all(reply.status in (0, 503) for reply in replies)
    slowest = max(reply.seconds for reply in replies)
    refused = [reply for reply in replies if reply.status == 503]
    said = all(reply.retry_after for reply in refused)
    found.note(f"running and waiting: {told(replies)}, 503 with Retry-After", ended and said)
    found.note(f"the last one after {slowest:.1f} s", slowest < _ALL_AT_ONCE_S)
    status = await server.wait()
    found.note(f"the process ends with status {status}", status == 1)
    found.note("the log says why", "the engine's thread died" in server.log)


async def _one_fails_alone(
    name: str, server: FaultServer, clients: Clients, found: Findings
) -> None:
    with server.fault(name):
        replies = await clients.ask_all(clients.numbers(2 * SEATS))
    failed = [reply for reply in replies if reply.status == 500]
    _note_replies(replies, failed, found)
    found.note(f"{len(failed)} failed", len(failed) == 1)
    await _note_aftermath(replies, clients, found)


def _note_replies(replies: list[Reply], failed: list[Reply], found: Findings) -> None:
    others = [reply for reply in replies if reply not in failed]
    found.note(told(replies), all(reply.answered for reply in others))
    leaks = [reply.text for reply in failed if _INJECTED in reply.text]
    found.note(f"error message {failed[0].text!r}" if failed else "no request failed", not leaks)


async def _note_aftermath(replies: list[Reply], clients: Clients, found: Findings) -> None:
    wrong = await clients.wrong(replies)
    answered = sum(reply.answered for reply in replies)
    found.note(f"{wrong} of {answered} answers wrong", wrong == 0 and answered > 0)
    await clients.until_idle()
    ready, _ = await clients.status("/readyz")
    found.note(f"engine idle, /readyz {ready}", ready == 200)
