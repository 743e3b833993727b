"""OpenTelemetry traces: one span per request, with one span per stage below it.

The only module that imports OpenTelemetry; it is not imported while traces are off. Stages are
recorded at two seams: the engine (queue, encode, prefill, generate, from the engine's own timings)
and the media pool (decode). Spans never contain a prompt, an answer, a key or an address.

W3C trace context: a `traceparent` header makes the request's span part of the caller's trace.
Sampling, resource and exporter headers follow the SDK's variables (`OTEL_TRACES_SAMPLER`,
`OTEL_RESOURCE_ATTRIBUTES`, `OTEL_EXPORTER_OTLP_HEADERS`).
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, Status, StatusCode, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lamm_model.media import PreparedMedia
from service.engine.base import (
    Engine,
    EngineInfo,
    EngineStats,
    GenerationChunk,
    GenerationRequest,
    RequestTimings,
)
from service.media.pool import MediaPool
from service.media.pool_config import LIVE, MediaPoolConfig, Precedence
from service.media.process import MediaJob

_NANOSECONDS = 1_000_000_000
_SERVER_ERROR = 500
# Polled every few seconds; their spans would be noise.
_UNTRACED = frozenset({"/livez", "/readyz", "/health", "/metrics"})


class Tracing:
    """One app's traces: wraps what is recorded, and exports the spans."""

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self.tracer = provider.get_tracer("lamm.service")

    def middleware(self, app: ASGIApp) -> ASGIApp:
        """Wraps the app with a span per request."""
        return TracingMiddleware(app, self.tracer)

    def engine(self, engine: Engine) -> Engine:
        """Wraps an engine with spans of its stages."""
        return TracedEngine(engine, self.tracer)

    def media_pool(self, config: MediaPoolConfig) -> MediaPool:
        """A media pool with a span per medium."""
        return TracedMediaPool(config, self.tracer)

    def close(self) -> None:
        """Exports what is left; may take as long as the exporter's timeout."""
        self._provider.shutdown()


def otlp_tracing(endpoint: str, version: str) -> Tracing:
    """Traces exported to `endpoint` by OTLP over HTTP, in batches, from a thread."""
    resource = Resource.create({"service.name": "lamm", "service.version": version})
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint)))
    return Tracing(provider)


class TracingMiddleware:
    """A span per request, from its first byte to the last byte of its answer."""

    def __init__(self, app: ASGIApp, tracer: Tracer) -> None:
        self._app, self._tracer = app, tracer
        self._propagator = TraceContextTextMapPropagator()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in _UNTRACED:
            await self._app(scope, receive, send)
            return
        context = self._propagator.extract(dict(Headers(scope=scope)))
        attributes = {"http.request.method": scope["method"]}
        with self._tracer.start_as_current_span(
            str(scope["method"]),
            context,
            SpanKind.SERVER,
            attributes,
            # A library's message may quote the request.
            record_exception=False,
            set_status_on_exception=False,
        ) as span:

            async def send_seen(message: Message) -> None:
                if message["type"] == "http.response.start":
                    status = int(message["status"])
                    span.set_attribute("http.response.status_code", status)
                    request_id = Headers(raw=message.get("headers", [])).get("x-request-id")
                    if request_id is not None:
                        span.set_attribute("lamm.request_id", request_id)
                    if status >= _SERVER_ERROR:
                        span.set_status(Status(StatusCode.ERROR))
                await send(message)

            try:
                await self._app(scope, receive, send_seen)
            except Exception as error:
                span.set_status(Status(StatusCode.ERROR, type(error).__name__))
                raise
            finally:
                # The route's pattern, never the path: clients choose paths.
                route = getattr(scope.get("route"), "path", None)
                if route is not None:
                    span.set_attribute("http.route", route)
                    span.update_name(f"{scope['method']} {route}")


class TracedEngine(Engine):
    """An engine with spans of each sequence: queue, encode, prefill, generate."""

    def __init__(self, engine: Engine, tracer: Tracer) -> None:
        self._engine, self._tracer = engine, tracer
        self.grammar_logprobs = engine.grammar_logprobs

    async def start(self) -> EngineInfo:
        return await self._engine.start()

    async def stop(self) -> None:
        await self._engine.stop()

    def stats(self) -> EngineStats:
        return self._engine.stats()

    def state(self) -> dict[str, Any]:
        return self._engine.state()

    async def generate(self, request: GenerationRequest) -> AsyncIterator[GenerationChunk]:
        """See `Engine.generate`; the spans are children of the caller's current one."""
        arrived = time.time_ns()
        stream = self._engine.generate(request)
        try:
            async for chunk in stream:
                if chunk.finish_reason is not None:
                    self._stages(request, chunk, arrived)
                yield chunk
        except Exception as error:
            self._failure(type(error).__name__, arrived)
            raise
        finally:
            close = getattr(stream, "aclose", None)
            if close is not None:
                await close()

    def _stages(self, request: GenerationRequest, last: GenerationChunk, arrived: int) -> None:
        attributes: dict[str, str | int] = {
            "gen_ai.response.finish_reason": str(last.finish_reason),
            "gen_ai.usage.input_tokens": last.prompt_tokens,
            "gen_ai.usage.output_tokens": last.completion_tokens,
            "lamm.cached_tokens": last.cached_tokens,
        }
        if request.model is not None:
            attributes["gen_ai.request.model"] = request.model
        start = arrived
        for name, seconds in _in_order(last.timings, bool(request.media)):
            end = start + int(seconds * _NANOSECONDS)
            more = attributes if name == "generate" else None
            span = self._tracer.start_span(name, start_time=start, attributes=more)
            span.end(end)
            start = end

    def _failure(self, kind: str, arrived: int) -> None:
        span = self._tracer.start_span("generate", start_time=arrived)
        span.set_status(Status(StatusCode.ERROR, kind))
        span.end()


class TracedMediaPool(MediaPool):
    """A media pool with a span per medium, which includes the wait for a process."""

    def __init__(self, config: MediaPoolConfig, tracer: Tracer) -> None:
        super().__init__(config)
        self._tracer = tracer

    async def prepare(self, job: MediaJob, precedence: Precedence = LIVE) -> PreparedMedia:
        with self._tracer.start_as_current_span(
            "decode",
            attributes={"lamm.modality": str(job.modality)},
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                return await super().prepare(job, precedence)
            except Exception as error:
                span.set_status(Status(StatusCode.ERROR, type(error).__name__))
                raise


def _in_order(timings: RequestTimings, has_media: bool) -> list[tuple[str, float]]:
    stages = [("queue", timings.queue)]
    if has_media:
        stages.append(("encode", timings.encode))
    return [*stages, ("prefill", timings.prefill), ("generate", timings.generate)]
