"""The OpenAPI document against the live service: data that fits it, and data that does not.

Whatever is sent, no answer is a 5xx, and each is one that the document names, in the form that it
names. `LAMM_SCHEMATHESIS_EXAMPLES=200` sends so many to each route, of either kind, and
`LAMM_SCHEMATHESIS_ROUTES` takes the routes alone that this regular expression is found in. That
takes a while: `-o log_cli=true -o log_cli_level=INFO --log-disable=service.access` says after each
route what was answered how often, and `-o faulthandler_timeout=0` keeps pytest from showing where
it is.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import requests
import schemathesis
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
from tests.service.chat_requests import REPLY, png
from tests.service.listening import listening

logger = logging.getLogger(__name__)

EXAMPLES = int(os.environ.get("LAMM_SCHEMATHESIS_EXAMPLES", "3"))
ROUTES = re.compile(os.environ.get("LAMM_SCHEMATHESIS_ROUTES", ""))
SHARDS = 6
KEY = "schemathesis-key"
MODEL = "tiny-lamm"
ASKED = [{"role": "user", "content": "What is this?"}]
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
    with listening(app) as url:
        document = schemathesis.openapi.from_url(
            f"{url}/openapi.json", headers={"Authorization": f"Bearer {KEY}"}, timeout=60
        )
        found = [result.ok() for result in document.get_all_operations()]
        yield Live(url, sorted(found, key=lambda one: one.label))


@pytest.mark.parametrize("shard", range(SHARDS))
@pytest.mark.parametrize("mode", list(GenerationMode))
def test_no_answer_is_a_surprise(live: Live, mode: GenerationMode, shard: int) -> None:
    with requests.Session() as session:
        for operation in live.operations[shard::SHARDS]:
            if ROUTES.search(operation.label):
                started, statuses = time.monotonic(), _check(live, operation, mode, session)
                logger.info(
                    "%s, %s: %d cases in %.0f s: %s", operation.label, mode.value,
                    statuses.total(), time.monotonic() - started, dict(sorted(statuses.items())),
                )  # fmt: skip


def _check(
    live: Live, operation: Any, mode: GenerationMode, session: requests.Session
) -> Counter[int]:
    """How often each status was answered."""
    statuses: Counter[int] = Counter()
    known = {"model": MODEL, "name": MODEL, "file_id": _uploaded(live, session)}

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
        if mode is GenerationMode.POSITIVE and statuses.total() % 2:
            _name_what_is_there(case, known)
            if statuses.total() % 4 == 3 and isinstance(case.body, dict):
                # Few conversations of the document's form are such that a model can answer.
                case.body.update({"messages": ASKED} if "messages" in case.body else {})
        response = case.call_and_validate(
            base_url=live.url,
            session=session,
            headers={"Authorization": f"Bearer {KEY}"},
            checks=CHECKS,
            timeout=30,
        )
        statuses[response.status_code] += 1

    # A route that takes nothing has nothing that could be wrong.
    with contextlib.suppress(Unsatisfiable):
        send()
    return statuses


def _uploaded(live: Live, session: requests.Session) -> str:
    answer = session.post(
        f"{live.url}/v1/files",
        files={"file": ("a.png", png())},
        data={"purpose": "vision"},
        headers={"Authorization": f"Bearer {KEY}"},
        timeout=30,
    )
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])


def _name_what_is_there(case: Any, known: dict[str, str]) -> None:
    """Names of the document's form that lead somewhere; made-up ones end in a 404.

    Nor does the document know the model's context, which random numbers of tokens overrun.
    """
    if isinstance(case.body, dict) and "model" in case.body:
        case.body["model"] = known["model"]
        for name in ("max_tokens", "max_completion_tokens", "min_tokens"):
            case.body.pop(name, None)
    for name in (case.path_parameters or {}).keys() & known:
        case.path_parameters[name] = known[name]


@pytest.mark.parametrize("route", ["/v1/chat/completions", "/v1/completions"])
def test_the_document_names_both_forms_of_an_answer(live: Live, route: str) -> None:
    [operation] = [one for one in live.operations if one.label == f"POST {route}"]
    content = operation.definition.raw["responses"]["200"]["content"]
    assert set(content) == {"application/json", "text/event-stream"}


def test_the_document_names_every_route(live: Live) -> None:
    labels = {operation.label for operation in live.operations}
    assert {
        "POST /v1/chat/completions", "POST /v1/completions", "POST /tokenize", "POST /detokenize",
        "POST /v1/chat/completions/estimate", "DELETE /v1/requests/{request_id}",
        "GET /v1/models", "GET /livez", "GET /metrics",
    } <= labels  # fmt: skip
