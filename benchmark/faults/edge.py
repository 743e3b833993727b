"""Attacks at the edge: web pages under foreign names."""

from __future__ import annotations

import httpx

from benchmark.faults.clients import Clients
from benchmark.faults.fault import Fault, Group
from benchmark.faults.findings import Findings
from benchmark.faults.server import FaultServer

_HOST, _ORIGIN = "rebound.example", "http://rebound.example"


async def rebinding(server: FaultServer, clients: Clients, found: Findings) -> None:
    """A page whose name resolves to this machine, as a browser sends its requests."""
    port = server.port
    for path, headers in (
        ("/v1/models", {"Host": f"{_HOST}:{port}"}),
        ("/metrics", {"Host": f"{_HOST}:{port}"}),
        ("/v1/models", {"Origin": f"{_ORIGIN}:{port}"}),
    ):
        answer = await clients.http.get(path, headers=headers)
        [(name, value)] = headers.items()
        told = answer.status_code == httpx.codes.FORBIDDEN and repr(value) in answer.text
        found.note(f"{path} with {name}: {value}: {answer.status_code}", told)
    own = {"Host": f"localhost:{port}", "Origin": f"http://localhost:{port}"}
    answer = await clients.http.get("/v1/models", headers=own)
    found.note(f"the own page: {answer.status_code}", answer.is_success)


GROUP = Group((
    Fault(
        "rebinding", "a web page's name resolves to 127.0.0.1",
        "403 that names the Host or Origin, the own page works", rebinding,
    ),
))  # fmt: skip
