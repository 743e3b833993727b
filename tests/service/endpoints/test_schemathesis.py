"""The OpenAPI document against the live service: data that fits it, and data that does not.

Whatever is sent, no answer is a 5xx, and each is one that the document names, in the form that it
names. Half of the examples name a model, files, batches and requests that are there.
`LAMM_SCHEMATHESIS_EXAMPLES=200` sends so many to each route, of either kind, and
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
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    ignored_auth,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from service.app import create_app
from service.config.settings import Settings
from service.engine.echo_engine import EchoEngine
from service.startup.configs import engine_config
from tests.service.chat_requests import REPLY
from tests.service.endpoints.known_names import KnownNames
from tests.service.listening import listening

logger = logging.getLogger(__name__)

EXAMPLES = int(os.environ.get("LAMM_SCHEMATHESIS_EXAMPLES", "3"))
ROUTES = re.compile(os.environ.get("LAMM_SCHEMATHESIS_ROUTES", ""))
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
    """A service that listens, its document, and what is there."""

    url: str
    operations: list[Any]
    known: KnownNames


@pytest.fixture(scope="module")
def live(settings: Settings) -> Iterator[Live]:
    guarded = Settings(
        **{**settings.model_dump(), "api_keys": f"admin:{KEY}", "protect_metrics": True}
    )
    app = create_app(guarded, EchoEngine(engine_config(guarded), REPLY))
    with listening(app) as url:
        document = schemathesis.openapi.from_url(
            f"{url}/openapi.json", headers={"Authorization": f"Bearer {KEY}"}, timeout=120
        )
        found = [result.ok() for result in document.get_all_operations()]
        with contextlib.closing(KnownNames(url, KEY)) as known:
            yield Live(url, sorted(found, key=lambda one: one.label), known)


@pytest.mark.parametrize("shard", range(SHARDS))
@pytest.mark.parametrize("mode", list(GenerationMode))
def test_no_answer_is_a_surprise(live: Live, mode: GenerationMode, shard: int) -> None:
    surprises: list[BaseException] = []
    with requests.Session() as session:
        for operation in live.operations[shard::SHARDS]:
            if not ROUTES.search(operation.label):
                continue
            started, statuses, said = time.monotonic(), Counter[int](), "as documented"
            try:
                _check(live, operation, mode, session, statuses)
            # What is wrong with one route is no reason to skip the next.
            except (Exception, FailureGroup) as error:
                surprises.append(error)
                said = "A SURPRISE"
            logger.info(
                "%s, %s: %d cases in %.0f s, %s: %s", operation.label, mode.value, statuses.total(),
                time.monotonic() - started, said, dict(sorted(statuses.items())),
            )  # fmt: skip
    if surprises:
        raise BaseExceptionGroup("answers that the document does not name", surprises)


def _check(
    live: Live, operation: Any, mode: GenerationMode, session: requests.Session,
    statuses: Counter[int],
) -> None:  # fmt: skip
    """Counts in `statuses` how often each was answered."""

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
        if statuses.total() % 2:
            live.known.put_into(case, whole=statuses.total() % 4 == 3)
        response = case.call_and_validate(
            base_url=live.url,
            session=session,
            headers={"Authorization": f"Bearer {KEY}"},
            checks=CHECKS,
            timeout=60,
        )
        statuses[response.status_code] += 1

    # A route that takes nothing has nothing that could be wrong.
    with contextlib.suppress(Unsatisfiable):
        send()


@pytest.mark.parametrize("route", ["/v1/chat/completions", "/v1/completions", "/v1/responses"])
def test_the_document_names_both_forms_of_an_answer(live: Live, route: str) -> None:
    [operation] = [one for one in live.operations if one.label == f"POST {route}"]
    content = operation.definition.raw["responses"]["200"]["content"]
    assert set(content) == {"application/json", "text/event-stream"}


def test_the_document_names_every_route(live: Live) -> None:
    labels = {operation.label for operation in live.operations}
    assert {
        "POST /v1/chat/completions", "POST /v1/completions", "POST /v1/responses", "POST /tokenize",
        "POST /detokenize", "POST /v1/chat/completions/estimate",
        "DELETE /v1/requests/{request_id}",
        "GET /v1/models", "GET /livez", "GET /metrics",
    } <= labels  # fmt: skip
