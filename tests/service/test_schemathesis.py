"""The OpenAPI document against the live service: data that fits it, and data that does not.

Whatever is sent, no answer is a 5xx, and each is one that the document names, in the form that it
names. `LAMM_SCHEMATHESIS_EXAMPLES=200` sends so many to each route, of either kind. That takes a
while; `-o faulthandler_timeout=0` keeps pytest from showing where it is.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import requests
import schemathesis
import uvicorn
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis_settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    ignored_auth,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from service.app import create_app, engine_config
from service.config import Settings
from service.engine.echo_engine import EchoEngine
from tests.service.chat_requests import REPLY

EXAMPLES = int(os.environ.get("LAMM_SCHEMATHESIS_EXAMPLES", "3"))
SHARDS = 6
KEY = "schemathesis-key"
CHECKS: list[Any] = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    unsupported_method,
    ignored_auth,
]

pytestmark = [
    # Hundreds of examples take longer than a test may; a few do not.
    pytest.mark.timeout(120 if EXAMPLES <= 10 else 0),
    # The library warns of its own dependencies' changes.
    pytest.mark.filterwarnings("default"),
]


@dataclass(frozen=True)
class Live:
    """A service that listens, and its document."""

    url: str
    operations: list[Any]


@pytest.fixture(scope="module")
def live(settings: Settings) -> Iterator[Live]:
    guarded = Settings(
        **{**settings.model_dump(), "api_keys": f"admin:{KEY}", "protect_metrics": True}
    )
    app = create_app(guarded, EchoEngine(engine_config(guarded), REPLY))
    config = uvicorn.Config(app, port=0, log_config=None, lifespan="on", server_header=False)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        url = _wait(server)
        document = schemathesis.openapi.from_url(
            f"{url}/openapi.json", headers={"Authorization": f"Bearer {KEY}"}, timeout=60
        )
        found = [result.ok() for result in document.get_all_operations()]
        yield Live(url, sorted(found, key=lambda one: one.label))
    finally:
        server.should_exit = True
        thread.join(20)


def _wait(server: uvicorn.Server) -> str:
    """The address, once requests are taken."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if server.started:
            port = server.servers[0].sockets[0].getsockname()[1]
            url = f"http://127.0.0.1:{port}"
            if requests.get(f"{url}/readyz", timeout=60).status_code == 200:
                return url
        time.sleep(0.05)
    raise TimeoutError("the service did not start")


@pytest.mark.parametrize("shard", range(SHARDS))
@pytest.mark.parametrize("mode", list(GenerationMode))
def test_no_answer_is_a_surprise(live: Live, mode: GenerationMode, shard: int) -> None:
    with requests.Session() as session:
        for operation in live.operations[shard::SHARDS]:
            _check(live, operation, mode, session)


def _check(live: Live, operation: Any, mode: GenerationMode, session: requests.Session) -> None:
    @hypothesis_settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
        # What fails is shown as it is: shrinking would send hundreds more.
        phases=[Phase.explicit, Phase.generate],
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def send(case: Any) -> None:
        case.call_and_validate(
            base_url=live.url,
            session=session,
            headers={"Authorization": f"Bearer {KEY}"},
            checks=CHECKS,
            timeout=30,
        )

    # A route that takes nothing has nothing that could be wrong.
    with contextlib.suppress(Unsatisfiable):
        send()


def test_the_document_names_every_route(live: Live) -> None:
    labels = {operation.label for operation in live.operations}
    assert {
        "POST /v1/chat/completions", "POST /v1/completions", "POST /tokenize", "POST /detokenize",
        "POST /v1/chat/completions/estimate", "DELETE /v1/requests/{request_id}",
        "GET /v1/models", "GET /livez", "GET /metrics",
    } <= labels  # fmt: skip
