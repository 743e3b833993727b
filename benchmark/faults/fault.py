"""A fault to inject, and the faults that share one server."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from benchmark.faults.clients import Clients
from benchmark.faults.findings import Findings
from benchmark.faults.server import FaultServer


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault, the promise under it, and the function that injects it."""

    name: str
    what: str
    promise: str
    act: Callable[[FaultServer, Clients, Findings], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Group:
    """Faults of one server in order; the last one may end the server.

    `port_of_last`: use the port of the previous server.
    """

    faults: tuple[Fault, ...]
    flags: tuple[str, ...] = ()
    port_of_last: bool = False
