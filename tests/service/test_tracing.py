"""Traces: a span a request, a span a stage under it, in the caller's trace; off by default."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from service.app import create_app
from service.config.settings import Settings
from service.engine.base import Engine
from service.engine.echo_engine import EchoEngine
from service.tracing import Tracing
from tests.service.chat_requests import chat_body, image
from tests.service.local import BASE_URL

TRACE_ID, CALLER_SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = {"traceparent": f"00-{TRACE_ID}-{CALLER_SPAN}-01"}

Spans = Callable[[], dict[str, ReadableSpan]]


@pytest.fixture(scope="module")
def exporter() -> InMemorySpanExporter:
    """Where the spans of this module's app go."""
    return InMemorySpanExporter()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(
    settings: Settings, engine: EchoEngine, exporter: InMemorySpanExporter
) -> AsyncIterator[httpx.AsyncClient]:
    """A traced app."""
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    app = create_app(settings, engine, Tracing(provider))
    async with app.router.lifespan_context(app):
        await app.state.services.lifecycle.wait_loaded()
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url=BASE_URL) as client:
            yield client


@pytest.fixture
def spans(exporter: InMemorySpanExporter) -> Spans:
    """Reads the spans since the test began, by name."""
    exporter.clear()
    return lambda: {span.name: span for span in exporter.get_finished_spans()}


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("stream", [False, True])
async def test_a_request_has_a_span_for_each_stage(
    client: httpx.AsyncClient, spans: Spans, stream: bool
) -> None:
    body = chat_body(image(), stream=stream)
    response = await client.post("/v1/chat/completions", json=body, headers=TRACEPARENT)
    assert response.status_code == 200
    found = spans()
    request = found.pop("POST /v1/chat/completions")
    assert set(found) == {"decode", "queue", "encode", "prefill", "generate"}
    assert f"{request.context.trace_id:032x}" == TRACE_ID
    assert request.parent is not None
    assert f"{request.parent.span_id:016x}" == CALLER_SPAN
    for name, span in found.items():
        assert span.parent is not None, name
        assert span.parent.span_id == request.context.span_id, name
        assert _begin(request) <= _begin(span) <= (span.end_time or 0), name
    begins = [_begin(found[name]) for name in ("decode", "queue", "encode", "prefill", "generate")]
    assert begins == sorted(begins)
    attributes = dict(found["generate"].attributes or {})
    assert attributes["gen_ai.request.model"] == "tiny-lamm"
    assert attributes["gen_ai.response.finish_reason"] == "stop"
    if not stream:
        usage = response.json()["usage"]
        assert attributes["gen_ai.usage.input_tokens"] == usage["prompt_tokens"]
        assert attributes["gen_ai.usage.output_tokens"] == usage["completion_tokens"]
    assert (request.attributes or {})["lamm.request_id"] == response.headers["x-request-id"]


def _begin(span: ReadableSpan) -> int:
    assert span.start_time is not None
    return span.start_time


@pytest.mark.asyncio(loop_scope="module")
async def test_text_alone_has_no_media_stages(client: httpx.AsyncClient, spans: Spans) -> None:
    await client.post("/v1/chat/completions", json=chat_body())
    assert set(spans()) == {"POST /v1/chat/completions", "queue", "prefill", "generate"}


@pytest.mark.asyncio(loop_scope="module")
async def test_a_medium_that_cannot_be_read_marks_its_span(
    client: httpx.AsyncClient, spans: Spans
) -> None:
    response = await client.post("/v1/chat/completions", json=chat_body(image(b"no picture")))
    assert 400 <= response.status_code < 500
    decode = spans()["decode"]
    assert not decode.status.is_ok
    assert "no picture" not in decode.to_json()


@pytest.mark.asyncio(loop_scope="module")
async def test_nothing_a_client_wrote_is_in_a_span(client: httpx.AsyncClient, spans: Spans) -> None:
    await client.post("/v1/chat/completions?x=zebra", json=chat_body(text="zebra"))
    await client.get("/zebra")
    found = spans()
    assert "GET" in found
    assert not any("zebra" in span.to_json() for span in found.values())


@pytest.mark.asyncio(loop_scope="module")
async def test_probes_leave_no_spans(client: httpx.AsyncClient, spans: Spans) -> None:
    for path in ("/livez", "/readyz", "/health", "/metrics"):
        await client.get(path)
    assert spans() == {}


def test_a_traced_engine_passes_on_all_that_an_engine_does(
    engine: EchoEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "grammar_logprobs", False, raising=False)
    traced = Tracing(TracerProvider()).engine(engine)
    own = {name for name, member in vars(type(traced)).items() if callable(member)}
    public = {name for name in vars(Engine) if not name.startswith("_")}
    facts = {name for name in public if not callable(getattr(Engine, name))}
    assert public - facts <= own
    assert [getattr(traced, name) for name in facts] == [getattr(engine, name) for name in facts]
    assert traced.state() == engine.state()
    assert traced.stats() == engine.stats()


def test_no_sdk_is_imported_while_traces_are_off(checkpoint: Path) -> None:
    program = (
        "import sys; from service.app import create_app; "
        "from service.config.settings import Settings; "
        f"create_app(Settings(checkpoint={str(checkpoint)!r}, engine='echo')); "
        # The web framework itself imports OpenTelemetry's bare interface.
        "print([m for m in sys.modules if m.startswith(('opentelemetry.sdk', 'service.tracing'))])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


def test_an_endpoint_without_the_extra_is_refused_by_name(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "service.tracing", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with_traces = settings.model_copy(update={"otlp_traces_endpoint": "http://127.0.0.1:4318"})
    with pytest.raises(ValueError, match=r"needs the extra `otel`.*lamm\[otel\]"):
        create_app(with_traces)
